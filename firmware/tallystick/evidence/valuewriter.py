"""Canonical bytes of what the programming interface is given (docs/protocol.md, 2.1)."""

from tallystick.evidence import cbor, number
from tallystick.evidence._dec import INT_MAX, INT_MIN, Dec
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import TEXT_BYTES_MAX
from tallystick.evidence.number import float_parts
from tallystick.evidence.value import check_name, utf8

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# A record is the first level of nesting; what stands in its fields begins at the second.
FIELD_DEPTH = cbor.DEPTH_MAX - 1
# Applications record a few shapes of map again and again: their order is kept.
ORDERS_MAX = 16

_orders: "dict[tuple[object, ...], list[tuple[bytes, Any]]]" = {}


def put_number(out: bytearray, value: int | Dec) -> None:
    """Append a canonical number."""
    if type(value) is Dec:
        put_parts(out, value.mantissa, value.exponent)
    else:
        put_parts(out, value, 0)  # type: ignore[arg-type]  # an int


def put_parts(out: bytearray, mantissa: int, exponent: int) -> None:
    """Append a number in normal form; exponent 0 for an integer."""
    if exponent:
        # Tag 4, array of two: exponent, mantissa (RFC 8949, 3.4.4).
        out += b"\xc4\x82"
        if -24 <= exponent < 0:
            out.append(0x1F - exponent)
        else:
            put_parts(out, exponent, 0)
    # Heads in place: a call costs more than what it does here.
    major = 0
    if mantissa < 0:
        major = 0x20
        mantissa = ~mantissa
    if mantissa < 24:
        out.append(major | mantissa)
    elif mantissa < 0x100:
        out.append(major | 24)
        out.append(mantissa)
    elif mantissa < 0x10000:
        out.append(major | 25)
        out.append(mantissa >> 8)
        out.append(mantissa & 255)
    else:
        out += cbor.head(major >> 5, mantissa)


def ordered(keys: "tuple[Any, ...]") -> "list[tuple[bytes, Any]]":
    """Names with their encodings, in the order of the wire; checked once for each shape of map."""
    pairs = _orders.get(keys)
    if pairs is None:
        for key in keys:
            check_name(key)
        pairs = [(cbor.encode(key), key) for key in keys]
        pairs.sort()
        if len(_orders) >= ORDERS_MAX:
            _orders.clear()
        _orders[keys] = pairs
    return pairs


def put(  # noqa: C901  # a table of types
    out: bytearray, value: "Any", depth: int = FIELD_DEPTH, decimals: int = 6
) -> None:
    """Append None, bool, int, Dec, float, (mantissa, exponent), text, bytes, list or dict."""
    kind = type(value)
    if kind is float:
        mantissa, exponent = float_parts(value, decimals)
        put_parts(out, mantissa, exponent)
    elif kind is int:
        if not INT_MIN <= value <= INT_MAX:
            raise Malformed("bad-number", "an integer does not fit signed 64 bits")
        put_number(out, value)
    elif kind is str:
        raw = utf8(value)
        size = len(raw)
        if size > TEXT_BYTES_MAX:
            raise Malformed("too-large", "a text is longer than 1024 bytes: give its digest")
        if size < 24:
            out.append(0x60 | size)
        else:
            out += cbor.head(3, size)
        out += raw
    elif kind is bytes:
        size = len(value)
        if 24 <= size < 256:
            out.append(0x58)
            out.append(size)
        else:
            out += cbor.head(2, size)
        out += value
    elif kind is Dec:
        put_number(out, value)
    elif kind is dict:
        put_named(out, value, depth, decimals)
    elif kind is list:
        if not depth:
            raise Malformed("too-deep", "values are nested too deeply")
        out += cbor.head(4, len(value))
        depth -= 1
        for item in value:
            put(out, item, depth, decimals)
    elif value is None:
        out.append(0xF6)
    elif kind is bool:
        out.append(0xF5 if value else 0xF4)
    else:
        put_number(out, _rare_number(value, decimals))


def _rare_number(value: "Any", decimals: int) -> int | Dec:
    if type(value) is tuple:
        return number.of(value)
    if isinstance(value, float):
        # A library's own float, such as NumPy's.
        return number.from_float(float(value), decimals)
    raise Malformed("bad-type", "a %s cannot be recorded" % type(value).__name__)


def put_named(
    out: bytearray, named: "dict[str, Any]", depth: int = FIELD_DEPTH, decimals: int = 6
) -> None:
    """Append a map from names to values."""
    if type(named) is not dict:
        raise Malformed("bad-type", "named values must be a dict")
    if not depth:
        raise Malformed("too-deep", "values are nested too deeply")
    size = len(named)
    if size < 24:
        out.append(0xA0 | size)
    else:
        out += cbor.head(5, size)
    if size:
        depth -= 1
        keys = tuple(named)
        for raw, name in _orders.get(keys) or ordered(keys):
            out += raw
            put(out, named[name], depth, decimals)
