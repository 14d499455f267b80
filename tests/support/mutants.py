"""Encodings that are nearly right: valid examples, taken apart, changed in places, put together.

Flipped bytes are mostly refused at the first head. These are well-formed more often than not, so
they reach the checks behind the decoder: other types, orders, numbers, sizes, forms.
"""

from collections.abc import Iterator
from copy import deepcopy
from random import Random
from typing import Any

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

SIGNED = b"\xd2"
CHANGES_MAX = 3


class Raw(bytes):
    """Bytes that stand in an encoding as they are, well-formed or not."""

    __slots__ = ()


RAW = [
    Raw(bytes.fromhex(text))
    for text in (
        *("f7", "f6", "f5", "e0", "f8ff", "f93c00", "f97e00", "fb3ff0000000000000", "ff"),
        *("1800", "190017", "1bffffffffffffffff", "3bffffffffffffffff", "1b8000000000000000"),
        *(
            "3b8000000000000000",
            "c249010000000000000000",
            "c11a514b67b0",
            "d81c00",
            "d28443a10126a0",
        ),
        *("c4820001", "c4822000", "c482200a", "c4821401", "c482c482200101", "c48220c482200101"),
        *("5f4101ff", "7f6161ff", "9fff", "bfff", "580101", "7801" + "61", "9800", "b800"),
        *("5b7fffffffffffffff", "9b7fffffffffffffff", "bb7fffffffffffffff", "9a00ffffff"),
        *("61ff", "63eda080", "62c080", "a2616201616100", "a2616100616100", "a2010061" + "6100"),
        "81" * 20 + "80",
        "a160" * 20 + "80",
        "c482" * 2000,
    )
]
PLAIN: list[Any] = [
    *(None, True, False, 0, 1, -1, 23, 24, 62, 63, 64, 255, 2**31, 2**32, 2**63 - 1, 2**63),
    *(2**64 - 1, -(2**63), -(2**64), Dec(5, -1), Dec(1, 32), Dec(2**63 - 1, -32)),
    *("", "x", "\0", "e\u0301", "active", "x" * 65, "x" * 1025, b"", b"x", bytes(8), bytes(16)),
    *(bytes(31), bytes(32), bytes(64), b"x" * 600, [], {}, [[]], [None], ["x"], [b"x"], [[], []]),
    *({"x": 1}, {1: 1}, {"": 0}, [bytes(32)] * 65, [0] * 2000),
]


def flips(data: bytes) -> Iterator[bytes]:
    """The same with one bit flipped: each of them."""
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def mutant(data: bytes, random: Random) -> bytes:
    """Another encoding, changed in one to three places."""
    if data[:1] != SIGNED:
        return _changed(data, random)
    parts = cbor.decode(data[1:])
    at = random.choice((0, 1, 2, 2, 2, 2, 3))
    if at in (0, 2) and type(parts[at]) is bytes:
        parts[at] = _changed(parts[at], random)
    else:
        parts = _change(parts, random)
    return SIGNED + _put(parts, random)


def _changed(data: bytes, random: Random) -> bytes:
    try:
        value = cbor.decode(data)
    except Malformed:
        return data[: random.randrange(len(data) + 1)] + random.choice(RAW)
    for _ in range(random.randint(1, CHANGES_MAX)):
        value = _change(value, random)
    return _put(value, random)


def _change(value: Any, random: Random) -> Any:
    # One place of the value, the whole of it included.
    if isinstance(value, list | dict) and value and random.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = random.choice(keys)
        value[key] = _change(value[key], random)
        return value
    if random.random() < 0.5:
        # A copy: later changes are made in place.
        return deepcopy(random.choice(random.choice((PLAIN, RAW))))
    return _near(value, random)


def _near(value: Any, random: Random) -> Any:
    # Something of the same type where there is one.
    if type(value) is bool:
        return int(value)
    if type(value) is int:
        return random.choice((value + 1, value - 1, -value, value << 32, ~value, value == 1))
    if type(value) is str:
        return random.choice((value + "x", value[:-1], value * 30, value.upper(), value[::-1]))
    if type(value) is bytes:
        return random.choice((value[:-1], value + b"x", value * 2, value[::-1], value.hex()))
    if type(value) is list:
        doubled = value + value[-1:]
        return random.choice((value[:-1], doubled, value[::-1], value * 2, [value]))
    if type(value) is dict:
        return random.choice(({**value, "x": 1}, {**value, 9: 1}, dict(list(value.items())[1:])))
    return 0


def _put(value: Any, random: Random) -> bytes:
    if type(value) is Raw:
        return bytes(value)
    if type(value) is list:
        return cbor.head(4, len(value)) + b"".join([_put(item, random) for item in value])
    if type(value) is dict:
        pairs = [_put(key, random) + _put(item, random) for key, item in value.items()]
        if random.random() < 0.95:
            pairs.sort()
        return cbor.head(5, len(value)) + b"".join(pairs)
    try:
        return cbor.encode(value)
    except Malformed:  # an integer beyond 64 bits
        return b"\x00"
