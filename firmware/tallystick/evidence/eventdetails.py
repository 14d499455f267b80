"""What the details of our own events hold (docs/protocol.md, 2.1), checked by who receives them."""

# A device does not load this: what it says of itself is written by the recorder.

from tallystick.evidence import _shape as shape
from tallystick.evidence.errors import Malformed
from tallystick.evidence.value import check_name

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any, str], object]

RUNTIME_NAMES = 3
KEY_NAMES = 2
KID_SIZE = 8


def _name(value: "Any", _what: str) -> None:
    check_name(value)


def _hash(value: "Any", what: str) -> None:
    shape.octets(value, shape.HASH_SIZE, what)


def _hash_or_none(value: "Any", what: str) -> None:
    if value is not None:
        _hash(value, what)


def _integer(value: "Any", what: str) -> None:
    if type(value) is not int:
        raise Malformed("bad-type", "%s: must be an integer" % what)


def _integer_or_none(value: "Any", what: str) -> None:
    if value is not None:
        _integer(value, what)


def _source(value: "Any", what: str) -> None:
    shape.one_of(value, ("gateway",), what)


def _head(value: "Any", what: str) -> None:
    if value is not None:
        epoch, size, root = shape.row(value, 3, what)
        shape.octets(epoch, shape.EPOCH_SIZE, what)
        shape.uint(size, what)
        _hash(root, what)


def _runtime(value: "Any", what: str) -> None:
    for item in shape.row(value, RUNTIME_NAMES, what):
        check_name(item)


def _key(value: "Any", what: str) -> None:
    driver, custody = shape.row(value, KEY_NAMES, what)
    check_name(driver)
    if custody is not None:
        check_name(custody)


def _link(value: "Any", what: str) -> None:
    shape.one_of(value, ("up", "down"), what)


def _space(value: "Any", what: str) -> None:
    shape.one_of(value, ("low", "relieved"), what)


def _kid(value: "Any", what: str) -> None:
    shape.octets(value, KID_SIZE, what)


def _hold(value: "Any", what: str) -> None:
    shape.one_of(value, ("begun", "ended", "broken"), what)


# Event to its details; a name that ends with ? may be left out.
DETAILS: "dict[str, dict[str, Check]]" = {
    "epoch": {"previous": _head, "reason": _name},
    "boot": {
        "boot": shape.uint,
        "cause": _name,
        "firmware": _hash_or_none,
        "config": _hash_or_none,
        "runtime?": _runtime,
        "key?": _key,
    },
    "gap": {
        "dropped": shape.uint,
        "reason": _name,
        "first?": shape.uint,
        "to?": shape.uint,
        "decisions?": shape.uint,
        "claims?": shape.uint,
        "events?": shape.uint,
        "accepted?": shape.uint,
    },
    "clock": {"before_ms": _integer_or_none, "after_ms": _integer, "source?": _source},
    "counter": {"value": shape.uint},
    "key": {"thumbprint": _hash, "driver?": _name, "custody?": _name},
    "config": {"digest": _hash, "previous?": _hash},
    "uplink": {"state": _link},
    "space": {
        "state": _space,
        "percent": shape.uint,
        "used_bytes": shape.uint,
        "limit_bytes": shape.uint,
    },
    "fault": {"part": _name, "reason": _name},
    "hold": {"state": _hold, "gateway": _kid, "serial": shape.uint, "to?": shape.uint},
}
# Where the engineer may add details of his own.
OPEN = ("config",)


def check_details(event: str, details: "dict[str, Any]") -> None:
    """Malformed unless they are what the specification says of this event; others may hold any."""
    if event not in DETAILS:
        return
    known = 0
    for given, check in DETAILS[event].items():
        name = given.rstrip("?")
        if name in details:
            known += 1
            check(details[name], event)
        elif name == given:
            raise Malformed("bad-value", "%s: %s is missing" % (event, name))
    if known != len(details) and event not in OPEN:
        raise Malformed("bad-value", "%s: there are details that it does not have" % event)
