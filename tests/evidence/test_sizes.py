"""Bytes on the wire: what design and docs/protocol.md, section 1.6, promise."""

import pytest

from support import heldkeys
from support.examples import ACME, GIVER, RECEIVER, Signer, enrol, make_claim
from tallystick.evidence import checkpoint, claim, half, leaf, segment
from tallystick.evidence.digest import sha256
from tallystick.evidence.tree import inclusion_path, root_of

FLEET = "acme-robots-of-berli"  # as long as `iss` may be
EPOCH = b"epoch-01"
SEED = sha256(b"seed")
RECORDS = 64


def head(signer: Signer, size: int, root: bytes, iss: str = FLEET) -> bytes:
    wall = (1_790_000_000_000, 50)
    made = checkpoint.Checkpoint(
        EPOCH, size, root, 7, 12, 86_400_000, wall, 1_000, sha256(b"custody")
    )
    return made.sign(signer, iss, signer.id)


@pytest.mark.parametrize("signer", [GIVER, RECEIVER], ids=["EdDSA", "ES256"])
def test_a_checkpoint(signer: Signer) -> None:
    assert len(head(signer, 1_000_000, sha256(b"root"))) <= 300


@pytest.mark.parametrize("signer", [GIVER, RECEIVER], ids=["EdDSA", "ES256"])
def test_at_most_eight_bytes_are_added_to_a_decision(signer: Signer) -> None:
    records = [bytes(170 + n % 51) for n in range(RECORDS)]
    leaves = leaf.leaves(SEED, 0, records)
    signed = head(signer, RECORDS, root_of(leaves))
    made = segment.Segment(signer.id, EPOCH, 0, None, [segment.Stretch([*records], SEED, signed)])
    added = (len(made.encode()) - sum(map(len, records))) / RECORDS
    assert added <= 8


def long_claim() -> bytes:
    """A claim of 512 bytes."""
    short = make_claim("giver", "released")
    fields = {**short.fields, "note": ""}

    def encoded() -> bytes:
        return claim.Claim(
            short.uptime_ms,
            short.namespace,
            short.interaction,
            short.profile,
            short.role,
            short.claim,
            fields,
            short.constraints,
            short.parties,
            short.interval,
            short.relied,
        ).encode()

    while len(encoded()) < 512:
        fields["note"] += "x"
    assert len(encoded()) == 512
    return encoded()


def test_halves() -> None:
    record = long_claim()
    enrolled = enrol(GIVER).encode()
    assert 390 <= len(enrolled) <= 450
    # Of a random leaf among a million, which has the longest path: 20 hashes.
    path = [sha256(bytes([n])) for n in range(20)]
    signed = head(GIVER, 1_000_000, sha256(b"root"))
    salt = leaf.salt(SEED, 777_777)
    digest = enrol(GIVER).digest
    by_digest = half.Half(record, salt, 777_777, path, signed, digest).encode()
    with_enrolment = half.Half(record, salt, 777_777, path, signed, [enrolled]).encode()
    assert len(by_digest) <= 1536
    assert len(with_enrolment) <= 2560


def test_halves_of_keys_in_hardware() -> None:
    # Evidence of custody is part of the enrolment; a half is bounded by 4,000 bytes all the same.
    record = long_claim()
    path = [sha256(bytes([n])) for n in range(20)]
    signed = head(RECEIVER, 1_000_000, sha256(b"root"))
    salt = leaf.salt(SEED, 777_777)
    for level, evidence, bytes_max in (
        (1, ["pkcs11-attributes", heldkeys.pkcs11().encode()], 2560),
        (2, ["tpm2-certify", heldkeys.tpm2().encode()], 3072),
        (3, ["atecc608-config", heldkeys.atecc608().encode()], 2560),
    ):
        enrolled = heldkeys.enrol_held(level, [evidence]).encode()
        made = half.Half(record, salt, 777_777, path, signed, [enrolled]).encode()
        assert len(made) <= bytes_max, (level, len(made))


def test_the_half_of_a_newest_leaf() -> None:
    # The path of a newest leaf is the edge before it: one hash for each bit of its index.
    record = make_claim("giver", "released").encode()
    leaves = leaf.leaves(SEED, 0, [bytes([n]) for n in range(200)] + [record])
    path = inclusion_path(leaves, 200)
    assert len(path) == (200).bit_count()
    signed = head(GIVER, 201, root_of(leaves), ACME)
    made = half.Half(record, leaf.salt(SEED, 200), 200, path, signed, [enrol(GIVER).encode()])
    assert len(made.encode()) <= 1536
