"""Exact numbers: an int of signed 64 bits, else a decimal fraction (RFC 8949, 3.4.4)."""

# There are no floats on the wire: boards with single precision, and MicroPython's repr, give
# other decimals than a server.  A value has one form only, so equal numbers are equal bytes.

import sys

from tallystick.evidence import _dec
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence import _comparing

    to_text = _comparing.to_text
    compare = _comparing.compare
    differs_by_at_most = _comparing.differs_by_at_most
    differs_by_at_most_rel = _comparing.differs_by_at_most_rel

Dec = _dec.Dec
EXPONENT_MIN = _dec.EXPONENT_MIN
EXPONENT_MAX = _dec.EXPONENT_MAX
INT_MIN = _dec.INT_MIN
INT_MAX = _dec.INT_MAX
DECIMALS_MAX = 15  # what a double holds
TEXT_CHARS_MAX = 64

_MICROPYTHON = sys.implementation.name == "micropython"
_COMPARING = ("to_text", "compare", "differs_by_at_most", "differs_by_at_most_rel")


def from_scaled(mantissa: int, exponent: int) -> int | Dec:
    """The number mantissa * 10**exponent in its one form; Malformed when it has none."""
    if type(mantissa) is not int or type(exponent) is not int:
        raise Malformed("bad-number", "mantissa and exponent must be integers")
    if mantissa == 0:
        return 0
    if not -(2**256) < mantissa < 2**256:
        raise Malformed("bad-number", "the number has too many digits")
    while mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    if 0 <= exponent <= EXPONENT_MAX:
        value: int = mantissa * 10**exponent
        if INT_MIN <= value <= INT_MAX:
            return value
    if not INT_MIN <= mantissa <= INT_MAX or not EXPONENT_MIN <= exponent <= EXPONENT_MAX:
        raise Malformed("bad-number", "the number does not fit 64 bits and exponents -32 to 32")
    return Dec(mantissa, exponent)


def _all_digits(text: str) -> bool:
    # str.isdigit() and int() accept other scripts' digits, signs, spaces and underscores.
    # By bytes: MicroPython keeps every character that a loop over text gives for ever.
    try:
        raw = text.encode()
    except ValueError:  # a lone surrogate
        return False
    for byte in raw:
        if not 48 <= byte <= 57:
            return False
    return text != ""


def from_text(text: str) -> int | Dec:
    """Plain decimal text: `-?(0|[1-9][0-9]*)(.[0-9]+)?`; trailing zeros and -0 are normalised."""
    if type(text) is not str or len(text) > TEXT_CHARS_MAX:
        raise Malformed("bad-number", "not decimal text of at most 64 characters")
    negative = text[:1] == "-"
    parts = text[1 if negative else 0 :].split(".")
    whole = parts[0]
    fraction = parts[1] if len(parts) == 2 else ""
    if (
        len(parts) > 2
        or not _all_digits(whole)
        or (len(whole) > 1 and whole[0] == "0")
        or (len(parts) == 2 and not _all_digits(fraction))
    ):
        raise Malformed("bad-number", "not plain decimal text: write it like -12.5")
    mantissa = int(whole + fraction)
    return from_scaled(-mantissa if negative else mantissa, -len(fraction))


def float_parts(x: float, decimals: int = 6) -> tuple[int, int]:
    """(mantissa, exponent) in normal form, exponent 0 for an integer; as from_float."""
    if type(decimals) is not int or not 0 <= decimals <= DECIMALS_MAX:
        raise Malformed("bad-number", "decimals must be 0 to 15")
    # Also false for NaN.  Longer texts would show digits that only some printf's make up.
    if not -9.2e18 < x < 9.2e18:
        raise Malformed("bad-number", "a float must be finite and fit 64 bits")
    # An exact tie may round either way by board; who needs one answer gives text.
    text = "%.*f" % (decimals, x)
    if not decimals:
        return int(text), 0
    # A fraction's trailing zeros go; those before the point stay, since the point stops rstrip.
    digits = text.rstrip("0")
    mantissa = int(digits.replace(".", ""))
    # Short ones fit: comparing with numbers of 64 bits is slow on a device.
    if len(digits) > 18 and not INT_MIN <= mantissa <= INT_MAX:
        raise Malformed("bad-number", "too many digits: declare fewer decimals")
    return mantissa, len(text) - decimals - len(digits)


def from_float(x: float, decimals: int = 6) -> int | Dec:
    """Round to `decimals` by formatting (never by repr or arithmetic, which differ by board)."""
    mantissa, exponent = float_parts(x, decimals)
    return Dec(mantissa, exponent) if exponent else mantissa


def of(value: object, decimals: int = 6) -> int | Dec:
    """The API's door: int, decimal text, (mantissa, exponent), float, or Dec."""
    kind = type(value)
    if kind is float:
        return from_float(value, decimals)  # type: ignore[arg-type]  # narrowed by type() above
    if kind is int:
        return from_scaled(value, 0)  # type: ignore[arg-type]  # narrowed by type() above
    if isinstance(value, Dec):
        return value
    if isinstance(value, str):
        return from_text(value)
    if isinstance(value, tuple) and len(value) == 2:
        return from_scaled(value[0], value[1])
    raise Malformed(
        "bad-number", "a number is an int, text like '0.5', (mantissa, exponent) or a float"
    )


def parts(n: int | Dec) -> tuple[int, int]:
    """(mantissa, exponent), exponent 0 for an integer."""
    if isinstance(n, Dec):
        return n.mantissa, n.exponent
    if type(n) is not int:
        raise Malformed("bad-number", "not an exact number")
    return n, 0


def compare_parts(a: int, a_exponent: int, b: int, b_exponent: int) -> int:
    """-1, 0 or 1: a * 10**a_exponent beside b * 10**b_exponent."""
    if a_exponent > b_exponent:
        a *= 10 ** (a_exponent - b_exponent)
    elif a_exponent < b_exponent:
        b *= 10 ** (b_exponent - a_exponent)
    return (a > b) - (a < b)


def __getattr__(name: str) -> "Any":
    # A device compares with limits only, and does not load the rest.
    if name in _COMPARING:
        from tallystick.evidence import _comparing  # noqa: PLC0415  # see above

        found = getattr(_comparing, name)
        if not _MICROPYTHON:
            globals()[name] = found
        return found
    raise AttributeError(name)
