"""What the product takes from outside: time, chance, its log. In a run all three are the world's.

Nothing of the product is replaced. Its modules read `time`, `random` and `urandom` by these names;
while a world is entered the names mean that world's clock and its one seeded generator.
"""

import importlib
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Protocol

import structlog
from sqlalchemy.engine import Engine
from sqlalchemy.util import LRUCache

from tallystick.gateway import steps as gateway_steps
from tallystick.validator import _sqlite
from tallystick.validator import steps as validator_steps

# Loaded when first used, and then each would take its own `urandom`.
LATE = ("batching", "buffer", "epochs", "ledger", "link")
_ENGINE = _sqlite._engine
_COMPILED: LRUCache[Any, Any] = LRUCache(2_000)
_DIALECT: dict[str, Any] = {}
START_MS = 1_790_000_000_000


class Source(Protocol):
    """What a world gives."""

    now_ms: float
    product_chance: random.Random

    def skew_ms(self) -> int:
        """By how much the wall clock of whoever acts is wrong."""

    def passed(self, point: str) -> None:
        """Whoever acts passes a named step."""

    def logged(self, level: str, event: dict[str, Any]) -> None:
        """Whoever acts writes a line into its log."""


class Clockwork:
    """The module `time`, as far as the clock goes."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def time_ns(self) -> int:
        return (START_MS + int(self._source.now_ms) + self._source.skew_ms()) * 1_000_000

    def time(self) -> float:
        return self.time_ns() / 1e9

    def monotonic(self) -> float:
        return self._source.now_ms / 1000

    def monotonic_ns(self) -> int:
        return int(self._source.now_ms) * 1_000_000

    def sleep(self, seconds: float) -> None:
        # The world waits with whoever sleeps.
        self._source.now_ms += seconds * 1000

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class Dice:
    """The module `random`: generators that are seeded by the world."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def Random(self) -> random.Random:  # noqa: N802 - the library's name
        return random.Random(self._source.product_chance.getrandbits(64))


@contextmanager
def entered(source: Source) -> Iterator[None]:
    """Give every module of the product this world's time and chance, and take them back."""
    for name in LATE:
        importlib.import_module(f"tallystick.recorder.{name}")
    stand_ins: dict[tuple[str, int], object] = {
        ("time", id(time)): Clockwork(source),
        ("random", id(random)): Dice(source),
        ("urandom", id(os.urandom)): source.product_chance.randbytes,
    }
    changed: list[tuple[ModuleType, str, object]] = []
    for module in _product():
        for (name, what), stand_in in stand_ins.items():
            found = vars(module).get(name)
            if id(found) == what:
                changed.append((module, name, found))
                setattr(module, name, stand_in)
    changed.append((_sqlite, "_engine", _sqlite._engine))
    _sqlite._engine = _compiles_once  # as it is, but for its cache
    log = structlog.get_config()

    def line(_logger: Any, level: str, event: Any) -> Any:
        source.logged(level, event)
        raise structlog.DropEvent

    structlog.configure(processors=[line], wrapper_class=structlog.make_filtering_bound_logger(30))
    gateway_steps.on_step(source.passed)
    validator_steps.on_step(source.passed)
    try:
        yield
    finally:
        gateway_steps.on_step(None)
        validator_steps.on_step(None)
        structlog.configure(**log)
        for module, name, found in changed:
            setattr(module, name, found)


def _compiles_once(*given: Any, **named: Any) -> Engine:
    # Statements are compiled once a process and not once an engine: a good part of a run's time.
    engine = _ENGINE(*given, **named)
    engine._compiled_cache = _COMPILED
    # Part of the cache's key.
    engine.dialect = _DIALECT.setdefault("sqlite", engine.dialect)
    return engine


def _product() -> list[ModuleType]:
    parts = ("tallystick.recorder", "tallystick.gateway", "tallystick.validator")
    return [m for name, m in list(sys.modules.items()) if name.startswith(parts) and m is not None]
