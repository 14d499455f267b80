"""One form for every number, the same on every board (docs/protocol.md, section 1.2)."""

from tallystick.evidence import number
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def refused(function: "Any", *arguments: "Any") -> None:
    try:
        function(*arguments)
    except Malformed as error:
        assert error.reason == "bad-number", error.reason
        return
    raise AssertionError("accepted: %r" % (arguments,))


def test_text_has_one_number() -> None:
    for text, value in (
        ("0", 0),
        ("-0", 0),
        ("-0.000", 0),
        ("5", 5),
        ("-5.0", -5),
        ("0.5", Dec(5, -1)),
        ("-0.088", Dec(-88, -3)),
        ("1.500", Dec(15, -1)),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("100000000000000000000", Dec(1, 20)),
        ("0." + "0" * 31 + "1", Dec(1, -32)),
    ):
        assert number.from_text(text) == value, text
        assert type(number.from_text(text)) is type(value), text


def test_text_that_is_not_a_plain_decimal_is_refused() -> None:
    for text in (
        ["", "-", "+5", "0_1", " 07", "7 ", "07", "00", "-07", ".5", "5.", "1.2.3", "1e5", "1E5"]
        + ["0x10", "nan", "inf", "-inf", "--5", "5-", "1,5", "1" * 65, "\u0663", "\uff11", "5\n"]
        + ["9223372036854775808", "0." + "0" * 32 + "1", "1" + "0" * 60, "1" * 9999]
    ):
        refused(number.from_text, text)
    refused(number.from_text, b"5")
    refused(number.from_text, 5)


def test_scaled_integers_are_reduced() -> None:
    assert number.from_scaled(2500, -2) == 25
    assert number.from_scaled(2550, -2) == Dec(255, -1)
    assert number.from_scaled(3, 2) == 300
    assert number.from_scaled(1, 19) == Dec(1, 19)
    assert number.from_scaled(0, 64) == 0
    for mantissa, exponent in ((1, 65), (1, 10**9), (1, -(10**9)), (2**63, -1), (10**300, -300)):
        refused(number.from_scaled, mantissa, exponent)
    refused(number.from_scaled, True, 0)
    refused(number.from_scaled, 1, 0.5)


def test_only_normal_forms_can_be_made() -> None:
    for mantissa, exponent in [
        (0, -1),
        (10, -1),
        (1, 0),
        (1, 1),
        (9, 18),
        (-9, 18),
        (1, 33),
        (1, -33),
    ] + [(2**63, -1), (-(2**63) - 1, -1), (True, -1), (1, True), (1.5, -1), (None, -1)]:
        refused(Dec, mantissa, exponent)
    assert Dec(9, 19) == Dec(9, 19) and Dec(9, 19) != Dec(9, 20)
    assert Dec(1, -1) != 0.1 and Dec(1, -1) != 1
    assert hash(Dec(1, -1)) == hash(Dec(1, -1))
    assert repr(Dec(-1, -1)) == "Dec(-1, -1)"


def test_floats_are_rounded_by_formatting() -> None:
    assert number.from_float(0.5) == Dec(5, -1)
    assert number.from_float(-0.088) == Dec(-88, -3)
    assert number.from_float(0.1) == Dec(1, -1)
    assert number.from_float(-0.0) == 0
    assert number.from_float(-0.0000001) == 0
    assert number.from_float(1e6) == 1000000
    assert number.from_float(2.26, 1) == Dec(23, -1)
    assert number.from_float(2.4, 0) == 2
    # An exact tie goes to even here and away from zero there; both are within half a unit.
    assert number.from_float(2.25, 1) in (Dec(22, -1), Dec(23, -1))
    for value in (float("nan"), float("inf"), -float("inf"), 1e19, 1e300):
        refused(number.from_float, value)
    refused(number.from_float, 0.5, 16)
    refused(number.from_float, 0.5, -1)


def test_the_door_takes_four_kinds() -> None:
    assert number.of(7) == 7
    assert number.of("0.5") == Dec(5, -1)
    assert number.of((5, -1)) == Dec(5, -1)
    assert number.of(0.125, 2) in (Dec(12, -2), Dec(13, -2))
    assert number.of(Dec(5, -1)) == Dec(5, -1)
    for wrong in (True, None, b"1", [1, 2], (1, 2, 3), (1,)):
        refused(number.of, wrong)
    refused(number.of, 2**64)


def test_text_and_back() -> None:
    for text in ("0", "-1", "0.5", "-0.088", "12.25", "100000000000000000000", "-0.00001"):
        assert number.to_text(number.from_text(text)) == text


def test_comparison_is_exact() -> None:
    half, tenth = Dec(5, -1), Dec(1, -1)
    assert number.compare(half, tenth) == 1
    assert number.compare(tenth, half) == -1
    assert number.compare(3, 3) == 0
    assert number.compare(Dec(1, 20), 2**63 - 1) == 1
    assert number.compare(Dec(-1, -32), 0) == -1
    # 0.3 - 0.2 <= 0.1 fails in binary floating point.
    assert number.differs_by_at_most(Dec(3, -1), Dec(2, -1), tenth)
    assert not number.differs_by_at_most(Dec(31, -2), Dec(2, -1), tenth)
    assert number.differs_by_at_most(-1, 1, 2) and not number.differs_by_at_most(-1, 2, 2)


def test_relative_tolerance_is_of_the_larger_magnitude() -> None:
    assert number.differs_by_at_most_rel(100, 99, Dec(1, -2))
    assert not number.differs_by_at_most_rel(100, Dec(989, -1), Dec(1, -2))
    assert number.differs_by_at_most_rel(-100, -99, Dec(1, -2))
    assert number.differs_by_at_most_rel(0, 0, 0)
    assert not number.differs_by_at_most_rel(0, Dec(1, -32), Dec(5, -1))
    assert number.differs_by_at_most_rel(1, 5, Dec(1, 20))
