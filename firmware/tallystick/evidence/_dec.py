# Decimal fractions (RFC 8949, 3.4.4): part of number.py, apart for who only decodes.

from tallystick.evidence.errors import Malformed

INT_MIN = -(2**63)
INT_MAX = 2**63 - 1
EXPONENT_MIN = -32
EXPONENT_MAX = 32


class Dec:
    """mantissa * 10**exponent, in normal form only."""

    def __init__(self, mantissa: int, exponent: int) -> None:
        if not (
            type(mantissa) is int
            and type(exponent) is int
            and INT_MIN <= mantissa <= INT_MAX
            and mantissa % 10
            and (EXPONENT_MIN <= exponent < 0 or _needs_power(mantissa, exponent))
        ):
            raise Malformed("bad-number", "a decimal fraction is not in normal form")
        self.mantissa = mantissa
        self.exponent = exponent

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Dec)
            and self.mantissa == other.mantissa
            and self.exponent == other.exponent
        )

    def __hash__(self) -> int:
        return hash((self.mantissa, self.exponent))

    def __repr__(self) -> str:
        return "Dec(%d, %d)" % (self.mantissa, self.exponent)


def _needs_power(mantissa: int, exponent: int) -> bool:
    # Without a fraction a value is an int, unless it does not fit one.
    return 0 < exponent <= EXPONENT_MAX and not INT_MIN <= mantissa * 10**exponent <= INT_MAX
