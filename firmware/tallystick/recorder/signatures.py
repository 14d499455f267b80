# CPython only
"""What a decorated function's parameters are called, and coroutines among such functions."""

import functools
import inspect
from typing import TYPE_CHECKING, Any

from tallystick.evidence.errors import Malformed
from tallystick.recorder.deciding import NOT_GIVEN, Teller, take

if TYPE_CHECKING:
    from tallystick.recorder.deciding import Row

KEYWORD_ONLY_AT = 1 << 30


def wrap(function: Any, teller: Teller, asked: "list[tuple[str | None, Any]]") -> Any:
    """The function, recording its calls; Malformed for what is none, or lacks an input's name."""
    if isinstance(function, (staticmethod, classmethod)):
        raise _wrong(function, "put @staticmethod and @classmethod above @tally.decides")
    if inspect.isclass(function) or not callable(function):
        raise _wrong(function, "it is no function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise _wrong(function, "a generator decides nothing by being called")
    rows = _rows(function, asked)
    if inspect.iscoroutinefunction(function):
        return _wrap_coroutine(function, teller, rows)

    @functools.wraps(function)
    def decided(*args: Any, **named: Any) -> Any:
        given = take(rows, args, named)
        try:
            result = function(*args, **named)
        except BaseException as error:
            teller.tell(given, None, error)
            raise
        teller.tell(given, result, None)
        return result

    return decided


def _wrap_coroutine(function: Any, teller: Teller, rows: "list[Row]") -> Any:
    @functools.wraps(function)
    async def decided(*args: Any, **named: Any) -> Any:
        given = take(rows, args, named)
        try:
            result = await function(*args, **named)
        except BaseException as error:
            # A cancelled decision too: its output is that it was cancelled.
            teller.tell(given, None, error)
            raise
        teller.tell(given, result, None)
        return result

    return decided


def _rows(function: Any, asked: "list[tuple[str | None, Any]]") -> "list[Row]":
    parameters = list(inspect.signature(function).parameters.values())
    places = {one.name: at for at, one in enumerate(parameters)}
    rows = []
    for name, how in asked:
        if name is None:
            continue
        if name not in places:
            raise _wrong(function, f"it has no parameter {name!r}")
        at = places[name]
        parameter = parameters[at]
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise _wrong(function, f"{parameter} is no single input: name a parameter")
        if parameter.kind is parameter.KEYWORD_ONLY:
            at = KEYWORD_ONLY_AT
        default = NOT_GIVEN if parameter.default is parameter.empty else parameter.default
        rows.append((name, at, how, default))
    return rows


def _wrong(function: Any, what: str) -> Malformed:
    name = getattr(function, "__name__", repr(type(function).__name__))
    return Malformed("bad-value", f"decides: {name}: {what}")
