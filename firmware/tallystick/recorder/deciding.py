# Recorder.decides(): a function whose call is a decision.  Loaded when it is used.
#
# The function does what it did before: nothing here raises into it, and its result and its
# exceptions are its own.  What cannot be recorded is left out, and the record says so.

import sys

from tallystick.evidence import valuewriter
from tallystick.evidence.decisionwriter import encode_decision
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.number import DECIMALS_MAX, from_float

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.recorder.recorder import Recorder

    # Name, place among the positional arguments, how it is taken, what it is when not given.
    Row = tuple[str, int, Any, Any]

MICROPYTHON = sys.implementation.name == "micropython"
DIGEST = "digest"
# What is longer is recorded as its SHA-256.
VALUE_BYTES_MAX = 256
SHORT_MAX = 64
VALUE_ITEMS_MAX = 64
COPY_DEPTH_MAX = 12
STORE_FULL = "store-full"
NOT_GIVEN = object()


class Lost:
    """Stands for a value that could not be taken."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def decides(
    tally: "Recorder",
    model: "Any",
    inputs: "Any" = (),
    constraints: "Any" = None,
    output: "Any" = None,
    context: "Any" = None,
) -> "Callable[[Any], Any]":
    """Decorate a function, see Recorder.decides; Malformed for what can never be right."""
    if hasattr(tally.health, "off"):
        return _as_it_is
    asked = _asked(inputs)
    _check_how(output, "output")
    names = [name for name, _ in asked if name is not None]
    if type(constraints) is dict:
        for name in constraints:
            if name not in names:
                raise _wrong("a constraint's value is an input: %r is none" % (name,))
        trial = {name: (0,) + tuple(rule) for name, rule in constraints.items()}
    else:
        trial = {}
        if constraints is not None and not _is_function(constraints):
            raise _wrong("constraints are name -> (operator, limit[, unit]), or a function")
    # Wrong models, limits and names show where the function is defined, not when it decides.
    encode_decision(0, model, {name: None for name in names}, trial, context or {}, None)  # noqa: C420  # MicroPython's fromkeys

    def decorate(function: "Any") -> "Any":
        teller = Teller(tally, model, constraints, output, context or {})
        if MICROPYTHON:
            # There is nothing to ask a function for its names: they stand in its order.
            places = range(len(asked))
            rows = [(asked[at][0], at, asked[at][1], NOT_GIVEN) for at in places if asked[at][0]]
            return _wrap(function, teller, rows)  # type: ignore[arg-type]  # names by now
        from tallystick.recorder import signatures  # noqa: PLC0415  # CPython's

        return signatures.wrap(function, teller, asked)

    return decorate


def _as_it_is(function: "Any") -> "Any":
    return function


def _wrong(what: str) -> Malformed:
    return Malformed("bad-value", "decides: " + what)


def _asked(inputs: "Any") -> "list[tuple[str | None, Any]]":
    if type(inputs) is not tuple and type(inputs) is not list:
        raise _wrong('inputs are a tuple of names, such as ("frame", ("speed_m_s", 3))')
    asked = []
    for one in inputs:
        name, how = one if type(one) is tuple and len(one) == 2 else (one, None)
        if name is not None and type(name) is not str:
            raise _wrong("an input is a name, (name, how), or None")
        _check_how(how, name)
        asked.append((name, how))
    return asked


def _is_function(how: "Any") -> bool:
    # Not by its name for MicroPython: builtins' names stand for ours there (device_names.py).
    plain = isinstance(how, (str, int, float, tuple, list, dict))
    return not plain and (MICROPYTHON or callable(how))


def _check_how(how: "Any", name: "Any") -> None:
    known = how is None or how == DIGEST or _is_function(how)
    if not known and not (type(how) is int and 0 <= how <= DECIMALS_MAX):
        raise _wrong("%s is taken by decimals (0 to 15), 'digest', or a function" % name)


def _wrap(function: "Any", teller: "Teller", rows: "list[Row]") -> "Any":
    def decided(*args: "Any", **named: "Any") -> "Any":
        given = take(rows, args, named)
        try:
            result = function(*args, **named)
        except Exception as error:
            teller.tell(given, None, error)
            raise
        teller.tell(given, result, None)
        return result

    return decided


def take(rows: "list[Row]", args: "tuple[Any, ...]", named: "dict[str, Any]") -> "dict[str, Any]":
    """The inputs as they are before the call, which may change them."""
    given = {}
    count = len(args)
    for name, at, how, default in rows:
        value: "Any" = args[at] if at < count else named.get(name, default)
        kind = type(value)
        if how is None and (
            kind is float
            or kind is int
            or kind is bool
            or ((kind is bytes or kind is str) and len(value) <= SHORT_MAX)
            or value is None
        ):
            given[name] = value  # the usual cases, without a call
        elif value is not NOT_GIVEN:
            given[name] = taken(value, how)
    return given


def taken(value: "Any", how: "Any" = None) -> "Any":
    """A value as it is recorded: small ones copied, others as their SHA-256."""
    try:
        if how is not None and type(how) is not int and how != DIGEST:
            return _small(how(value), None)
        return _small(value, how)
    except MemoryError:
        return Lost("memory")
    except Exception as error:  # noqa: BLE001  # whatever a program's values and functions raise
        return Lost(_reason(error))


def _small(value: "Any", how: "Any") -> "Any":
    decimals = how if type(how) is int else None
    if not MICROPYTHON and getattr(value, "ndim", None) == 0:
        value = value.item()  # a scalar of NumPy
    plain = _copy(value, decimals, COPY_DEPTH_MAX)
    kind = type(plain)
    if kind is bytes or kind is str:
        raw = plain if kind is bytes else plain.encode()
        return sha256(raw) if how == DIGEST or len(raw) > VALUE_BYTES_MAX else plain
    if how == DIGEST or ((kind is list or kind is dict) and _items(plain) > VALUE_ITEMS_MAX):
        # Of other values: of their encoding in a record.
        out = bytearray()
        valuewriter.put(out, plain)
        return sha256(bytes(out))
    return plain


def _items(value: "Any") -> int:
    if type(value) is dict:
        return len(value) + sum([_items(one) for one in value.values()])
    return len(value) + sum([_items(one) for one in value]) if type(value) is list else 0


def _copy(value: "Any", decimals: "int | None", depth: int) -> "Any":
    kind = type(value)
    if kind is float:
        return value if decimals is None else from_float(value, decimals)
    if kind is list or kind is tuple:
        if not depth:
            raise Malformed("too-deep", "values are nested too deeply")
        return [_copy(one, decimals, depth - 1) for one in value]
    if kind is dict:
        if not depth:
            raise Malformed("too-deep", "values are nested too deeply")
        return {name: _copy(one, decimals, depth - 1) for name, one in value.items()}
    if value is None or kind is bool or kind is int or kind is str or kind is bytes:
        return value
    # Kinds of a library's or the program's own.
    if isinstance(value, str):
        return "" + value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _copy(float(value), decimals, depth)
    if isinstance(value, tuple):
        return _copy(list(value), decimals, depth)
    try:
        if kind is bytearray:
            return bytes(value)
        if not MICROPYTHON:
            return bytes(memoryview(value))  # an image, an array: its bytes, row by row
    except TypeError:
        pass
    raise Malformed("bad-type", "a %s cannot be recorded" % kind.__name__)


class Teller:
    """Records the calls of one function."""

    def __init__(
        self, tally: "Recorder", model: "Any", constraints: "Any", output: "Any", context: "Any"
    ) -> None:
        self.tally = tally
        self.model = model
        self.rules: "list[tuple[str, tuple[Any, ...]]]" = []
        if type(constraints) is dict:
            self.rules = [(name, tuple(rule)) for name, rule in constraints.items()]
        self.computed = None if type(constraints) is dict else constraints
        self.output = output
        self.context = context

    def tell(self, given: "dict[str, Any]", result: "Any", error: "BaseException | None") -> None:
        """Record one call; nothing here raises."""
        if error is not None:
            # Its message may hold anything, a secret too.
            out: "Any" = {"raised": error.__class__.__name__}
        else:
            out = taken(result, self.output)
        limits: "Any" = {}
        if self.rules:
            limits = {name: (given.get(name),) + rule for name, rule in self.rules}
        elif self.computed is not None and error is None:
            limits = self._computed(given, result)
        try:
            self.tally.decision(self.model, given, limits, out, self.context)
        except Exception as failure:  # noqa: BLE001  # Malformed; and what a foreign value raises
            self._salvage(given, limits, out, failure)

    def _computed(self, given: "dict[str, Any]", result: "Any") -> "Any":
        try:
            return self.computed(given, result)  # type: ignore[misc]  # it is one
        except Exception:  # noqa: BLE001  # the program's function
            return Lost("raised")

    def _salvage(self, given: "Any", limits: "Any", out: "Any", failure: Exception) -> None:
        # What cannot be recorded is left out, and named with the reason.
        reason = _reason(failure)
        if reason == STORE_FULL:
            # The journal's configuration says to refuse: there is no room for less either.
            self.tally._ledger.fault("decides", reason)
            return
        lost: "dict[str, Any]" = {}
        kept = self._kept(lost, "inputs", given)
        held = self._kept(lost, "constraints", limits)
        if self._why(out):
            lost["output"] = self._why(out)
            out = None
        context = dict(self.context)
        context["unrecorded"] = lost
        try:
            self.tally.decision(self.model, kept, held, out, context)
        except Exception as error:  # noqa: BLE001  # each part fits, all of them are too long
            reason = _reason(error)
            context["unrecorded"] = {"record": reason}
            self.tally.decision(self.model, None, None, None, context)
        self.tally._ledger.fault("decides", reason)

    def _kept(self, lost: "dict[str, Any]", part: str, named: "Any") -> "dict[str, Any]":
        if type(named) is not dict:
            lost[part] = named.reason if type(named) is Lost else "bad-type"
            return {}
        why = {}
        kept = {}
        for name, value in named.items():
            reason = self._why(value, part == "constraints")
            if reason:
                why[name] = reason
            else:
                kept[name] = value
        if why:
            lost[part] = why
        return kept

    def _why(self, value: "Any", limit: bool = False) -> str:  # noqa: FBT001, FBT002
        # Why it cannot be recorded; "" when it can.
        if type(value) is Lost:
            return value.reason
        try:
            limits = {"it": value} if limit else {}
            encode_decision(0, self.model, {}, limits, {}, None if limit else value)
        except Exception as error:  # noqa: BLE001  # as above
            return _reason(error)
        return ""


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, TallyError) else "raised"
