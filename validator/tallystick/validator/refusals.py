"""Counters of what was refused, by reason: shown at once, stored in groups.

A refused request must not cost a disk write of its own, or refusing would be the attack (A19).
"""

import threading
from collections import Counter
from collections.abc import Mapping

import sqlalchemy as sa

from tallystick.validator import schema
from tallystick.validator.store import Store
from tallystick.validator.work import add_refusals


class Refusals:
    """All counts since the store was made; for any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: Counter[str] = Counter()
        table = schema.refusals
        with store.read() as connection:
            rows = connection.execute(sa.select(table.c.reason, table.c["count"]))
            self._totals: Counter[str] = Counter({row[0]: row[1] for row in rows})

    def count(self, reason: str) -> None:
        """One refused request; stored by the next `save`."""
        with self._lock:
            self._totals[reason] += 1
            self._waiting[reason] += 1

    def stored(self, counts: Mapping[str, int]) -> None:
        """Counts that a transaction has stored itself."""
        with self._lock:
            self._totals.update(counts)

    def totals(self) -> dict[str, int]:
        """By reason, in alphabetical order."""
        with self._lock:
            return dict(sorted(self._totals.items()))

    def save(self) -> None:
        """Store what waits; it waits on when that fails."""
        with self._lock:
            counts, self._waiting = self._waiting, Counter()
        if not counts:
            return
        try:
            with self._store.write() as connection:
                for reason, count in counts.items():
                    add_refusals(connection, reason, count)
        except BaseException:
            with self._lock:
                self._waiting += counts
            raise
