"""Holds reach devices: signed, sent until the device says that it knows (docs/protocol.md, 3.6).

What a hold of an operator demands of each device is compared with the newest statement for it, in
short steps of one thread. A device answers in its log, so what it says is found in stored segments.
"""

import itertools
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import structlog

from tallystick.evidence import event
from tallystick.evidence import segment as segments
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_text
from tallystick.evidence.kinds import EVENT
from tallystick.evidence.limits import HOLD_MS_MAX
from tallystick.gateway import holds, limits
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.devicehold")
_NAME = b"\x64hold"
_NAME_WITHIN = 32  # array, kind and uptime stand before an event's name
_SENT = "UPDATE device_holds SET sent_ms = ? WHERE device = ?"


class Teller:
    """`turn` again and again; one thread's."""

    def __init__(
        self,
        store: Store,
        signing: Signing,
        send: Callable[[list[tuple[bytes, bytes]]], None],
        reaches: Callable[[bytes], bool] = lambda _device: True,
    ) -> None:
        """reaches: whether a message can go to a device at all now."""
        self._store = store
        self._signing = signing
        self._send = send
        self._reaches = reaches
        self._looked = -1  # up to here segments were looked into

    def turn(self, now_ms: int) -> bool:
        """Make what is due, look for answers, send what is not known; False for nothing."""
        made = self._make(now_ms)
        heard = self._hear(now_ms)
        return self._tell(now_ms) or made or heard

    # --- statements -------------------------------------------------------------------------

    def _make(self, now_ms: int) -> bool:
        due = self._due(now_ms)
        rows = []
        for device, serial, held in due:
            # A clock's, so that a store that was put back makes none that a device knows already.
            number = max(serial + 1, now_ms)
            until_ms = now_ms + HOLD_MS_MAX if held else None
            data, _ = self._signing.sign(DeviceHold(number, until_ms, now_ms), device)
            rows.append((device, number, until_ms, data))
        if rows:
            with self._store.write_aside() as connection:
                (size,) = connection.execute(
                    "SELECT coalesce(max(at) + 1, 0) FROM segments"
                ).fetchone()
                connection.executemany(
                    "INSERT OR REPLACE INTO device_holds VALUES (?, ?, ?, ?, ?, 0, NULL)",
                    [(*row, size) for row in rows],
                )
        return bool(rows)

    def _due(self, now_ms: int) -> list[tuple[bytes, int, bool]]:
        # (device, serial of what it was told last, whether it is held now)
        reader = self._store.reader()
        try:
            reader.execute("BEGIN")
            all_, some = holds.devices(reader)
            # Renewed when half of its time is over.
            until_ms = now_ms + HOLD_MS_MAX // 2
            # As one value: several holds name more than a statement has variables for.
            ids = json.dumps([one.hex().upper() for one in some])
            found = reader.execute(
                "SELECT d.device, coalesce(h.serial, 0) FROM devices d LEFT JOIN device_holds h "
                "USING (device) WHERE (? OR hex(d.device) IN (SELECT value FROM json_each(?))) "
                "AND coalesce(h.until_ms, 0) < ? LIMIT ?",
                (all_, ids, until_ms, limits.HOLDS_AT_ONCE),
            ).fetchall()
            due = [(bytes(device), int(serial), True) for device, serial in found]
            if not all_:
                ended = reader.execute(
                    "SELECT device, serial FROM device_holds WHERE until_ms IS NOT NULL "
                    "AND hex(device) NOT IN (SELECT value FROM json_each(?)) LIMIT ?",
                    (ids, limits.HOLDS_AT_ONCE),
                ).fetchall()
                due += [(bytes(device), int(serial), False) for device, serial in ended]
        finally:
            reader.close()
        return due

    # --- what devices say -------------------------------------------------------------------

    def _hear(self, now_ms: int) -> bool:
        # Whether there is more to look into.
        reader = self._store.reader()
        try:
            reader.execute("BEGIN")
            (first,) = reader.execute(
                "SELECT min(since_at) FROM device_holds WHERE known_ms IS NULL"
            ).fetchone()
            if first is None:
                self._looked = -1
                return False
            self._looked = max(self._looked, first)
            rows = reader.execute(
                "SELECT s.at, t.device, h.serial, s.data FROM segments s JOIN tracks t "
                "USING (track) JOIN device_holds h USING (device) "
                "WHERE s.at >= ? AND s.at >= h.since_at AND h.known_ms IS NULL "
                "ORDER BY s.at LIMIT ?",
                (self._looked, limits.HOLDS_AT_ONCE),
            ).fetchall()
            (size,) = reader.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
        finally:
            reader.close()
        kid = self._signing.key.kid()
        known = [(device, serial) for _, device, serial, data in rows if says(data, kid, serial)]
        if known:
            with self._store.write_aside() as connection:
                connection.executemany(
                    "UPDATE device_holds SET known_ms = ? WHERE device = ? AND serial = ?",
                    [(now_ms, device, serial) for device, serial in known],
                )
        more = len(rows) == limits.HOLDS_AT_ONCE
        self._looked = rows[-1][0] + 1 if more else size
        return more

    # --- down -------------------------------------------------------------------------------

    def _tell(self, now_ms: int) -> bool:
        reader = self._store.reader()
        try:
            due = reader.execute(
                "SELECT device, statement FROM device_holds WHERE known_ms IS NULL "
                # Sent later than now: before the clock was set back.
                "AND (sent_ms <= ? OR sent_ms > ?) ORDER BY sent_ms",
                (now_ms - limits.HOLD_AGAIN_MS, now_ms),
            )
            # To whom no way leads now it is said as soon as one does, and not a minute later.
            ways = (row for row in due if self._reaches(row[0]))
            rows = list(itertools.islice(ways, limits.HOLDS_AT_ONCE))
        finally:
            reader.close()
        if not rows:
            return False
        with self._store.write_aside() as connection:
            connection.executemany(_SENT, [(now_ms, device) for device, _ in rows])
        self._send([(bytes(device), bytes(data)) for device, data in rows])
        return True


def says(data: bytes, kid: bytes, serial: int) -> bool:
    """Whether a stored segment holds the event that this hold, or its end, is known."""
    if _NAME not in data:
        return False
    try:
        stretches = segments.parse(data).stretches
    except TallyError:
        return False  # damaged on disk
    for stretch in stretches:
        for item in stretch.items:
            if not isinstance(item, bytes) or item[1:2] != bytes((EVENT,)):
                continue
            if _NAME not in item[:_NAME_WITHIN]:
                continue
            try:
                said = event.parse(item)
            except TallyError:
                continue
            details = said.details
            mine = details.get("gateway") == kid and details.get("serial") == serial
            if said.event == "hold" and mine and details.get("state") in {"begun", "ended"}:
                return True
    return False


def told(connection: sqlite3.Connection) -> dict[str, Any]:
    """For status: how many devices know of their newest statement, and which do not yet."""
    held, ended, waiting = connection.execute(
        "SELECT coalesce(sum(until_ms IS NOT NULL AND known_ms IS NOT NULL), 0), "
        "coalesce(sum(until_ms IS NULL AND known_ms IS NOT NULL), 0), "
        "coalesce(sum(known_ms IS NULL), 0) FROM device_holds"
    ).fetchone()
    rows = connection.execute(
        "SELECT device, until_ms FROM device_holds WHERE known_ms IS NULL ORDER BY device LIMIT ?",
        (limits.QUARANTINE_SHOWN_MAX,),
    )
    return {
        "held": held,
        "released": ended,
        "waiting": waiting,
        "waiting_for": [
            {"device": device_text(device), "to": "release" if until_ms is None else "hold"}
            for device, until_ms in rows
        ],
    }


def of_devices(connection: sqlite3.Connection) -> dict[bytes, str]:
    """Of each device that is or was held: held, to hold (not known there yet), to release."""
    rows = connection.execute(
        "SELECT device, until_ms, known_ms FROM device_holds "
        "WHERE until_ms IS NOT NULL OR known_ms IS NULL"
    )
    return {
        bytes(device): "to release" if until_ms is None else "held" if known_ms else "to hold"
        for device, until_ms, known_ms in rows
    }
