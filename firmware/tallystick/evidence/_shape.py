"""What the parsers of wire objects share: types, sizes and ranges of decoded CBOR."""

from tallystick.evidence._cborreader import decode, read_head
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import CREDENTIAL_STATEMENTS_MAX, STATEMENT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HASH_SIZE = 32
ID_SIZE = 32
EPOCH_SIZE = 8
UINT_MAX = 2**63 - 1


def fields(data: bytes, kind: int, count: int, bytes_max: int, what: str) -> "list[Any]":
    """The `count` fields after the kind of an encoded object."""
    if type(data) is not bytes:
        raise Malformed("bad-type", "%s: not bytes" % what)
    if len(data) > bytes_max:
        raise Malformed("too-large", "%s: longer than %d bytes" % (what, bytes_max))
    return after_kind(decode(data), kind, count, what)


def after_kind(value: "Any", kind: int, count: int, what: str) -> "list[Any]":
    """The `count` fields after the kind of a decoded object."""
    array(value, what)
    if not value or type(value[0]) is not int or value[0] != kind:
        raise Malformed("unknown-kind", "%s: the first element is not kind %d" % (what, kind))
    if len(value) != count + 1:
        raise Malformed("bad-value", "%s: must have %d elements" % (what, count + 1))
    rest: list[Any] = value[1:]
    return rest


def array(value: "Any", what: str, least: int = 0, most: int | None = None) -> "list[Any]":
    """The list, when it is one of `least` to `most` items."""
    if type(value) is not list:
        raise Malformed("bad-type", "%s: must be an array" % what)
    if len(value) < least:
        raise Malformed("bad-value", "%s: must have at least %d items" % (what, least))
    if most is not None and len(value) > most:
        raise Malformed("too-large", "%s: has more than %d items" % (what, most))
    return value


def row(value: "Any", count: int, what: str) -> "list[Any]":
    """The list, when it has exactly `count` items."""
    if type(value) is not list:
        raise Malformed("bad-type", "%s: must be an array" % what)
    if len(value) != count:
        raise Malformed("bad-value", "%s: must have %d elements" % (what, count))
    return value


def uint(value: "Any", what: str, most: int = UINT_MAX) -> int:
    """The integer, when it is one of 0 to `most`."""
    if type(value) is not int:
        raise Malformed("bad-type", "%s: must be an integer" % what)
    if not 0 <= value <= most:
        raise Malformed("bad-value", "%s: must be 0 to %d" % (what, most))
    return value


def boolean(value: "Any", what: str) -> bool:
    """The value, when it is true or false."""
    if type(value) is not bool:
        raise Malformed("bad-type", "%s: must be true or false" % what)
    return value


def octets(value: "Any", size: int, what: str) -> bytes:
    """The byte string, when it has exactly `size` bytes."""
    if type(value) is not bytes:
        raise Malformed("bad-type", "%s: must be a byte string" % what)
    if len(value) != size:
        raise Malformed("bad-value", "%s: must be %d bytes" % (what, size))
    return value


def blob(value: "Any", bytes_max: int, what: str) -> bytes:
    """The byte string, when it has 1 to `bytes_max` bytes."""
    if type(value) is not bytes:
        raise Malformed("bad-type", "%s: must be a byte string" % what)
    if not value:
        raise Malformed("bad-value", "%s: is empty" % what)
    if len(value) > bytes_max:
        raise Malformed("too-large", "%s: longer than %d bytes" % (what, bytes_max))
    return value


def text(value: "Any", bytes_max: int, what: str) -> str:
    """The text, when it has 1 to `bytes_max` bytes of UTF-8."""
    if type(value) is not str:
        raise Malformed("bad-type", "%s: must be text" % what)
    if not value:
        raise Malformed("bad-value", "%s: is empty" % what)
    if utf8_size(value, what) > bytes_max:
        raise Malformed("too-large", "%s: longer than %d bytes" % (what, bytes_max))
    return value


def utf8_size(value: str, what: str) -> int:
    """Bytes of the text's UTF-8."""
    try:
        return len(value.encode())
    except ValueError:  # a lone surrogate
        raise Malformed("bad-utf8", "%s: its text has no UTF-8" % what)


def one_of(value: "Any", names: tuple[str, ...], what: str) -> str:
    """The text, when it is one of the names."""
    if type(value) is not str:
        raise Malformed("bad-type", "%s: must be text" % what)
    if value not in names:
        raise Malformed("bad-value", "%s: must be one of %s" % (what, ", ".join(names)))
    return value


def hashes(value: "Any", most: int, what: str) -> list[bytes]:
    """The list, when it holds at most `most` hashes."""
    for item in array(value, what, 0, most):
        octets(item, HASH_SIZE, what)
    return value  # type: ignore[no-any-return]  # every item was checked above


def statements(value: "Any", what: str) -> list[bytes]:
    """The list, when it may be a credential: statements' bytes, none of them looked at."""
    for data in array(value, what, 1, CREDENTIAL_STATEMENTS_MAX):
        blob(data, STATEMENT_BYTES_MAX, what)
    return value  # type: ignore[no-any-return]  # every item was checked above


def ascending(encoded: list[bytes], what: str) -> None:
    """Malformed unless in bytewise order, none twice."""
    last = b""
    for item in encoded:
        if item <= last:
            if item == last:
                raise Malformed("duplicate-key", "%s: an item is given twice" % what)
            raise Malformed("non-canonical", "%s: not in bytewise order" % what)
        last = item


def bounded(data: bytes, items_max: int, what: str) -> None:
    """Malformed when the CBOR holds more than `items_max` items; before any is made."""
    # A decoder makes an object of every byte in the worst case, sixty times its size.  Items
    # stand one after another, heads before contents, so counting needs no nesting.
    pos = 0
    count = 0
    while pos < len(data):
        major, value, pos = read_head(data, pos)
        if major in (2, 3):
            pos += value
        count += 1
        if count > items_max:
            raise Malformed("too-large", "%s: has more than %d items" % (what, items_max))
