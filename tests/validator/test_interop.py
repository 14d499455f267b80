"""Someone else's code accepts what the running service issues, over HTTP.

Receipts: `scitt-cose`, an implementation of RFC 9943 and RFC 9942 from PyPI. The log: `tlog-scales`
from PyPI, an implementation of C2SP signed-note, tlog-checkpoint, tlog-tiles and tlog-cosignature
by who runs one of the public witnesses. `sigstore` was looked at too: its reader of signed notes
knows only keys of its own trust root. Debian 12 has no tool for such notes. Published vectors of
the same specifications stand in tests/interop/test_published.py.
"""

import itertools
from collections.abc import Iterator

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scitt_cose import verify_receipt
from tlog_scales.backend import HttpBackend
from tlog_scales.reader import TilesReader
from tlog_scales.signing import PlainEd25519Signer, Vkey, VkeySet
from tlog_scales.tiles import leaf_hash
from tlog_scales.tlog import Checkpoint, InclusionProofInvalid

from support.circle import Member, circle
from support.devices import Device, Fleet
from support.site import until
from support.validating import HANDOVER, Gateway
from tallystick.evidence import batchanswer, checkpoint, note
from tallystick.evidence.keys import b64u

CLAIMS = 300  # more entries than a tile has, so that one is full


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Member], Device, bytes]]:
    """Two validators that cosign one another; one took a batch, and its answer."""
    fleet = Fleet("acme")
    members = circle(tmp_path_factory.mktemp("circle"), fleet, ("acme", "borealis"))
    for member in members:
        member.start()
    device, gateway = fleet.device(), Gateway(fleet)
    parties = {"giver": [device.id], "receiver": [fleet.device("other").id]}
    for n in range(CLAIMS):
        device.claim(
            f"order-{n}", "giver", "released", parties, HANDOVER.digest, item="x", position_m=[0, 0]
        )
    device.seal()
    for _ in range(3):
        device.record(2)
    gateway.take(*device.segments())
    answer = members[0].post(gateway, 0, [device])
    assert answer.status_code == 200, answer.text
    yield members, device, answer.content
    for member in members:
        member.close()


Fed = tuple[list[Member], Device, bytes]


def test_scitt_cose_accepts_a_receipt_of_the_running_service(fed: Fed) -> None:
    (member, _), device, answer = fed
    assert member.service is not None
    raw = member.service.sequencer.keys.signer.public_key().raw
    pem = Ed25519PublicKey.from_public_bytes(raw).public_bytes(
        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
    )
    found = dict(batchanswer.parse(answer).receipts)
    for sealed in device.stretches:
        digest = checkpoint.parse(sealed.checkpoint).digest
        served = member.http.get(f"/v1/receipts/{b64u(digest)}")
        assert served.headers["content-type"] == "application/cose"
        assert served.content == found[digest]
        result = verify_receipt(
            served.content, leaf_entry_hex=sealed.checkpoint.hex(), log_public_key_pem=pem
        )
        assert result.ok, result.errors
        assert (result.issuer, result.subject) == ("acme", "acme.example/log")
        wrong = verify_receipt(
            served.content, leaf_entry_hex=sealed.checkpoint.hex() + "00", log_public_key_pem=pem
        )
        assert not wrong.ok


def cosigned(fed: Fed) -> tuple[TilesReader, Checkpoint]:
    """The log as tlog-scales reads it, and its checkpoint once the other one has cosigned it."""
    (member, other), _, _ = fed
    reader = TilesReader(HttpBackend(member.url))
    key = Vkey.from_string(other.cosigner.text())

    def read() -> Checkpoint | None:
        found = reader.get_checkpoint()
        signed = found.size > CLAIMS and any(key.match(one) for one in found.signatures)
        return found if signed else None

    return reader, until(read, "a cosigned checkpoint")


def test_tlog_scales_accepts_note_and_cosignature(fed: Fed) -> None:
    (member, other), _, _ = fed
    _, found = cosigned(fed)
    own, theirs = (
        Vkey.from_string(text) for text in (member.note_key.text(), other.cosigner.text())
    )
    assert (own.serialize(), theirs.serialize()) == (
        member.note_key.text(),
        other.cosigner.text(),
    )
    assert len(VkeySet(own, theirs).verify(found.signatures, found)) == 2
    found.verify(own)
    found.verify(theirs)
    larger = Checkpoint(found.origin, found.size + 1, found.root_hash, found.signatures)
    for key in (own, theirs):
        with pytest.raises(InvalidSignature):
            larger.verify(key)


def test_tlog_scales_reads_the_tiles_and_proves_by_them(fed: Fed) -> None:
    (member, _), _, _ = fed
    reader, found = cosigned(fed)
    assert reader.calculate_root_hash() == found.root_hash
    entries: list[dict[str, str]] = []
    while len(entries) < found.size:
        page = member.http.get(f"/v1/entries?start={len(entries)}&count=100").json()
        entries += page["entries"]
    for index in (0, 1, 255, 256, found.size - 1):
        data = reader.get_entry(index)
        assert b64u(data) == entries[index]["data"]
        proof = reader.get_inclusion_proof(index, found.size)
        proof.check(leaf_hash(data), found.root_hash)
        with pytest.raises(InclusionProofInvalid):
            proof.check(leaf_hash(data + b"x"), found.root_hash)
    sizes = (1, 2, 255, 256, 257, found.size)
    for old, new in itertools.combinations(sizes, 2):
        roots = [reader.mth(0, size) for size in (old, new)]
        reader.get_consistency_proof(old, new).check(*roots)


def test_what_tlog_scales_signs_we_read() -> None:
    signer = PlainEd25519Signer("other.example/log", bytes(range(32)))
    made = Checkpoint.make_signed("other.example/log", 7, bytes(32), [signer])
    key = note.parse_key(signer.vkey.serialize())  # type: ignore[no-untyped-call]
    got = note.parse(made.serialize())
    assert got.verify(key).size == 7
    assert got.text() == made.serialize()
