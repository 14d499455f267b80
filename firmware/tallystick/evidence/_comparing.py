# Text of numbers and comparisons with tolerances: part of number.py, which loads it on demand.

from tallystick.evidence.number import Dec, compare_parts, parts


def to_text(n: int | Dec) -> str:
    """Plain decimal text; from_text gives the number back."""
    mantissa, exponent = parts(n)
    if exponent >= 0:
        return str(mantissa * 10**exponent)
    digits = str(abs(mantissa))
    places = -exponent
    if len(digits) <= places:
        digits = "0" * (places - len(digits) + 1) + digits
    sign = "-" if mantissa < 0 else ""
    return sign + digits[:-places] + "." + digits[-places:]


def _scaled(*numbers: int | Dec) -> list[int]:
    # All by one power of ten, so that comparing them is integer arithmetic and exact.
    pairs = [parts(n) for n in numbers]
    low = min([exponent for _, exponent in pairs])
    return [mantissa * 10 ** (exponent - low) for mantissa, exponent in pairs]


def compare(a: int | Dec, b: int | Dec) -> int:
    """-1, 0 or 1."""
    x, x_exponent = parts(a)
    y, y_exponent = parts(b)
    return compare_parts(x, x_exponent, y, y_exponent)


def differs_by_at_most(a: int | Dec, b: int | Dec, tolerance: int | Dec) -> bool:
    """abs(a - b) <= tolerance."""
    x, y, limit = _scaled(a, b, tolerance)
    return abs(x - y) <= limit


def differs_by_at_most_rel(a: int | Dec, b: int | Dec, tolerance: int | Dec) -> bool:
    """abs(a - b) <= tolerance * max(abs(a), abs(b))."""
    mantissa, exponent = parts(tolerance)
    x, y = _scaled(a, b)
    left = abs(x - y)
    right = mantissa * max(abs(x), abs(y))
    if exponent < 0:
        left *= 10**-exponent
    else:
        right *= 10**exponent
    return left <= right
