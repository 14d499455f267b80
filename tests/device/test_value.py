"""Named values and constraints (docs/protocol.md, section 2.1)."""

from _made import refused
from tallystick.evidence import cbor, value, valuewriter
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def put(item: "Any", decimals: int = 6) -> bytes:
    out = bytearray()
    valuewriter.put(out, item, decimals=decimals)
    return bytes(out)


def test_what_the_interface_takes() -> None:
    for given, canonical in (
        (None, None),
        (True, True),
        (-7, -7),
        (2**63 - 1, 2**63 - 1),
        (1.5, Dec(15, -1)),
        (-0.0, 0),
        (3.0, 3),
        ((125, -2), Dec(125, -2)),
        ((3, 2), 300),
        ((3, 30), Dec(3, 30)),
        (Dec(1, -32), Dec(1, -32)),
        ("grün", "grün"),
        ("x" * 30, "x" * 30),
        (b"bytes", b"bytes"),
        ([1, [2.5, "a"]], [1, [Dec(25, -1), "a"]]),
        ({"b": 1, "a": {"c": 0.25}}, {"a": {"c": Dec(25, -2)}, "b": 1}),
    ):
        assert put(given) == cbor.encode(canonical), given
        value.check(canonical)
        assert cbor.decode(put(given)) == canonical
    assert put(1.23456, 2) == cbor.encode(Dec(123, -2))
    assert put(1.6, 0) == cbor.encode(2)


def test_maps_are_in_order_whatever_the_order_given() -> None:
    for names in (("b", "a", "cc"), ("cc", "b", "a"), ("a", "cc", "b")):
        for _ in range(2):  # from the kept order the second time
            assert put(dict.fromkeys(names, 1)) == cbor.encode({"a": 1, "b": 1, "cc": 1})


def test_what_it_refuses() -> None:
    deep: "Any" = 1
    maps: "Any" = 1
    for _ in range(12):
        deep = [deep]
        maps = {"a": maps}
    for given, reason in (
        (2**63, "bad-number"),
        (-(2**63) - 1, "bad-number"),
        (float("nan"), "bad-number"),
        (float("inf"), "bad-number"),
        ((1, 2, 3), "bad-number"),
        ((0.5, 1), "bad-number"),
        ("x" * 1025, "too-large"),
        ("ü" * 513, "too-large"),
        ({"x" * 65: 1}, "too-large"),
        ({"": 1}, "bad-value"),
        ({5: 1}, "bad-type"),
        ({1, 2}, "bad-type"),
        (bytearray(b"x"), "bad-type"),
        (deep, "too-deep"),
        (maps, "too-deep"),
        ("\ud800", "bad-utf8"),
        ({"\ud800" * 20: 1}, "bad-utf8"),
    ):
        assert refused(put, given) == reason, given
    assert put(deep[0]) == cbor.encode(deep[0])


def test_what_a_parser_refuses() -> None:
    for item, reason in (
        (2**63, "bad-number"),
        ("x" * 1025, "too-large"),
        ("ü" * 513, "too-large"),
        ([1, "x" * 1025], "too-large"),
        ({"x" * 65: 1}, "too-large"),
        ({"ü" * 33: 1}, "too-large"),
        ({"": 1}, "bad-value"),
        ({5: 1}, "bad-type"),
        (1.5, "bad-type"),
        ([(1, 2)], "bad-type"),
        ("\ud800" * 300, "bad-utf8"),
        ({"\ud800" * 20: 1}, "bad-utf8"),
    ):
        assert refused(value.check, item) == reason, item
    value.check({"ü" * 32: "ü" * 512})
    assert refused(value.check_named, [1]) == "bad-type"


def test_constraints_hold_exactly() -> None:
    small, large = Dec(1, -1), Dec(11, -2)
    for operator, results in (
        ("<", (True, False, False)),
        ("<=", (True, True, False)),
        ("=", (False, True, False)),
        ("!=", (True, False, True)),
        (">=", (False, True, True)),
        (">", (False, False, True)),
    ):
        for left, right, result in (
            (small, large, results[0]),
            (large, large, results[1]),
            (large, small, results[2]),
            (1, 2, results[0]),
            (2, 2, results[1]),
            (2, 1, results[2]),
            (Dec(19, -1), 2, results[0]),
        ):
            assert value.holds(left, operator, right) is result
        value.check_limit(operator, 1, None, True)
    assert refused(value.holds, 1, "==", 2) == "bad-value"
    assert refused(value.check_limit, "==", 1, None, True) == "bad-value"
    assert refused(value.check_limit, "<", "1", None, True) == "bad-type"
    assert refused(value.check_limit, "<", 1, "", True) == "bad-value"
    assert refused(value.check_limit, "<", 1, None, 1) == "bad-type"


def test_every_size_has_its_shortest_head() -> None:
    for edge in (0, 24, 2**8, 2**16, 2**32, 2**63 - 1):
        for number in (edge - 1, edge, edge + 1):
            if number < 2**63:
                assert put(number) == cbor.encode(number), number
            assert put(-number) == cbor.encode(-number), -number
            if number % 10 and number < 2**63:
                fraction = Dec(number, -3)
                assert put(fraction) == cbor.encode(fraction), fraction
    for size in (0, 1, 23, 24, 255, 256, 1000):
        assert put(b"x" * size) == cbor.encode(b"x" * size), size
        assert put("x" * size) == cbor.encode("x" * size), size
    for size in (0, 1, 23, 24, 25):
        items = {"%03d" % number: number for number in range(size)}
        assert put(items) == cbor.encode(items), size
        assert put(list(range(size))) == cbor.encode(list(range(size))), size
