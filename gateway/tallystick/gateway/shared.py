"""Batches that several validators get alike: read, elided, signed and compressed once.

Validators that get the same content and have the same of it lack the same places; where nothing
is particular to one of them (a device that waits, a segment that went ahead or is set aside), a
batch over these places is the same for all, but for the credentials and receipts that go along.
Where those are the same, too, so are all its bytes: a batch does not say to whom it goes.

What is kept is bounded in bytes and in time, and is nothing but a copy.
"""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from tallystick.gateway import limits

T = TypeVar("T")


class Shared(Generic[T]):
    """What was made lately, by what it was made of; for the threads of all forwarders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[T, int, float]] = OrderedDict()
        self._bytes = 0
        # Who makes the same at the same time waits for the first: lock, and how many want it.
        self._making: dict[Hashable, tuple[threading.Lock, list[None]]] = {}
        self._users: Counter[str] = Counter()

    def join(self, send: str) -> None:
        """One more validator gets this content."""
        with self._lock:
            self._users[send] += 1

    def leave(self, send: str) -> None:
        """One fewer."""
        with self._lock:
            self._users[send] -= 1

    def several(self, send: str) -> bool:
        """Whether what is made for one may do for another, and so is worth keeping."""
        return self._users[send] > 1

    @contextmanager
    def making(self, key: Hashable) -> Iterator[None]:
        """Inside, nobody else makes what belongs to this key."""
        with self._lock:
            lock, wanted = self._making.setdefault(key, (threading.Lock(), []))
            wanted.append(None)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                wanted.pop()
                if not wanted:
                    del self._making[key]

    def get(self, key: Hashable) -> T | None:
        """What was kept, unless that is too long ago."""
        with self._lock:
            self._forget(time.monotonic())
            found = self._kept.get(key)
            return None if found is None else found[0]

    def put(self, key: Hashable, value: T, size: int) -> None:
        """Keep something of so many bytes; the oldest goes where there is too much."""
        now_s = time.monotonic()
        with self._lock:
            before = self._kept.pop(key, None)
            self._bytes += size - (0 if before is None else before[1])
            self._kept[key] = (value, size, now_s)
            self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._kept:
            _, (_, size, kept_s) = next(iter(self._kept.items()))
            if self._bytes <= limits.SHARED_BYTES_MAX and now_s - kept_s < limits.SHARED_S_MAX:
                return
            self._kept.popitem(last=False)
            self._bytes -= size

    def __len__(self) -> int:
        return len(self._kept)
