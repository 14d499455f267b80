"""Messages that made the gateway itself fail: kept with what went wrong, and tried again.

They are in nobody's custody, so their devices have them too. What is kept is bounded, and only of
known devices: strangers may not grow the store.
"""

import sqlite3
import time

from tallystick.evidence.digest import sha256
from tallystick.gateway import limits
from tallystick.gateway.inbox import Delivery
from tallystick.gateway.ingest import Message
from tallystick.gateway.store import Store

_RETRIED = -1  # a delivery's session: it comes from here, and its `mid` is a row's number
_LOOK_S = 2.0
_AT_ONCE = 16


class Poison:
    """For the ingest worker's thread, inside its transactions."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked_s = 0.0
        with store.write() as connection:
            # A start may be of a newer program, which no longer fails.
            connection.execute("UPDATE poison SET retry = 1 WHERE retry = 0")

    def due(self) -> list[Delivery]:
        """Those that are to be tried now."""
        now_s = time.monotonic()
        if now_s - self._looked_s < _LOOK_S:
            return []
        self._looked_s = now_s
        connection = self._store.reader()
        try:
            rows = connection.execute(
                "SELECT number, topic, data FROM poison WHERE retry = 1 ORDER BY number LIMIT ?",
                (_AT_ONCE,),
            ).fetchall()
        finally:
            connection.close()
        return [Delivery(Message(topic, data), number, 0, _RETRIED) for number, topic, data in rows]

    def taken(self, connection: sqlite3.Connection, delivery: Delivery) -> None:
        """One that is handled now; its row goes with the transaction in which it is."""
        if delivery.session == _RETRIED:
            connection.execute("DELETE FROM poison WHERE number = ?", (delivery.mid,))

    def keep(
        self,
        connection: sqlite3.Connection,
        delivery: Delivery,
        device: bytes | None,
        what: str,
        now_ms: int,
    ) -> None:
        """One that made the gateway fail; not of strangers, nor beyond the limits."""
        data = delivery.message.payload
        again = connection.execute(
            "UPDATE poison SET count = count + 1, last_ms = ?, message = ?, retry = 0 "
            "WHERE digest = ?",
            (now_ms, what, sha256(data)),
        )
        if again.rowcount or device is None:
            return
        count, size = connection.execute(
            "SELECT count(*), coalesce(sum(length(data)), 0) FROM poison"
        ).fetchone()
        if count >= limits.POISON_MESSAGES_MAX or size + len(data) > limits.POISON_BYTES_MAX:
            return
        connection.execute(
            "INSERT INTO poison (digest, device, topic, data, message, count, first_ms, last_ms) "
            "VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
            (sha256(data), device, delivery.message.topic, data, what, now_ms, now_ms),
        )
