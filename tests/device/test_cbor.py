"""The strict CBOR profile (docs/protocol.md, section 1.1)."""

from binascii import unhexlify

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# RFC 8949, appendix A, as far as the profile has it, and the edges of every head.
VECTORS: "tuple[tuple[Any, str], ...]" = (
    (0, "00"),
    (23, "17"),
    (24, "1818"),
    (255, "18ff"),
    (256, "190100"),
    (65535, "19ffff"),
    (65536, "1a00010000"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-24, "37"),
    (-25, "3818"),
    (-1000, "3903e7"),
    (-18446744073709551616, "3bffffffffffffffff"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (b"\x01\x02\x03\x04", "4401020304"),
    ("", "60"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    ({}, "a0"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    ({"b": 1, "aa": 2, "a": 3}, "a3616103616201626161" + "02"),
    ({-1: 0, 1: 0, 24: 0, -25: 0}, "a40100181800200038180" + "0"),
    (Dec(27315, -2), "c48221196ab3"),
    (Dec(-5, -1), "c4822024"),
    (Dec(1, 20), "c4821401"),
)

REFUSED = (
    ("", "truncated"),
    ("18", "truncated"),
    ("1900", "truncated"),
    ("1b00000000000000", "truncated"),
    ("42aa", "truncated"),
    ("5bffffffffffffffff", "truncated"),
    ("9bffffffffffffffff", "truncated"),
    ("bbffffffffffffffff", "truncated"),
    ("8201", "truncated"),
    ("9affffffffff", "truncated"),  # before the first element is looked at
    ("baffffffffff", "truncated"),
    ("a101", "truncated"),
    ("a1", "truncated"),
    ("c4", "bad-number"),
    ("c482", "truncated"),
    ("c48220", "truncated"),
    ("0000", "trailing-bytes"),
    ("8000", "trailing-bytes"),
    ("1800", "non-canonical"),
    ("1817", "non-canonical"),
    ("1900ff", "non-canonical"),
    ("1a0000ffff", "non-canonical"),
    ("1b00000000ffffffff", "non-canonical"),
    ("3817", "non-canonical"),
    ("580100", "non-canonical"),
    ("780161", "non-canonical"),
    ("980100", "non-canonical"),
    ("d804822001", "non-canonical"),
    ("5f4100ff", "non-canonical"),
    ("7f6161ff", "non-canonical"),
    ("9f00ff", "non-canonical"),
    ("bf6161" + "00ff", "non-canonical"),
    ("ff", "non-canonical"),
    ("1c", "non-canonical"),
    ("a2616201616102", "non-canonical"),
    ("a262616101616202", "non-canonical"),
    ("a220000100", "non-canonical"),
    ("a2616101616102", "duplicate-key"),
    ("a20100" + "0100", "duplicate-key"),
    ("f7", "bad-type"),
    ("e0", "bad-type"),
    ("f820", "bad-type"),
    ("f93c00", "bad-type"),
    ("f90014", "bad-type"),
    ("fa47c35000", "bad-type"),
    ("fb3ff199999999999a", "bad-type"),
    ("f97e00", "bad-type"),
    ("c000", "bad-type"),
    ("c1" + "1a514b67b0", "bad-type"),
    ("c240", "bad-type"),
    ("c249010000000000000000", "bad-type"),
    ("d28400", "bad-type"),
    ("d81c80", "bad-type"),
    ("d82361" + "61", "bad-type"),
    ("d9d9f700", "bad-type"),
    ("a14000", "bad-type"),
    ("a1f500", "bad-type"),
    ("a18000", "bad-type"),
    ("a1c482200100", "bad-type"),
    ("a2010061" + "6100", "bad-type"),
    ("61ff", "bad-utf8"),
    ("62c080", "bad-utf8"),
    ("62c328", "bad-utf8"),
    ("61c3", "bad-utf8"),
    ("63e08080", "bad-utf8"),
    ("63eda080", "bad-utf8"),
    ("63edbfbf", "bad-utf8"),
    ("64f0808080", "bad-utf8"),
    ("64f4908080", "bad-utf8"),
    ("64f5808080", "bad-utf8"),
    ("6180", "bad-utf8"),
    ("c4820001", "bad-number"),  # 1, an int
    ("c48200" + "00", "bad-number"),
    ("c4822000", "bad-number"),  # 0
    ("c482200a", "bad-number"),  # 10 * 10**-1
    ("c4820101", "bad-number"),  # 10, an int
    ("c482382001", "bad-number"),  # exponent -33
    ("c482182101", "bad-number"),  # exponent 33
    ("c482201b8000000000000000", "bad-number"),
    ("c482203b8000000000000000", "bad-number"),
    ("c482f500", "bad-number"),
    ("c4826001", "bad-number"),
    ("c401", "bad-number"),
    ("c4812001", "bad-number"),
    ("c483200101", "bad-number"),
    ("c482c4822001" + "01", "bad-number"),  # a fraction of fractions
    ("c48220c4822001", "bad-number"),
    ("c4828001", "bad-number"),
    ("c48220a0", "bad-number"),
)


def fails(reason: str, function: "Any", *arguments: "Any") -> None:
    try:
        function(*arguments)
    except Malformed as error:
        assert error.reason == reason, "%r: %s, not %s" % (arguments, error.reason, reason)
        return
    raise AssertionError("accepted: %r" % (arguments,))


def test_values_have_one_encoding() -> None:
    for value, text in VECTORS:
        data = unhexlify(text)
        assert cbor.encode(value) == data, text
        got = cbor.decode(data)
        assert got == value and type(got) is type(value), text


def test_everything_else_is_refused() -> None:
    for text, reason in REFUSED:
        fails(reason, cbor.decode, unhexlify(text))


def test_values_that_the_profile_does_not_have_are_not_written() -> None:
    values: "list[Any]" = [
        0.5,
        (1, 2),
        bytearray(b"x"),
        set(),
        {b"k": 1},
        {None: 1},
        {True: 1},
        {1.5: 1},
    ]
    for value in values:
        fails("bad-type", cbor.encode, value)
        fails("bad-type", cbor.encode, [value])
    fails("bad-type", cbor.encode, {1: 0, "a": 0})
    fails("bad-number", cbor.encode, 2**64)
    fails("bad-number", cbor.encode, -(2**64) - 1)


def test_depth_is_limited_both_ways() -> None:
    value: "Any" = None
    for _ in range(cbor.DEPTH_MAX):
        value = [value]
    assert cbor.decode(cbor.encode(value)) == value
    fails("too-deep", cbor.encode, [value])
    fails("too-deep", cbor.encode, {"a": value})
    fails("too-deep", cbor.decode, b"\x81" * (cbor.DEPTH_MAX + 1) + b"\xf6")
    fails("too-deep", cbor.decode, b"\x81" * 1000)
    fails("too-deep", cbor.decode, b"\xa1\x00" * 1000)
    # Fractions do not nest at all: they would have no depth.
    fails("bad-number", cbor.decode, b"\xc4\x82" * 1000)
    fails("too-deep", cbor.decode, b"\x81\x00", 0)
    assert cbor.decode(b"\x81\x00", 1) == [0]


def test_a_cut_anywhere_is_truncated() -> None:
    data = cbor.encode({"a": [1, b"xyz", "text", Dec(5, -1), 70000], "b": {1: None}})
    for size in range(len(data)):
        fails(
            "truncated" if data[size - 1 : size] != b"\xc4" else "bad-number",
            cbor.decode,
            data[:size],
        )


def test_key_order_is_remembered_for_many_shapes_of_map() -> None:
    for turn in range(3):
        for shape in range(2 * cbor.ORDERS_MAX):
            value = {"k%d" % key: turn for key in range(shape, shape + 3)}
            assert cbor.decode(cbor.encode(value)) == value
    assert len(cbor._orders) <= cbor.ORDERS_MAX


def test_heads_are_building_blocks_for_framing() -> None:
    for major in range(7):
        for value in (0, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1):
            data = b"\x00" + cbor.head(major, value)
            assert cbor.read_head(data + b"tail", 1) == (major, value, len(data))
            fails("truncated", cbor.read_head, data[:-1], 1)


def test_what_was_decoded_does_not_depend_on_the_buffer() -> None:
    buffer: "Any" = bytearray(b"\x41x")
    assert cbor.decode(buffer) == b"x"
    assert type(cbor.decode(buffer)) is bytes
