"""Exact numbers against Python's Decimal and Fraction."""

import struct
from decimal import Decimal, localcontext
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tallystick.evidence import number
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec


def exact(n: int | Dec) -> Fraction:
    if isinstance(n, Dec):
        return Fraction(n.mantissa) * Fraction(10) ** n.exponent
    return Fraction(n)


mantissas = st.integers(-(2**70), 2**70) | st.integers(-1000, 1000)
scaled = st.tuples(mantissas, st.integers(-40, 40))


@st.composite
def numbers(draw: st.DrawFn) -> int | Dec:
    mantissa = draw(st.integers(-(10**6), 10**6) | st.integers(number.INT_MIN, number.INT_MAX))
    try:
        return number.from_scaled(mantissa, draw(st.integers(-32, 32)))
    except Malformed:
        return mantissa


@given(scaled)
def test_a_scaled_integer_keeps_its_value_and_has_one_form(parts: tuple[int, int]) -> None:
    mantissa, exponent = parts
    value = Fraction(mantissa) * Fraction(10) ** exponent
    try:
        got = number.from_scaled(mantissa, exponent)
    except Malformed:
        # Refused only where no form exists.
        reduced, power = mantissa, exponent
        while reduced and reduced % 10 == 0:
            reduced, power = reduced // 10, power + 1
        fits = number.INT_MIN <= reduced <= number.INT_MAX and -32 <= power <= 32
        whole = value.denominator == 1 and number.INT_MIN <= value <= number.INT_MAX
        assert not fits and not whole
        return
    assert exact(got) == value
    integral = value.denominator == 1 and number.INT_MIN <= value <= number.INT_MAX
    assert (type(got) is int) == integral
    if isinstance(got, Dec):
        assert got.mantissa % 10 and -32 <= got.exponent <= 32
    assert number.from_scaled(mantissa * 10, exponent - 1) == got


@given(numbers())
def test_text_and_back(n: int | Dec) -> None:
    text = number.to_text(n)
    assert Fraction(Decimal(text)) == exact(n)
    if len(text) <= number.TEXT_CHARS_MAX:
        assert number.from_text(text) == n


@given(numbers(), numbers(), numbers())
def test_comparisons_are_those_of_fractions(a: int | Dec, b: int | Dec, t: int | Dec) -> None:
    x, y, limit = exact(a), exact(b), exact(t)
    assert number.compare(a, b) == (x > y) - (x < y)
    assert number.differs_by_at_most(a, b, t) == (abs(x - y) <= limit)
    assert number.differs_by_at_most_rel(a, b, t) == (abs(x - y) <= limit * max(abs(x), abs(y)))


@given(st.floats(-9e18, 9e18), st.integers(0, 15))
def test_floats_are_rounded_to_their_decimals(x: float, decimals: int) -> None:
    try:
        got = number.from_float(x, decimals)
    except Malformed:
        assert abs(x) * 10**decimals > 2**62
        return
    with localcontext() as context:
        context.prec = 60
        expected = Decimal(x).quantize(Decimal(1).scaleb(-decimals))
    assert exact(got) == Fraction(expected)


@given(st.text(max_size=12) | st.from_regex(r"[-+0-9._eE]{1,12}", fullmatch=True))
def test_text_is_refused_unless_it_is_plain(text: str) -> None:
    try:
        got = number.from_text(text)
    except Malformed:
        return
    assert set(text) <= set("-0123456789.")
    assert exact(got) == Fraction(Decimal(text))


def test_single_precision_values_of_six_decimals_survive() -> None:
    # What a board with single precision holds of 0.1 is not 0.1, but its six decimals are.
    for text in ("0.1", "0.3", "-0.088", "3.141593"):
        single = struct.unpack("f", struct.pack("f", float(text)))[0]
        assert number.from_float(single) == number.from_text(text)
