"""The gateway's part of joining as one thing: queue, door and inbox; started by service.py."""

import sqlite3
import threading
import time
from typing import Any

import structlog

from tallystick.evidence.keys import PublicKey
from tallystick.gateway import limits
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.joindoor import JoinDoor
from tallystick.gateway.joininbox import JoinInbox
from tallystick.gateway.joins import Joins, Learn
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.joining")


class Joining:
    """`start`, `watch` again and again, `stop`."""

    def __init__(
        self,
        config: JoinConfig,
        store: Store,
        fleet: tuple[str, PublicKey],
        gateway: bytes,
        name: str,
        learn: Learn,
    ) -> None:
        self._store = store
        self.joins = Joins(store, *fleet, gateway, learn)
        self.door = JoinDoor(config, self.joins, name)
        self._inbox = JoinInbox(config.inbox, self.joins)
        self._config = config
        self._looked_s = 0.0

    @property
    def threads(self) -> list[threading.Thread]:
        """What must not end by itself."""
        return [] if self.door.thread is None else [self.door.thread]

    def start(self) -> None:
        """Open the door; TransportError where it cannot be."""
        self._config.inbox.mkdir(parents=True, exist_ok=True)
        url = self.door.start()
        _log.info("devices may ask to join", url=url, inbox=str(self._config.inbox))

    def watch(self) -> None:
        """Look into the inbox, and write down what was refused."""
        now_s = time.monotonic()
        if now_s - self._looked_s >= limits.ENROLMENTS_RESCAN_S:
            self._looked_s = now_s
            try:
                self._inbox.read()
            except sqlite3.Error as error:
                # The files stay, and are taken once the store works again.
                _log.error("the join inbox cannot be taken", error=str(error))
        self._write_counts()

    def _write_counts(self) -> None:
        found = self.door.take_counts()
        if not found:
            return
        now_ms = time.time_ns() // 1_000_000
        try:
            with self._store.write_aside() as connection:
                add_refusals(
                    connection,
                    ((reason, b"", n, now_ms, f"join: {said}"[:200]) for reason, n, said in found),
                )
        except sqlite3.Error as error:
            _log.error("refusals cannot be written", error=str(error))

    def state(self) -> dict[str, Any]:
        """For `tally gateway status`."""
        return {"url": self.door.url}

    def stop(self) -> None:
        """Close the door, then the queue."""
        self.door.stop()
        self._write_counts()
        self.joins.close()
