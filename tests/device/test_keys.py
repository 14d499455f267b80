"""Public keys, thumbprints and their texts (docs/protocol.md, sections 1.3 and 1.4)."""

from binascii import unhexlify

from tallystick.evidence import keys
from tallystick.evidence.errors import Malformed, Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# RFC 8032, 7.1, test 1; RFC 6979, A.2.5.
ED = unhexlify("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
EC = unhexlify(
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6"
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299"
)
EC_SIGNATURE = unhexlify(
    "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367"
    "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"
)
# All encodings of the eight points of low order, canonical and not.
LOW_ORDER = (
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
)


def refused(function: "Any", *arguments: "Any") -> str:
    try:
        function(*arguments)
    except Malformed as error:
        return error.reason
    raise AssertionError("accepted: %r" % (arguments,))


def test_low_order_ed25519_keys_are_refused() -> None:
    for text in LOW_ORDER:
        assert refused(keys.from_raw, -8, unhexlify(text)) == "weak-key", text


def test_keys_that_are_no_points_are_refused() -> None:
    # y = p + 3 is not canonical though it names a point; y = 2 names none.
    assert refused(keys.from_raw, -8, b"\xf0" + b"\xff" * 30 + b"\x7f") == "bad-key"
    assert refused(keys.from_raw, -8, b"\x02" + bytes(31)) == "bad-key"
    assert refused(keys.from_raw, -7, EC[:63] + b"\x00") == "bad-key"
    assert refused(keys.from_raw, -7, EC[32:] + EC[:32]) == "bad-key"
    assert refused(keys.from_raw, -7, bytes(64)) == "bad-key"
    # X + p names the same point: for the few X where it fits, it is refused as well.
    x5 = unhexlify("ffffffff00000001000000000000000000000001000000000000000000000004")
    y5 = unhexlify("459243b9aa581806fe913bce99817ade11ca503c64d9a3c533415c083248fbcc")
    keys.from_raw(-7, bytes(31) + b"\x05" + y5)
    assert refused(keys.from_raw, -7, x5 + y5) == "bad-key"


def test_keys_of_a_wrong_size_or_algorithm_are_refused() -> None:
    values: "list[tuple[Any, Any]]" = [
        (-8, ED[:31]),
        (-8, ED + b"\x00"),
        (-8, EC),
        (-7, ED),
        (-7, b"\x04" + EC),
        (-7, EC[:63]),
        (-35, EC),
        (0, b""),
        (-8, "d" * 32),
    ]
    for alg, raw in values:
        assert refused(keys.from_raw, alg, raw) == "bad-key"


def test_aliases_are_the_same_key() -> None:
    assert keys.from_raw(-9, EC) == keys.from_raw(-7, EC)
    assert keys.from_raw(-19, ED) == keys.from_raw(-8, ED)
    assert keys.from_raw(-19, ED).alg == keys.EDDSA
    assert keys.from_raw(-9, EC).alg == keys.ES256
    assert keys.from_raw(-8, ED) != keys.from_raw(-7, EC)
    assert keys.from_raw(-8, ED) != ED


def test_a_cose_key_has_exactly_its_required_parameters() -> None:
    for key in (keys.from_raw(-8, ED), keys.from_raw(-7, EC)):
        assert keys.from_cose_key(key.cose_key()) == key
        for label in key.cose_key():
            cut = dict(key.cose_key())
            del cut[label]
            assert refused(keys.from_cose_key, cut) == "bad-key"
        more = dict(key.cose_key())
        more[2] = b"kid"
        assert refused(keys.from_cose_key, more) == "bad-key"
    values: "list[Any]" = [
        None,
        [],
        {},
        {1: True, -1: 6, -2: ED},
        {1: 1, -1: 4, -2: ED},
        {1: 2, -1: 2, -2: EC[:32], -3: EC[32:]},
        {1: 2, -1: 1, -2: EC[:31], -3: EC[31:]},
        {1: 2, -1: 1, -2: EC[:32], -3: True},
    ]
    for value in values:
        assert refused(keys.from_cose_key, value) == "bad-key"


def test_the_thumbprint_of_rfc_9679() -> None:
    key = keys.from_cose_key(
        {
            1: 2,
            -1: 1,
            -2: unhexlify("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d"),
            -3: unhexlify("1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"),
        }
    )
    thumbprint = unhexlify("496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec")
    assert key.thumbprint() == thumbprint
    assert key.kid() == thumbprint[:8]


def test_signatures_of_a_wrong_form_are_refused_before_any_computing() -> None:
    ec = keys.from_raw(-7, EC)
    ec.verify(EC_SIGNATURE, b"test")
    order = unhexlify("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551")
    s = int.from_bytes(EC_SIGNATURE[32:], "big")
    high = (int.from_bytes(order, "big") - s).to_bytes(32, "big")
    r = EC_SIGNATURE[:32]
    der = b"\x30\x45\x02\x21\x00" + r + b"\x02\x20" + EC_SIGNATURE[32:]
    for signature in (
        r + high,
        r + order,
        r + bytes(32),
        bytes(32) + EC_SIGNATURE[32:],
        order + EC_SIGNATURE[32:],
        b"\xff" * 64,
        bytes(64),
        der,
        EC_SIGNATURE[:63],
        EC_SIGNATURE + b"\x00",
        b"",
    ):
        try:
            ec.verify(signature, b"test")
        except Unverified as error:
            assert error.reason == "bad-signature"
        else:
            raise AssertionError("accepted %r" % signature)
    assert keys.low_s(r + high) == EC_SIGNATURE
    assert keys.low_s(EC_SIGNATURE) == EC_SIGNATURE


def test_one_text_for_one_value() -> None:
    assert keys.b64u(b"") == "" and keys.from_b64u("", 0) == b""
    assert keys.b64u(b"\xfb\xff") == "-_8"
    for size in range(1, 40):
        data = bytes([(size * 37 + n * 11) & 255 for n in range(size)])
        assert keys.from_b64u(keys.b64u(data), size) == data
    device = bytes(range(32))
    assert keys.device_from_text(keys.device_text(device)) == device
    good = keys.b64u(b"\xfb\xff")
    texts: "list[Any]" = ["-_9", "+/8", "-_8=", "-_8\n", " -_8", "-_", "-_8A", "-\u00df8", b"-_8"]
    for text in texts:
        assert refused(keys.from_b64u, text, 2) == "bad-value", text
    assert refused(keys.from_b64u, good, 3) == "bad-value"
    assert refused(keys.device_from_text, keys.device_text(device)[:42]) == "bad-value"


def test_nothing_private_shows() -> None:
    assert repr(keys.from_raw(-8, ED)) == "PublicKey(-8, " + keys.b64u(ED) + ")"
