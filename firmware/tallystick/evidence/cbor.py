"""Deterministic CBOR (RFC 8949, 4.2.1), the strict profile of docs/protocol.md."""

# Values: int of -2^64..2^64-1, bytes, str, list, dict with all-text or all-int keys, bool, None and
# Dec (tag 4).  The decoder accepts only what the encoder writes, so equal values are equal bytes.

from tallystick.evidence.errors import Malformed
from tallystick.evidence.number import Dec

DEPTH_MAX = 12
# Applications repeat a few shapes of map; remembering their key order halves the cost of a record.
ORDERS_MAX = 16

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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


def read_head(data: bytes, pos: int) -> tuple[int, int, int]:
    """(major, argument, position after it); refuses long forms and indefinite lengths."""
    end = len(data)
    if pos >= end:
        raise _fail("truncated", "the data ends", pos)
    first = data[pos]
    info = first & 31
    major = first >> 5
    if info < 24:
        return major, info, pos + 1
    if info > 27:
        # Major 7 of these is the end of an indefinite length; others are indefinite or reserved.
        raise _fail("non-canonical", "an indefinite or reserved length", pos)
    if major == 7:
        # 24: simple values, 25 to 27: floats.  Floats differ by board, see number.py.
        raise _fail("bad-type", "a float or simple value that the profile does not have", pos)
    size = 1 << (info - 24)
    after = pos + 1 + size
    if after > end:
        raise _fail("truncated", "the data ends in a head", pos)
    value = int.from_bytes(data[pos + 1 : after], "big")
    if value < (24 if size == 1 else 1 << (size << 2)):
        raise _fail("non-canonical", "a number longer than needed", pos)
    return major, value, after


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
    elif kind is dict:
        if not depth:
            raise _fail("too-deep", "nesting beyond the limit", 0)
        keys = tuple(value)
        out += head(5, len(keys))
        for raw, key in _orders.get(keys) or _order(keys):
            out += raw
            _put(out, value[key], depth - 1)
    elif kind is Dec:
        # Tag 4, array of two: exponent, mantissa (RFC 8949, 3.4.4).
        out += b"\xc4\x82"
        _put(out, value.exponent, 0)
        _put(out, value.mantissa, 0)
    elif kind is bytes:
        out += head(2, len(value))
        out += value
    elif kind is list:
        if not depth:
            raise _fail("too-deep", "nesting beyond the limit", 0)
        out += head(4, len(value))
        for item in value:
            _put(out, item, depth - 1)
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    else:
        raise _fail("bad-type", "a %s, which the profile does not have," % kind.__name__, 0)


def _item(data: bytes, pos: int, depth: int) -> "tuple[Any, int]":  # noqa: C901  # a table of types
    # Short heads are read in place: calls are what costs.  decode() turns IndexError to truncated.
    begin = pos
    first = data[pos]
    major = first >> 5
    value = first & 31
    if value < 24:
        pos += 1
    else:
        major, value, pos = read_head(data, pos)
    if 2 <= major <= 3:
        end = pos + value
        if end > len(data):
            raise _fail("truncated", "the data ends in a string", begin)
        raw = data[pos:end]
        if major == 2:
            return raw, end
        try:
            text = raw.decode()
        except ValueError:  # UnicodeError is one
            raise _fail("bad-utf8", "text that is not UTF-8", begin)
        if len(text) != value:
            _check_utf8(raw, begin)
        return text, end
    if major == 0:
        return value, pos
    if major == 1:
        return ~value, pos
    if major == 6:
        return _decimal(data, begin, pos) if value == 4 else _no_tag(begin)
    if major == 7:
        if value == 22:
            return None, pos
        if 20 <= value <= 21:
            return value == 21, pos
        raise _fail("bad-type", "a simple value that the profile does not have", begin)
    if not depth:
        raise _fail("too-deep", "nesting beyond the limit", begin)
    # Every element needs a byte, so a length bomb ends here, before any work.
    if value > len(data) - pos:
        raise _fail("truncated", "the data ends in an array or map", begin)
    depth -= 1
    if major == 5:
        return _map(data, pos, value, depth)
    items = []
    for _ in range(value):
        item, pos = _item(data, pos, depth)
        items.append(item)
    return items, pos


def _no_tag(pos: int) -> tuple[object, int]:
    raise _fail("bad-type", "a tag that the profile does not have", pos)


def _decimal(data: bytes, begin: int, pos: int) -> tuple[object, int]:
    if data[pos : pos + 1] != b"\x82":
        raise _fail("bad-number", "a decimal fraction that is no pair", begin)
    exponent, pos = _integer(data, pos + 1)
    mantissa, pos = _integer(data, pos)
    try:
        return Dec(mantissa, exponent), pos
    except Malformed:
        raise _fail("bad-number", "a number not in its one form", begin)


def _integer(data: bytes, pos: int) -> "tuple[Any, int]":
    # Looked at before it is read: fractions within fractions would nest without a limit.
    if data[pos] >= 0x40:
        raise _fail("bad-number", "a decimal fraction that is not of integers", pos)
    return _item(data, pos, 0)


def _map(data: bytes, pos: int, count: int, depth: int) -> "tuple[Any, int]":
    result = {}
    last = b""
    kind = None
    for _ in range(count):
        begin = pos
        if not (data[pos] < 0x40 or 0x60 <= data[pos] < 0x80):
            raise _fail("bad-type", "a map key that is neither text nor integer", begin)
        key, pos = _item(data, pos, 0)
        raw = data[begin:pos]
        if raw <= last:
            if raw == last:
                raise _fail("duplicate-key", "a key given twice", begin)
            raise _fail("non-canonical", "a map whose keys are not in order", begin)
        last = raw
        if kind is not type(key):
            if kind:
                raise _fail("bad-type", "a map with keys of two types", begin)
            kind = type(key)
        result[key], pos = _item(data, pos, depth)
    return result, pos


def encode(value: "Any") -> bytes:
    """The one encoding of a value; Malformed when the profile does not have it."""
    out = bytearray()
    _put(out, value, DEPTH_MAX)
    return bytes(out)


def decode(data: bytes, depth_max: int = DEPTH_MAX) -> "Any":
    """The value of one encoding; Malformed for anything that encode would not write."""
    if type(data) is not bytes:
        data = bytes(data)
    try:
        value, pos = _item(data, 0, depth_max)
    except IndexError:
        raise _fail("truncated", "the data ends", len(data))
    if pos != len(data):
        raise _fail("trailing-bytes", "bytes after the value", pos)
    return value
