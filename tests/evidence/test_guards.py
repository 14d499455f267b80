"""Guards whose input is too large for a device, or needs a longer story than a small heap holds."""

import itertools
from binascii import a2b_base64
from typing import Any

import pytest

import test_half_known
from support.examples import (
    ACME,
    ACME_ROOT,
    EPOCH,
    GIVER,
    GIVER2,
    ROOTS,
    Log,
    enrol,
    giver_log,
    half_of,
    reference_of,
    rotation,
    segment_of,
)
from tallystick.evidence import checkpoint, credential, half, keychange, segment
from tallystick.evidence.credential import Credential, Keyring, verify_credential
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.limits import SEGMENT_BYTES_MAX, SEGMENT_ITEMS_MAX

LEAF = b"x" * 32


def revocation(reason: int, head: Any, previous: bytes | None = None) -> bytes:
    made = keychange.Revocation(GIVER.id, GIVER.id, head, reason, 1, previous)
    return made.sign(ACME_ROOT, ACME, GIVER.id)


def credential_of(*changes: bytes) -> list[bytes]:
    return [enrol(GIVER).encode(), *changes]


def test_a_segment_is_bounded_in_bytes_and_items() -> None:
    with pytest.raises(Malformed) as too_large:
        segment.parse(bytes(SEGMENT_BYTES_MAX + 1))
    assert too_large.value.reason == "too-large"
    half_full: list[Any] = [(0, LEAF)] * (SEGMENT_ITEMS_MAX // 2)
    stretches = [segment.Stretch(half_full, None, b"c") for _ in range(2)]
    full = segment.Segment(GIVER.id, EPOCH, 0, None, stretches)
    assert segment.parse(full.encode()).to == SEGMENT_ITEMS_MAX
    with pytest.raises(Malformed) as too_many:
        segment.Segment(
            GIVER.id, EPOCH, 0, None, [*stretches, segment.Stretch([(0, LEAF)], None, b"c")]
        )
    assert too_many.value.reason == "too-large"


def test_a_credential_is_bounded_before_it_is_decoded() -> None:
    with pytest.raises(Malformed) as refused:
        credential.parse(bytes(17 * 65_535))
    assert refused.value.reason == "too-large"


def test_a_revoked_key_cannot_rotate_itself() -> None:
    for reason in (keychange.RETIRED, keychange.COMPROMISED):
        revoked = revocation(reason, None)
        after = rotation(keychange.parse(revoked).digest)
        statements = credential_of(revoked, after)
        with pytest.raises(Unverified) as refused:
            verify_credential(Credential(statements), ROOTS)
        assert refused.value.reason == "revoked"


def test_nobody_but_the_root_changes_the_order_of_key_changes() -> None:
    """A17: whoever hands a credential on has every statement, and no key."""
    changes = [rotation()]
    for size, reason in ((4, keychange.LOST), (2, keychange.LOST), (1, keychange.COMPROMISED)):
        last = keychange.parse(changes[-1]).digest
        changes.append(revocation(reason, [EPOCH, size, LEAF], last))
    whole = verify_credential(Credential(credential_of(*changes)), ROOTS)
    assert (whole.keys[0].reason, whole.keys[0].end) == ("compromised", [EPOCH, 1, LEAF])
    for count in range(1, 6):
        for picked in itertools.product(changes, repeat=count):
            credential = Credential(credential_of(*picked))
            if list(picked) == changes[:count]:
                verify_credential(credential, ROOTS)
                continue
            with pytest.raises(Unverified):
                verify_credential(credential, ROOTS)


def test_the_device_tests_know_this_half() -> None:
    known = a2b_base64(test_half_known.HALF)
    assert known == half_of(giver_log(), credential_of()).encode()
    assert bytes.fromhex(test_half_known.REFERENCE.decode()) == reference_of(giver_log())


def test_a_half_is_signed_by_the_newest_key_of_its_credential() -> None:
    log = giver_log()
    statements = credential_of(rotation())
    with pytest.raises(Unverified) as refused:
        half.verify_half(half_of(log, statements), Keyring(ROOTS))
    assert refused.value.reason == "wrong-key"
    # The credential as it was then is good, also for who knows of the rotation.
    keyring = Keyring(ROOTS)
    keyring.verify(Credential(statements))
    known = half.verify_half(half_of(log, statements[:1]), keyring)
    assert known.status == "rotated" and known.identity.key == GIVER2.public_key()
    by_digest = half_of(log, enrol(GIVER).digest)
    assert half.verify_half(by_digest, keyring).status == "rotated"


@pytest.mark.parametrize(
    ("reason", "size", "status"),
    [
        (keychange.RETIRED, 3, "retired"),
        (keychange.LOST, 5, "lost"),
        (keychange.LOST, 2, "suspect"),
        (keychange.RETIRED, None, "suspect"),
        (keychange.COMPROMISED, 5, "compromised"),
    ],
)
def test_halves_of_a_revoked_key(reason: int, size: int | None, status: str) -> None:
    log = giver_log()
    root = checkpoint.parse(log.checkpoints[0]).root
    head = None if size is None else [EPOCH, size, root if size == 3 else LEAF]
    made = half_of(log, credential_of(revocation(reason, head)))
    kept = half.verify_half(made, Keyring(ROOTS), revoked_too=True)
    assert kept.status == status
    if status in ("retired", "lost"):
        assert half.verify_half(made, Keyring(ROOTS)).status == status
        return
    with pytest.raises(Unverified) as refused:
        half.verify_half(made, Keyring(ROOTS))
    assert refused.value.reason == "revoked"


def test_a_segment_by_identity_must_bear_the_name_of_its_fleet() -> None:
    log = giver_log()
    identity = verify_credential(Credential(credential_of()), ROOTS)
    verified = segment.verify_segment(segment_of(log), identity)
    assert verified.to == 5 and verified.device == identity.id
    foreign = Log(log.signer, "globex", log.records, log.leaves, [])
    for size, uptime_ms in ((3, 5300), (5, 6200)):
        head = checkpoint.parse(log.checkpoints[0 if size == 3 else 1])
        again = checkpoint.Checkpoint(head.epoch, size, head.root, 1, 1, uptime_ms)
        foreign.checkpoints.append(again.sign(GIVER, foreign.iss, GIVER.id))
    segment.verify_segment(segment_of(foreign), GIVER.public_key())
    with pytest.raises(Unverified) as refused:
        segment.verify_segment(segment_of(foreign), identity)
    assert refused.value.reason == "wrong-key"


def test_a_rotated_device_goes_on_in_one_tree() -> None:
    log = giver_log()
    identity = verify_credential(Credential(credential_of(rotation())), ROOTS)
    # The first stretch by the first key, the second by the one after it.
    head = checkpoint.parse(log.checkpoints[1])
    fields = head.values()[1:]
    later = checkpoint.Checkpoint(*fields).sign(GIVER2, ACME, GIVER.id)
    made = Log(log.signer, ACME, log.records, log.leaves, [log.checkpoints[0], later])
    verified = segment.verify_segment(segment_of(made), identity)
    assert [stretch.checkpoint.key for stretch in verified.stretches] == [
        GIVER.public_key(),
        GIVER2.public_key(),
    ]
    with pytest.raises(Unverified):
        segment.verify_segment(segment_of(made), GIVER.public_key())
