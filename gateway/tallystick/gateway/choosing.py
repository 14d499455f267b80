"""What goes next to one validator: urgent, next in turn, or what was left out before.

A batch in turn goes when it is full or has waited long enough for more (patience.py). Nothing else
waits: what is urgent, what a quota held back, what is sent again.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tallystick.gateway import limits
from tallystick.gateway.aside import Aside
from tallystick.gateway.batching import Builder, log_size
from tallystick.gateway.built import Built
from tallystick.gateway.overtaking import Overtaking
from tallystick.gateway.patience import Patience
from tallystick.gateway.preparing import Preparing
from tallystick.gateway.quotas import Holding, wall_ms
from tallystick.gateway.store import Store


class Choice:
    """For the thread of one validator's forwarder."""

    def __init__(
        self,
        store: Store,
        reader: sqlite3.Connection,
        builder: Builder,
        holding: Holding,
        aside: Aside,
        ahead: Overtaking,
        age_s: float,
    ) -> None:
        # Called with the place of a stored segment whose bytes are wrong.
        self.on_damage: Callable[[int], None] = lambda _at: None
        self._store = store
        self._reader = reader
        self._builder = builder
        self._holding = holding
        self._aside = aside
        self._ahead = ahead
        self._patience = Patience(age_s)
        self._preparing = Preparing(store, builder)
        self.hurried = False  # the batch before this one brought what is urgent
        self.aside_s = 0.0
        self._late_turn = False
        # After `next` gave nothing: how long what waits may still wait for more to go with it.
        self.waits_s = math.inf

    def next(self, cursor: int, most: int) -> Built | None:
        """The next batch of at most so many segments; None where none goes now."""
        self.waits_s = math.inf
        self._send_aside()
        if not self.hurried:
            # Every other batch at most, so what is urgent does not keep the others waiting.
            urgent = self.urgent(cursor, most)
            if urgent is not None:
                return urgent
        # In turn, where a device's held segments are due: neither keeps the other waiting.
        self._late_turn = not self._late_turn
        for late in (self._late_turn, not self._late_turn):
            built = self._late(most) if late else self._in_turn(cursor, most)
            if built is not None:
                for at in built.damaged:
                    self.on_damage(at)
                return built
        return None

    def urgent(self, cursor: int, most: int) -> Built | None:
        """What is urgent and far behind in the queue; None where nothing is."""
        built = self._ahead.build(self._reader, cursor, most)
        for at in self._ahead.damaged:
            self.on_damage(at)
        if built is not None:
            self._preparing.drop()
        return built

    def _late(self, most: int) -> Built | None:
        device = self._holding.due()
        if device is None:
            return None
        self._preparing.drop()
        built = self._builder.build_late(self._reader, device, most)
        if built is None:
            self._holding.answered([], device)
        return built

    def _in_turn(self, cursor: int, most: int) -> Built | None:
        prepared = self._preparing.take(cursor, most)
        if prepared is None and not self._ripe(cursor, most):
            return None
        return prepared or self._builder.build(self._reader, cursor, most)

    def _ripe(self, cursor: int, most: int) -> bool:
        # Whether it is full, has waited long enough, or brings what is urgent.
        if not self._patience.age_s:
            return True
        waiting = log_size(self._reader) - cursor
        if waiting <= 0:
            self._patience.nothing()
            return False
        left_s = self._patience.left_s(time.monotonic())
        if left_s <= 0 or waiting >= most or self._ahead.wanted(cursor):
            return True
        if self._bytes(cursor) >= self._builder.bytes_max:
            return True
        self.waits_s = left_s
        return False

    def _bytes(self, cursor: int) -> int:
        # As they are stored: a validator that gets less of them gets them no later.
        (size,) = self._reader.execute(
            "SELECT coalesce(sum(length(data)), 0) FROM segments WHERE at >= ?", (cursor,)
        ).fetchone()
        return int(size)

    def _send_aside(self) -> None:
        # What was set aside and is due goes with what was held back.
        now_s = time.monotonic()
        if now_s - self.aside_s < limits.RETRY_LOOK_S:
            return
        self.aside_s = now_s
        due = self._aside.due(self._reader, wall_ms())
        if due:
            self._preparing.drop()
            with self._store.write_aside() as connection:
                self._holding.note(connection, due)
                self._aside.under_way(connection, due, wall_ms())
            self._holding.answered(due, None)

    # --- while the answer is awaited -----------------------------------------------------------

    @contextmanager
    def awaiting(self, built: Built) -> Iterator[None]:
        """Inside, `built` is under way, and what follows it may be made."""
        follows = built.late is None and built.ahead is None and built.full
        # What will go first anyway would throw it away.
        if not follows or self._holding.due() is not None or self._ahead.wanted(built.to):
            self._preparing.drop()
            yield
            return
        try:
            with self._preparing.beside(built, limits.BATCH_SEGMENTS):
                yield
        except BaseException:
            self._preparing.drop()
            raise

    def answered(self, built: Built, *, expected: bool) -> None:
        """The answer is stored; `expected`: it changes nothing of what was built meanwhile."""
        self.hurried = built.ahead is not None
        if not expected:
            self._preparing.drop()
        if built.late is None and built.ahead is None:
            self._patience.sent(built.built_s)

    def drop(self) -> None:
        """Something else came than an answer: what was built meanwhile is nothing."""
        self._preparing.drop()

    def close(self) -> None:
        """Give the connection back."""
        self._preparing.close()
