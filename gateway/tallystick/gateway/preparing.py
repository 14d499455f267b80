"""The batch after the one that is under way: built while the answer to that is awaited (ADR 19).

A validator works while its gateway waits, and the other way round, unless the next batch is made
meanwhile. It is made as if the answer will be the one that is expected: everything taken, every
receipt there. It is never sent before that answer came; whatever else comes, or goes first, throws
it away. What it signed of the gateway's log is true then, too: a head of the same log, unsent.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tallystick.gateway.batching import Builder
from tallystick.gateway.built import Built
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.preparing")


class Preparing:
    """Of one validator's forwarder; its thread is alive inside `beside` only."""

    def __init__(self, store: Store, builder: Builder) -> None:
        self._store = store
        self._builder = builder
        self._reader: sqlite3.Connection | None = None
        self._built: Built | None = None

    @contextmanager
    def beside(self, before: Built, segments_max: int) -> Iterator[None]:
        """Inside, what follows `before` is built; whoever leaves waits for the end of that."""
        self.drop()
        thread = threading.Thread(
            target=self._build, args=(before, segments_max), name="next batch", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            # The system has no thread for it now: then it is built in its turn.
            yield
            return
        try:
            yield
        finally:
            # Nothing of what the builder reads may change while it builds.
            thread.join()

    def _build(self, before: Built, segments_max: int) -> None:
        try:
            self._reader = self._reader or self._store.reader()
            built = self._builder.build(self._reader, before.to, segments_max, before)
        except Exception as error:  # noqa: BLE001 - whatever it is
            # It is met again when this is built in its turn, and told then.
            _log.debug("the next batch is not built ahead", error=str(error))
            return
        # What is not full may grow until its turn; what is damaged may be mended.
        if built is not None and built.full and not built.damaged:
            self._built = built

    def take(self, cursor: int, segments_max: int) -> Built | None:
        """What was built, where it is still what is to be sent from this cursor on; once."""
        built, self._built = self._built, None
        if built is None or built.first != cursor or built.to - built.first > segments_max:
            return None
        held = {device for device, _ in built.held}
        if any(self._builder.holds(device) != (device in held) for device in built.seen()):
            return None
        return built

    def drop(self) -> None:
        """Forget what was built."""
        self._built = None

    def close(self) -> None:
        """Give the connection back."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
