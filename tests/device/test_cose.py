"""COSE_Sign1, narrowed (docs/protocol.md, section 1.4)."""

from binascii import unhexlify

from tallystick.evidence import cbor, cose, keys
from tallystick.evidence.errors import Malformed, TallyError, Unverified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The keys of RFC 9052, C.7.1, and of RFC 8032, 7.1, test 1.
EC = keys.from_raw(
    -7,
    unhexlify(
        "bac5b11cad8f99f9c72b05cf4b9e26d244dc189f745228255a219a86d6a09eff"
        "20138bf82dc1b6d562be0fa54ab7804a3a64b6d72ccfed6b6fb6ed28bbfc117e"
    ),
)
ED = keys.from_raw(
    -8, unhexlify("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
)
CONTENT = b"This is the content."
# Over {1: alg} and the content: the published one of RFC 9052, C.2.1, and the only one that
# RFC 8032 allows its test key.
EC_SIGNATURE = unhexlify(
    "8eb33e4ca31d1c465ab05aac34cc6b23d58fef5c083106c4d25a91aef0b0117e"
    "2af9a291aa32e14ab834dc56ed2a223444547e01f11d3b0916e5a4c345cacb36"
)
ED_SIGNATURE = unhexlify(
    "6354488f9f290e36cd80e23762e664a5cb03e4267c66a8cffaef7c66d89a40bf"
    "2cbb8222432a08e5ee410d8b540c6931d26fb6af673f7e2100655d8bae765c04"
)
SIZE_MAX = 1000


def refused(function: "Any", *arguments: "Any") -> "tuple[type, str]":
    try:
        function(*arguments)
    except TallyError as error:
        return type(error), error.reason
    raise AssertionError("accepted: %r" % (arguments,))


def bad(reason: str) -> "tuple[type, str]":
    return Malformed, reason


def sign1(headers: "Any", unprotected: "Any", payload: "Any" = CONTENT) -> bytes:
    return b"\xd2" + cbor.encode([cbor.encode(headers), unprotected, payload, EC_SIGNATURE])


def test_known_signatures() -> None:
    for alg, key, signature in ((-7, EC, EC_SIGNATURE), (-8, ED, ED_SIGNATURE)):
        protected = cose.protected_header(alg, None)
        assert protected == b"\xa1\x01" + cbor.encode(alg)
        data = cose.encode(protected, CONTENT, signature)
        got = cose.parse(data, SIZE_MAX)
        assert got.verify(key) is got
        assert got.payload == CONTENT and got.alg == alg and got.kid is None
        assert got.statement_bytes() == data
        detached = cose.parse(cose.encode(protected, None, signature), SIZE_MAX)
        assert detached.verify(key, CONTENT) is detached
        assert detached.digest(CONTENT) == got.digest()


def test_the_signed_bytes_are_those_of_rfc_9052() -> None:
    assert cose.to_be_signed(b"\xa1\x01\x26", CONTENT) == cbor.encode(
        ["Signature1", b"\xa1\x01\x26", b"", CONTENT]
    )
    long = bytes(300)
    assert cose.to_be_signed(b"\xa0", long) == cbor.encode(["Signature1", b"\xa0", b"", long])


def test_the_example_itself_is_refused_for_its_unprotected_kid() -> None:
    # Nobody signed that kid; ours stands in the protected header.
    data = b"\xd2" + cbor.encode([b"\xa1\x01\x26", {4: b"11"}, CONTENT, EC_SIGNATURE])
    assert refused(cose.parse, data, SIZE_MAX) == bad("bad-header")


def test_aliases_are_accepted_and_are_other_bytes() -> None:
    for alg, same in ((-9, -7), (-19, -8)):
        got = cose.parse(sign1({1: alg}, {}), SIZE_MAX)
        assert got.alg == same and got.headers[1] == alg


def test_the_wrong_key_is_refused() -> None:
    got = cose.parse(sign1({1: -7}, {}), SIZE_MAX)
    got.verify(EC)
    assert refused(got.verify, ED) == (Unverified, "wrong-alg")
    got = cose.parse(sign1({1: -7, 4: b"12345678"}, {}), SIZE_MAX)
    assert refused(got.verify, EC) == (Unverified, "wrong-key")
    got = cose.parse(sign1({1: -7, 4: EC.kid()}, {}), SIZE_MAX)
    assert refused(got.verify, EC) == (Unverified, "bad-signature")
    assert refused(got.verify, EC, CONTENT) == bad("bad-type")
    assert refused(cose.parse(sign1({1: -7}, {}, None), SIZE_MAX).verify, EC) == bad("bad-type")


def test_the_verifier_steps() -> None:
    steps = cose.parse(sign1({1: -7}, {}), SIZE_MAX).verifier(EC)
    while not steps.step():
        pass
    assert refused(cose.parse(sign1({1: -7}, {}), SIZE_MAX).verifier, ED)[1] == "wrong-alg"


def test_headers_that_we_do_not_know_are_refused() -> None:
    headers: "list[Any]" = [
        {},
        {4: b"12345678"},
        {1: -7, 2: [4]},
        {1: -7, 3: "text/plain"},
        {1: -7, 4: b"short"},
        {1: -7, 4: "12345678"},
        {1: -7, 13: {}},
        {1: -7, 15: []},
        {1: -7, 33: b""},
        {1: -7, 394: []},
        {1: -7, 396: {}},
        {1: -7, 395: "1"},
        {1: -35},
        {1: "ES256"},
        {1: True},
        {"alg": -7},
        [],
        0,
    ]
    for header in headers:
        assert refused(cose.parse, sign1(header, {}), SIZE_MAX) == bad("bad-header"), header
    unprotected: "list[Any]" = [{1: -7}, {4: b"12345678"}, {15: {}}, {2: []}, {394: b""}, {396: []}]
    for header in unprotected:
        assert refused(cose.parse, sign1({1: -7}, header), SIZE_MAX) == bad("bad-header"), header
    assert refused(cose.protected_header, -7, b"short") == bad("bad-header")
    assert refused(cose.protected_header, -7, None, None, {2: []}) == bad("bad-header")


def test_what_is_no_sign1_is_refused() -> None:
    good = sign1({1: -7}, {})
    values: "list[Any]" = [
        (b"", "truncated"),
        (good[1:], "bad-type"),
        (b"\xd1" + good[1:], "bad-type"),
        (b"\xd8\x12" + good[1:], "bad-type"),
        (good + b"\x00", "trailing-bytes"),
        (good[:-1], "truncated"),
        (b"\xd2\x83" + good[2:], "trailing-bytes"),
        (b"\xd2" + cbor.encode([b"", {}, CONTENT, EC_SIGNATURE]), "truncated"),
        (b"\xd2" + cbor.encode([b"\xa1\x01\x26", {}, CONTENT]), "bad-type"),
        (b"\xd2" + cbor.encode([b"\xa1\x01\x26", [], CONTENT, EC_SIGNATURE]), "bad-type"),
        (b"\xd2" + cbor.encode([b"\xa1\x01\x26", {}, "text", EC_SIGNATURE]), "bad-type"),
        (b"\xd2" + cbor.encode([{1: -7}, {}, CONTENT, EC_SIGNATURE]), "bad-type"),
        (b"\xd2" + cbor.encode([b"\xa1\x01\x26", {}, CONTENT, EC_SIGNATURE[1:]]), "bad-signature"),
        (b"\xd2" + cbor.encode([b"\xa1\x01\x38\x06", {}, CONTENT, EC_SIGNATURE]), "non-canonical"),
        (b"\xd2\x98\x04" + good[2:], "non-canonical"),
        (b"\xd2" + good, "bad-type"),
    ]
    for data, reason in values:
        assert refused(cose.parse, data, SIZE_MAX) == bad(reason), reason
    assert refused(cose.parse, good, len(good) - 1) == bad("too-large")
    assert refused(cose.encode, b"", CONTENT, b"short") == bad("bad-signature")


def test_receipts_do_not_change_a_statement() -> None:
    protected = cose.protected_header(-7, EC.kid(), {1: "fleet", 2: "subject", 6: 5}, {395: 1})
    bare = cose.encode(protected, CONTENT, EC_SIGNATURE)
    dressed = cose.encode(protected, CONTENT, EC_SIGNATURE, {394: [b"receipt"], 396: {-1: []}})
    got = cose.parse(dressed, SIZE_MAX)
    assert got.statement_bytes() == bare
    assert got.digest() == cose.parse(bare, SIZE_MAX).digest()
    assert got.claim(1) == "fleet" and got.claim(6) == 5 and got.claim(9) is None
    assert got.unprotected == {394: [b"receipt"], 396: {-1: []}}
    other = cose.encode(protected, CONTENT, ED_SIGNATURE)
    assert cose.parse(other, SIZE_MAX).digest() == got.digest()
