"""ECDSA over P-256 in pure Python and by the interpreter's own way."""

from binascii import unhexlify

from tallystick.evidence import _p256, keys
from tallystick.evidence.errors import Unverified
from tallystick.evidence.steps import finish

# RFC 6979, A.2.5, and one of NIST's published SigGen vectors: public X || Y, message, r || s.
RFC6979 = (
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
VECTORS = (
    (
        RFC6979,
        b"sample",
        (
            "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
            "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        ),
    ),
    (
        RFC6979,
        b"test",
        (
            "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
            "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
        ),
    ),
    (
        (
            "1ccbe91c075fc7f4f033bfa248db8fccd3565de94bbfb12f3c59ff46c271bf83"
            "ce4014c68811f9a21a1fdb2c0e6113e06db7ca93b7404e78dc7ccd5ca89a4ca9"
        ),
        unhexlify(
            "5905238877c77421f73e43ee3da6f2d9e2ccad5fc942dcec0cbd25482935faaf"
            "416983fe165b1a045ee2bcd2e6dca3bdf46c4310a7461f9a37960ca672d3feb5"
            "473e253605fb1ddfd28065b53cb5858a8ad28175bf9bd386a5e471ea7a65c17c"
            "c934a9d791e91491eb3754d03799790fe2d308d16146d5c9b0d0debd97d79ce8"
        ),
        (
            "f3ac8061b514795b8843e3d6629527ed2afd6b1f6a555a7acabb5e6f79c8c2ac"
            "8bf77819ca05a6b2786c76262bf7371cef97b218e96f175a3ccdda2acc058903"
        ),
    ),
)


def pure(raw: bytes, signature: bytes, message: bytes) -> bool:
    try:
        finish(_p256.verify(raw, signature, message))
    except Unverified as error:
        assert error.reason == "bad-signature"
        return False
    return True


def usual(raw: bytes, signature: bytes, message: bytes) -> bool:
    try:
        keys.from_raw(keys.ES256, raw).verify(signature, message)
    except Unverified as error:
        assert error.reason == "bad-signature"
        return False
    return True


def test_published_signatures() -> None:
    for public, message, text in VECTORS:
        raw = unhexlify(public)
        signature = keys.low_s(unhexlify(text))
        assert pure(raw, signature, message)
        assert usual(raw, signature, message)
        assert not pure(raw, signature, message + b"x")
        assert not usual(raw, signature, message + b"x")


def test_a_wrong_bit_anywhere_is_refused() -> None:
    public, message, text = VECTORS[1]
    raw, signature = unhexlify(public), unhexlify(text)
    for bit in range(0, 512, 37):
        wrong = bytearray(signature)
        wrong[bit >> 3] ^= 1 << (bit & 7)
        assert not usual(raw, bytes(wrong), message)
        assert not pure(raw, bytes(wrong), message)


def test_verification_goes_in_bounded_steps() -> None:
    public, message, signature = VECTORS[1]
    steps = keys.pure_verifier(keys.ES256, unhexlify(public), unhexlify(signature), message)
    count = 1
    while not steps.step():
        count += 1
    assert 100 < count < 200
