"""Rates and bounded memories. Time comes in as an argument, in monotonic seconds."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """A map that forgets what was used longest ago."""

    def __init__(self, entries_max: int) -> None:
        self.entries_max = entries_max
        self._entries: OrderedDict[K, V] = OrderedDict()

    def get(self, key: K) -> V | None:
        """The value, which counts as used now."""
        value = self._entries.get(key)
        if value is not None:
            self._entries.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        """Set a value; the oldest goes when there are too many."""
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > self.entries_max:
            self._entries.popitem(last=False)

    def drop(self, key: K) -> None:
        """Forget one."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries


class Bucket:
    """So many a second, and a burst of so many."""

    __slots__ = ("_at_s", "_burst", "_left", "_rate")

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate = rate_per_s
        self._burst = burst
        self._left = burst
        self._at_s = 0.0

    def _refill(self, now_s: float) -> None:
        if now_s > self._at_s:
            self._left = min(self._burst, self._left + (now_s - self._at_s) * self._rate)
            self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Take one; False when there is none."""
        self._refill(now_s)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def empty(self, now_s: float) -> bool:
        """Whether take() would fail."""
        self._refill(now_s)
        return self._left < 1.0


class Throttle:
    """So many bytes a second over a link: what is sent now is waited for before the next."""

    def __init__(self, bytes_s_max: int | None) -> None:
        self._rate = bytes_s_max
        self._free_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long until something may be sent again."""
        return max(0.0, self._free_s - now_s)

    def spend(self, size: int, now_s: float) -> None:
        """So many bytes go now."""
        if self._rate is not None:
            self._free_s = max(self._free_s, now_s) + size / self._rate


class Repeats(Generic[K]):
    """Lets equal things through less and less often: after `s_min`, twice that, up to `s_max`."""

    def __init__(self, s_min: float, s_max: float, entries_max: int) -> None:
        self._s_min = s_min
        self._s_max = s_max
        self._seen: Bounded[K, tuple[float, float]] = Bounded(entries_max)

    def allow(self, key: K, now_s: float) -> bool:
        """Whether this may be said again now."""
        seen = self._seen.get(key)
        if seen is None or now_s - seen[0] > 4 * self._s_max:
            self._seen.put(key, (now_s, self._s_min))
            return True
        at_s, wait_s = seen
        if now_s - at_s < wait_s:
            return False
        self._seen.put(key, (now_s, min(2 * wait_s, self._s_max)))
        return True

    def drop(self, key: K) -> None:
        """Forget that it was said."""
        self._seen.drop(key)
