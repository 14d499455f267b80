"""CBOR that must be refused at every door (A11), by what is wrong with it.

Lengths of 2^32 and more are announced with nothing behind them: whoever reserves room first, or
counts up to them, is found by memory or time.
"""

HUGE = (1 << 32, 1 << 62, (1 << 64) - 1)


def _head(major: int, length: int) -> bytes:
    return bytes([major << 5 | 27]) + length.to_bytes(8, "big")


BOMBS = {
    **{f"bytes of {n}": _head(2, n) for n in HUGE},
    **{f"text of {n}": _head(3, n) for n in HUGE},
    **{f"array of {n}": _head(4, n) for n in HUGE},
    **{f"map of {n}": _head(5, n) for n in HUGE},
    "an array of arrays of 2^32": b"\x84" + _head(4, HUGE[0]) * 4,
    "a million, of which some come": b"\x9a\x00\x0f\x42\x40" + b"\x00" * 9_000,
    "arrays 60,000 deep": b"\x81" * 60_000 + b"\x00",
    "maps 30,000 deep": b"\xa1\x00" * 30_000 + b"\x00",
    "tags 60,000 deep": b"\xc1" * 60_000 + b"\x00",
    "of no definite length": b"\x9f\x00\xff",
    "text of no definite length": b"\x7f\x61a\xff",
    "a foreign tag": b"\x82\xc0\x61a\x00",
    "a tag of bignums": b"\xc2\x49\x01" + bytes(8),
    "NaN": b"\x81\xf9\x7e\x00",
    "infinity": b"\x81\xfb\x7f\xf0" + bytes(6),
    "a float": b"\x81\xfa\x3f\x80\x00\x00",
    "undefined": b"\x81\xf7",
    "a simple value": b"\x81\xf8\xff",
    "a key twice": b"\xa2\x01\x00\x01\x00",
    "keys out of order": b"\xa2\x02\x00\x01\x00",
    "a long small number": b"\x81\x18\x01",
    "a long length": b"\x81\x58\x01a",
    "no UTF-8": b"\x81\x61\xff",
    "two items": b"\x80\x80",
    "nothing": b"",
    "cut inside a head": b"\x9b\x00\x00",
    "a reserved head": b"\x1c",
}
