"""Powers modulo a prime in bounded steps, for the pure-Python cryptography."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    Steps = Generator[None, None, Any]


def power(base: int, exponent: int, modulus: int) -> "Steps":
    """The value of base**exponent % modulus, exponent below 2**256, 32 bits of it a step."""
    result = 1
    for shift in range(224, -1, -32):
        low = (exponent >> shift) & 0xFFFFFFFF
        result = pow(result, 1 << 32, modulus) * pow(base, low, modulus) % modulus
        yield
    return result
