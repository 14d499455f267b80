"""How full the store is, as levels with a name (docs/durability.md, section 2). Pure.

The levels lie apart on purpose: between `stopped` and `full` there is room for what makes room,
which is validators' receipts, cursors, and pruning itself.
"""

from typing import Literal, NamedTuple

from tallystick.gateway import limits

Level = Literal["ok", "warning", "stopped", "full"]
Bound = Literal["store_bytes_max", "disk"]

LEVELS: tuple[Level, ...] = ("ok", "warning", "stopped", "full")
_BEGINS_PERCENT = {"ok": 0, "warning": 80, "stopped": 95, "full": 100}
_LEFT_BELOW_PERCENT = 1  # below where a level begins


class Usage(NamedTuple):
    """What was measured, in bytes: pages in use, empty pages, and what the file system has left."""

    used: int
    empty: int
    disk_free: int


class Capacity(NamedTuple):
    """The state of the store: bytes used of those allowed, by which bound, since when."""

    level: Level
    used: int
    allowed: int
    since_ms: int
    bound: Bound

    @property
    def taking(self) -> bool:
        """Whether messages are taken and acknowledged."""
        return self.level in {"ok", "warning"}

    @property
    def left(self) -> int:
        """Bytes until nothing is left."""
        return max(0, self.allowed - self.used)

    def percent(self) -> float:
        """How much of what is allowed is used."""
        return 100 * self.used / self.allowed

    def told(self) -> dict[str, str | int]:
        """As status and page show it."""
        return dict(self._asdict())


def allowed(usage: Usage, bytes_max: int) -> tuple[int, Bound]:
    """How many bytes the store may have, at least 1, and what bounds them."""
    room = usage.used + usage.empty + max(0, usage.disk_free - limits.DISK_RESERVE_BYTES)
    return (max(room, 1), "disk") if room < bytes_max else (bytes_max, "store_bytes_max")


class Gauge:
    """Follows the level; one is left only when usage has fallen below it by a percent."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self._level: Level = "ok"
        self._since_ms: int | None = None

    def read(self, usage: Usage, now_ms: int) -> Capacity:
        """The state after a measurement."""
        most, bound = allowed(usage, self.bytes_max)
        level = self._next(usage.used, most)
        if level != self._level or self._since_ms is None:
            self._level, self._since_ms = level, now_ms
        return Capacity(level, usage.used, most, self._since_ms, bound)

    def _next(self, used: int, most: int) -> Level:
        reached = [one for one in LEVELS if 100 * used >= _BEGINS_PERCENT[one] * most][-1]
        if LEVELS.index(reached) >= LEVELS.index(self._level):
            return reached
        left = _BEGINS_PERCENT[self._level] - _LEFT_BELOW_PERCENT
        return self._level if 100 * used >= left * most else self._below(used, most)

    def _below(self, used: int, most: int) -> Level:
        # A level in between is as sticky as the one that was left.
        for one in reversed(LEVELS[1 : LEVELS.index(self._level)]):
            if 100 * used >= (_BEGINS_PERCENT[one] - _LEFT_BELOW_PERCENT) * most:
                return one
        return "ok"
