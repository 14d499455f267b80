"""Named values of records: `named`, `value` and constraints (docs/protocol.md, 2.1)."""

# Two directions: `put` takes what the programming interface is given and appends canonical bytes;
# `check` takes what a decoder gave and refuses what the format does not allow.

from tallystick.evidence import cbor, number
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import NAME_BYTES_MAX, TEXT_BYTES_MAX
from tallystick.evidence.number import INT_MAX, INT_MIN, Dec, float_parts

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPERATORS = ("<", "<=", "=", "!=", ">=", ">")
# A record is the first level of nesting; what stands in its fields begins at the second.
FIELD_DEPTH = cbor.DEPTH_MAX - 1
# Applications record a few shapes of map again and again: their order is kept.
ORDERS_MAX = 16

_orders: "dict[tuple[object, ...], list[tuple[bytes, Any]]]" = {}


def holds(value: int | Dec, operator: str, limit: int | Dec) -> bool:
    """Exact comparison; Malformed for an unknown operator."""
    return meets(number.compare(value, limit), operator)


def meets(order: int, operator: str) -> bool:
    """Whether values of this order, -1, 0 or 1, are as the operator says; Malformed as holds()."""
    if operator == "<":
        return order < 0
    if operator == "<=":
        return order <= 0
    if operator == "=":
        return order == 0
    if operator == "!=":
        return order != 0
    if operator == ">=":
        return order >= 0
    if operator == ">":
        return order > 0
    raise Malformed("bad-value", "an operator is one of < <= = != >= >")


def check_name(name: "Any") -> str:
    """Text of 1 to 64 bytes."""
    if type(name) is not str:
        raise Malformed("bad-type", "a name must be text")
    # Characters first: at most four bytes each, so most names need no encoding to be counted.
    if not name:
        raise Malformed("bad-value", "a name is empty")
    if len(name) > 16 and len(_utf8(name)) > NAME_BYTES_MAX:
        raise Malformed("too-large", "a name is longer than 64 bytes")
    return name


def check_number(value: "Any") -> int | Dec:
    """An int of signed 64 bits, or a Dec."""
    if type(value) is int:
        if INT_MIN <= value <= INT_MAX:
            return value
        raise Malformed("bad-number", "an integer does not fit signed 64 bits")
    if type(value) is Dec:
        return value
    raise Malformed("bad-type", "a number is an integer or a decimal fraction")


def check(value: "Any") -> None:
    """Malformed unless decoded CBOR that the format has as `value`."""
    kind = type(value)
    if kind is str:
        if len(value) > TEXT_BYTES_MAX >> 2 and len(_utf8(value)) > TEXT_BYTES_MAX:
            raise Malformed("too-large", "a text is longer than 1024 bytes")
    elif kind is int:
        check_number(value)
    elif kind is list:
        for item in value:
            check(item)
    elif kind is dict:
        check_named(value)
    elif not (kind is Dec or kind is bytes or kind is bool or value is None):
        raise Malformed("bad-type", "a record has no values of type %s" % kind.__name__)


def check_named(named: "Any") -> "dict[str, Any]":
    """The map from names to values."""
    if type(named) is not dict:
        raise Malformed("bad-type", "named values must be a map")
    for name, value in named.items():
        check_name(name)
        check(value)
    return named


def check_unit(unit: "Any") -> None:
    """A name or None."""
    if unit is not None:
        check_name(unit)


def check_limit(operator: "Any", limit: "Any", unit: "Any", held: "Any") -> None:
    """The four fields that constraints of decisions and claims share."""
    if operator not in OPERATORS:
        raise Malformed("bad-value", "an operator is one of < <= = != >= >")
    check_number(limit)
    check_unit(unit)
    if type(held) is not bool:
        raise Malformed("bad-type", "a constraint's result must be true or false")


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
        raw = _utf8(value)
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


def _utf8(text: str) -> bytes:
    try:
        raw = text.encode()
    except ValueError:  # a lone surrogate
        raise Malformed("bad-utf8", "a text has no UTF-8")
    if len(raw) != len(text):
        # MicroPython encodes surrogates too.
        cbor._check_utf8(raw, 0)
    return raw


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
