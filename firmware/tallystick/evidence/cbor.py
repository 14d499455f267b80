"""Deterministic CBOR (RFC 8949, 4.2.1), the strict profile of docs/protocol.md."""

# Values: int of -2^64..2^64-1, bytes, str, list, dict with all-text or all-int keys, bool, None and
# Dec (tag 4).  The decoder accepts only what the encoder writes, so equal values are equal bytes.

import sys

from tallystick.evidence._dec import Dec
from tallystick.evidence.errors import Malformed

DEPTH_MAX = 12
# Applications repeat a few shapes of map; remembering their key order halves the cost of a record.
ORDERS_MAX = 16

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence import _cborreader

    decode = _cborreader.decode
    read_head = _cborreader.read_head

_MICROPYTHON = sys.implementation.name == "micropython"
_orders: dict[tuple[object, ...], list[tuple[bytes, object]]] = {}


def _fail(reason: str, what: str, pos: int) -> Malformed:
    return Malformed(reason, "CBOR: %s at byte %d" % (what, pos))


def head(major: int, value: int) -> bytes:
    """First bytes of an item: major type 0 to 7 and its argument, in the shortest form."""
    major <<= 5
    if value < 24:
        return bytes((major | value,))
    if value < 0x100:
        return bytes((major | 24, value))
    if value < 0x10000:
        return bytes((major | 25,)) + value.to_bytes(2, "big")
    if value < 0x100000000:
        return bytes((major | 26,)) + value.to_bytes(4, "big")
    return bytes((major | 27,)) + value.to_bytes(8, "big")


def _check_utf8(raw: bytes, pos: int) -> None:
    # MicroPython checks the lengths of sequences only: not surrogates, overlong forms or the end
    # of Unicode (RFC 3629, section 3).
    lead = 0
    for byte in raw:
        if (
            lead in (0xC0, 0xC1)
            or lead > 0xF4
            or (lead == 0xE0 and byte < 0xA0)
            or (lead == 0xED and byte > 0x9F)
            or (lead == 0xF0 and byte < 0x90)
            or (lead == 0xF4 and byte > 0x8F)
        ):
            raise _fail("bad-utf8", "text that is not UTF-8", pos)
        lead = byte


def _order(keys: tuple[object, ...]) -> list[tuple[bytes, object]]:
    # Encoded keys in bytewise order of their encoding (4.2.1), with the key that each stands for.
    pairs: list[tuple[bytes, object]] = []
    text = 0
    for key in keys:
        if type(key) is str:
            text += 1
        elif type(key) is not int:
            raise _fail("bad-type", "a map key that is neither text nor integer", 0)
        raw = bytearray()
        _put(raw, key, 0)
        pairs.append((bytes(raw), key))
    if text not in (0, len(keys)):
        raise _fail("bad-type", "a map with keys of two types", 0)
    # Encoded keys differ, so the comparison never reaches the keys themselves.
    pairs.sort()
    if text and sum([len(raw) for raw, _ in pairs]) < 512:
        if len(_orders) >= ORDERS_MAX:
            _orders.clear()
        _orders[keys] = pairs
    return pairs


def _put(out: bytearray, value: "Any", depth: int) -> None:  # noqa: C901  # a table of types
    # One function, the commonest types first: calls and look-ups are what costs on MicroPython.
    kind = type(value)
    if kind is str:
        try:
            raw = value.encode()
        except ValueError:  # a lone surrogate
            raise _fail("bad-utf8", "text that has no UTF-8", 0)
        size = len(raw)
        if size != len(value):
            _check_utf8(raw, 0)
        if size < 24:
            out.append(0x60 | size)
        else:
            out += head(3, size)
        out += raw
    elif kind is bytes:
        size = len(value)
        out += bytes((0x58, size)) if 23 < size < 256 else head(2, size)
        out += value
    elif kind is int:
        if 0 <= value < 24:
            out.append(value)
        elif value >= 0:
            if value >> 64:
                raise _fail("bad-number", "an integer beyond 64 bits", 0)
            out += head(0, value)
        else:
            if ~value >> 64:
                raise _fail("bad-number", "an integer beyond 64 bits", 0)
            out += head(1, ~value)
    elif kind is list:
        if not depth:
            raise _fail("too-deep", "nesting beyond the limit", 0)
        depth -= 1
        size = len(value)
        if size < 24:
            out.append(0x80 | size)
        else:
            out += head(4, size)
        for item in value:
            _put(out, item, depth)
    elif kind is dict:
        if not depth:
            raise _fail("too-deep", "nesting beyond the limit", 0)
        depth -= 1
        keys = tuple(value)
        out += head(5, len(keys))
        for raw, key in _orders.get(keys) or _order(keys):
            out += raw
            _put(out, value[key], depth)
    elif kind is Dec:
        # Tag 4, array of two: exponent, mantissa (RFC 8949, 3.4.4).
        out += b"\xc4\x82"
        _put(out, value.exponent, 0)
        _put(out, value.mantissa, 0)
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    else:
        raise _fail("bad-type", "a %s, which the profile does not have," % kind.__name__, 0)


def encode(value: "Any") -> bytes:
    """The one encoding of a value; Malformed when the profile does not have it."""
    out = bytearray()
    _put(out, value, DEPTH_MAX)
    return bytes(out)


def __getattr__(name: str) -> "Any":
    # A device that only records decodes nothing, and does not load what does.
    if name in ("decode", "read_head"):
        from tallystick.evidence import _cborreader  # noqa: PLC0415  # see above

        found = getattr(_cborreader, name)
        if not _MICROPYTHON:
            globals()[name] = found
        return found
    raise AttributeError(name)
