# Reading deterministic CBOR: part of cbor.py, which loads it on demand.

from tallystick.evidence._dec import Dec
from tallystick.evidence.cbor import DEPTH_MAX, _check_utf8, _fail
from tallystick.evidence.errors import Malformed

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
    items: "list[Any]" = []
    for _ in range(value):
        first = data[pos]
        if first == 0x58:
            # Hashes and ids, the commonest of all; what is wrong with one is said by _item.
            end = pos + 2 + data[pos + 1]
            if pos + 25 < end <= len(data):
                items.append(data[pos + 2 : end])
                pos = end
                continue
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
