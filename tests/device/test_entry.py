"""Entries of a validator's log (docs/protocol.md, section 6.3)."""

from _signing import Signer, refused
from tallystick.evidence import entry, receipt, tree
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.statement import Statement

KEYS = {
    "s": "fec1428673f6afe89264b3807344ae8b269d125a503855202687db5a7128579f",
}
SIGNATURES = {
    "f127c392": "b3a1f9a172f3a190c3e73f13208f37b1a983eac2704d0c603281de4e649dafe8"
    "03e417cf6a8bf9be81230c675fb3435f3c6aadf1cdbc13195f7232dfdb2f5a0f",
}
DEVICE, EPOCH, HASH = b"d" * 32, b"epoch123", b"h" * 32


def test_unsigned_entries_come_back() -> None:
    for made in (
        entry.TimeEntry(1700000000000),
        entry.LoggedClaim(DEVICE, EPOCH, 3, HASH, 7, [HASH, DEVICE]),
        entry.Closing("dock-3", b"i" * 16, HASH, 9, 5000),
    ):
        data = made.encode()
        again = entry.parse_entry(data)
        assert type(again) is type(made)
        assert again == made and again.encode() == data
        assert again.leaf_hash() == tree.leaf_hash(data)
    claim = entry.LoggedClaim(DEVICE, EPOCH, 3, HASH, 7, [])
    assert claim.reference() == claim_reference(DEVICE, EPOCH, 3, HASH)


def test_a_statement_is_an_entry() -> None:
    signer = Signer("s", KEYS, SIGNATURES)
    head = Checkpoint(EPOCH, 1, HASH, 0, 1, 5, None, None, None)
    data = head.sign(signer, "acme", signer.public_key().thumbprint())
    got = entry.parse_entry(data)
    assert isinstance(got, Statement)
    assert got.encode() == data
    carrying = receipt.attach(data, [b"receipt"])
    assert refused(entry.parse_entry, carrying) == "bad-header"


def test_what_is_no_entry() -> None:
    for data, reason in (
        (b"", "unknown-kind"),
        (b"\x82", "unknown-kind"),
        (b"\x82\x10\x00", "unknown-kind"),
        (b"\x82\x11\x20", "bad-value"),
        (b"\x82\x11\x60", "bad-type"),
        (b"\x82\x11\x18\x05", "non-canonical"),
        (b"\x83\x11\x00\x00", "bad-value"),
        (b"\x82\x11\x00\x00", "trailing-bytes"),
        (b"\xd2", "truncated"),
    ):
        assert refused(entry.parse_entry, data) == reason, data
    assert refused(entry.LoggedClaim, DEVICE, EPOCH, 0, HASH, 0, [HASH] * 64) == "too-large"
    assert refused(entry.Closing, "", b"i" * 16, HASH, 0, 0) == "bad-value"
