"""What one validator did not take: set aside with the reason, and sent again, without end.

A segment that is due again goes the way of those that waited for a quota (quotas.py): in a batch
over its own part of the gateway log, in the order of its device.
"""

import sqlite3
from collections.abc import Iterable

from tallystick.gateway import limits
from tallystick.gateway.batching import Builder
from tallystick.gateway.built import Built

DAMAGED = "damaged"


class Aside:
    """For the thread of a validator's forwarder."""

    def __init__(self, name: str, builder: Builder) -> None:
        self._name = name
        self._builder = builder

    def due(self, reader: sqlite3.Connection, now_ms: int) -> list[tuple[bytes, int]]:
        """(device, place) of what is to be sent again now; what is damaged waits for its bytes."""
        return [
            (device, at)
            for device, at in reader.execute(
                "SELECT t.device, a.at FROM set_aside a JOIN segments s USING (at) "
                "JOIN tracks t USING (track) WHERE a.validator = ? "
                "AND (a.retry_ms <= ? OR a.retry_ms > ?) "
                "AND a.at NOT IN (SELECT at FROM damaged) ORDER BY a.at LIMIT ?",
                # What is further off than any wait was written before the clock was set back.
                (
                    self._name,
                    now_ms,
                    now_ms + limits.RETRY_ASIDE_MS_MAX,
                    limits.RETRY_ASIDE_AT_ONCE,
                ),
            )
        ]

    def under_way(
        self, connection: sqlite3.Connection, due: list[tuple[bytes, int]], now_ms: int
    ) -> None:
        """These are sent again; they stay set aside until they are taken."""
        connection.executemany(
            "UPDATE set_aside SET retry_ms = ? WHERE validator = ? AND at = ?",
            [(now_ms + limits.RETRY_ASIDE_MS_MAX, self._name, at) for _, at in due],
        )
        # It may have refused their credentials, too.
        connection.executemany(
            "DELETE FROM told WHERE validator = ? AND device = ?",
            {(self._name, device) for device, _ in due},
        )
        self._builder.elided.difference_update(at for _, at in due)

    def put(
        self, connection: sqlite3.Connection, refused: Iterable[tuple[int, str]], now_ms: int
    ) -> None:
        """These were not taken: once more, or for the first time."""
        for at, reason in refused:
            row = connection.execute(
                "SELECT tries FROM set_aside WHERE validator = ? AND at = ?", (self._name, at)
            ).fetchone()
            tries = 1 if row is None else int(row[0]) + 1
            wait_ms = min(
                limits.RETRY_ASIDE_MS_MIN << min(tries - 1, 20), limits.RETRY_ASIDE_MS_MAX
            )
            connection.execute(
                "INSERT INTO set_aside VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                "reason = excluded.reason, tries = excluded.tries, retry_ms = excluded.retry_ms",
                (self._name, at, reason, now_ms, tries, now_ms + wait_ms),
            )

    def answered(
        self,
        connection: sqlite3.Connection,
        built: Built,
        cursor: int,
        refused: dict[int, str],
        now_ms: int,
    ) -> None:
        """A batch was answered, and counts up to `cursor`: what it brought is set aside no more."""
        wrong = {**refused, **dict.fromkeys((at for at in built.damaged if at < built.to), DAMAGED)}
        self.put(connection, wrong.items(), now_ms)
        left = {at for _, at in built.held} | self._builder.elided | set(wrong)
        if built.late is not None:
            done: Iterable[int] = built.sent - left
        else:
            rows = connection.execute(
                "SELECT at FROM set_aside WHERE validator = ? AND at >= ? AND at < ?",
                (self._name, built.first, cursor),
            )
            done = {at for (at,) in rows} - left
        connection.executemany(
            "DELETE FROM set_aside WHERE validator = ? AND at = ?",
            [(self._name, at) for at in done],
        )


def waits_ms(tries: int) -> int:
    """How long until the next try after so many: doubling, a day at most, without end."""
    return min(limits.RETRY_ASIDE_MS_MIN << min(tries - 1, 20), limits.RETRY_ASIDE_MS_MAX)
