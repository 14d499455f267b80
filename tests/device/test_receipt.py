"""COSE Receipts (docs/protocol.md, section 6.3)."""

from _signing import Signer, refused
from tallystick.evidence import receipt, tree

KEYS = {
    "o": "c86d01ad8b2fb694b22ff60e3c9d9e7ed90db5604772b74450d40913b9a9cbaf",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "03ba0b81": "4f8465908ae4fb06406f82671a73cd7e1f7186e283d058707e2b0aa74908f9bd"
    "d34841459a97ac7784075e9ec51214b978033fa83e4f39f59db9ef24762ff10e",
    "cf1eb0df": "9a649950ad533b7640a6cf54407f34cb0fa5c11c466b591bf24f94b171123099"
    "4ee7a7c6540dc1fcfb3fea83bc0b836c70e9ef0e676c573aa4caea2853f13d00",
}
SIGNER = Signer("r", KEYS, SIGNATURES)
ENTRIES = [b"entry %d" % n for n in range(7)]
LEAVES = [tree.leaf_hash(data) for data in ENTRIES]
ROOT = tree.root_of(LEAVES)


def signed(size: int) -> receipt.SignedRoot:
    root = tree.root_of(LEAVES[:size])
    return receipt.sign(SIGNER, "initech", "log.example", 1700000000, root)


def test_one_signature_proves_every_entry() -> None:
    one = signed(7)
    for index in (0, 6):
        data = one.inclusion(7, index, tree.inclusion_path(LEAVES, index, 7))
        got = receipt.parse(data)
        assert got.encode() == data
        verified = got.verify(ENTRIES[index], SIGNER.public_key())
        assert verified.root == ROOT and verified.iat == 1700000000
        assert (verified.iss, verified.sub) == ("initech", "log.example")
        assert (verified.size, verified.index) == (7, index)


def test_a_receipt_for_something_else_is_refused() -> None:
    path = tree.inclusion_path(LEAVES, 2, 7)
    got = receipt.parse(signed(7).inclusion(7, 2, path))
    assert refused(got.verify, ENTRIES[3], SIGNER.public_key()) == "bad-signature"
    short = receipt.parse(signed(7).inclusion(7, 2, path[:-1]))
    assert refused(short.verify, ENTRIES[2], SIGNER.public_key()) == "bad-inclusion-proof"


def test_another_logs_key_is_refused() -> None:
    got = receipt.parse(signed(1).inclusion(1, 0, []))
    assert (
        refused(got.verify, ENTRIES[0], Signer("o", KEYS, SIGNATURES).public_key()) == "wrong-key"
    )


def test_consistency() -> None:
    data = signed(7).consistency(3, 7, tree.consistency_path(LEAVES, 3, 7))
    got = receipt.parse_consistency(data)
    verified = got.verify(tree.root_of(LEAVES[:3]), ROOT, SIGNER.public_key())
    assert (verified.size1, verified.size2) == (3, 7)
    assert refused(got.verify, ROOT, ROOT, SIGNER.public_key()) == "bad-consistency-proof"
    assert refused(receipt.parse, data) == "bad-header"


def test_shapes() -> None:
    data = signed(1).inclusion(1, 0, [])
    assert refused(receipt.parse, data[:-1]) == "truncated"
    assert refused(receipt.parse, data + b"\x00") == "trailing-bytes"
    assert refused(receipt.parse, signed(1).inclusion(1, -1, [])) == "bad-value"
    assert refused(receipt.parse, signed(1).inclusion(1, 0, [b"short"])) == "bad-value"
