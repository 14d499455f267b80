"""Named values of records: `named`, `value` and constraints (docs/protocol.md, 2.1)."""

# `check` takes what a decoder gave and refuses what the format does not allow; valuewriter.py takes
# what the programming interface is given.

from tallystick.evidence import cbor
from tallystick.evidence._dec import INT_MAX, INT_MIN, Dec
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import NAME_BYTES_MAX, TEXT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OPERATORS = ("<", "<=", "=", "!=", ">=", ">")


def holds(value: int | Dec, operator: str, limit: int | Dec) -> bool:
    """Exact comparison; Malformed for an unknown operator."""
    from tallystick.evidence.number import compare  # noqa: PLC0415  # costs heap

    return meets(compare(value, limit), operator)


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
    if len(name) > 16 and len(utf8(name)) > NAME_BYTES_MAX:
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
        if len(value) > TEXT_BYTES_MAX >> 2 and len(utf8(value)) > TEXT_BYTES_MAX:
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


def utf8(text: str) -> bytes:
    """The text's UTF-8; Malformed where it has none."""
    try:
        raw = text.encode()
    except ValueError:  # a lone surrogate
        raise Malformed("bad-utf8", "a text has no UTF-8")
    if len(raw) != len(text):
        # MicroPython encodes surrogates too.
        cbor._check_utf8(raw, 0)
    return raw
