"""Custody receipts: signed after the COMMIT, stored, sent. A slow key delays them, not the intake.

What is owed to a device waits by track, so while a chip signs for others a device's newer items
join the receipt that it will get: the newest makes every older one superfluous. So do those of its
items that are here and not stored yet, for a while. What is owed when the process ends is answered
when its device sends again.
"""

import sqlite3
import time
from collections.abc import Collection, Iterable
from typing import Protocol

import structlog

from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits, steps
from tallystick.gateway.signing import Signing, receipts_due
from tallystick.gateway.store import Store
from tallystick.gateway.tracks import Track

_log = structlog.get_logger("tallystick.gateway.receipting")

# (track, [(elided, receipt, its digest)])
_Signed = tuple[Track, list[tuple[bool, bytes, bytes]]]


class Link(Protocol):
    """What receipts need of a broker."""

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down."""


class Receipting:
    """What is owed, and how it is given; the worker's thread only, between two COMMITs."""

    def __init__(self, store: Store, link: Link, signing: Signing) -> None:
        self._store = store
        self._link = link
        self._signing = signing
        self._owed: dict[int, Track] = {}
        self._since_s: dict[int, float] = {}  # by track: for how long it has been owed
        self._again_s = 0.0

    @property
    def due(self) -> bool:
        """Whether there is something to sign now."""
        return bool(self._owed) and time.monotonic() >= self._again_s

    def owe(self, touched: Iterable[Track], answers: dict[int, Track]) -> None:
        """After a COMMIT: tracks that grew, and those whose devices sent again what is here."""
        now_s = time.monotonic()
        for track in touched:
            self._owed[track.track] = track
            self._since_s.setdefault(track.track, now_s)
        for number, track in answers.items():
            if number in self._owed:
                continue
            if track.custody_to < track.size:
                # It was committed and the process died before the receipt was signed.
                self._owed[number] = track
                continue
            for known in track.receipts():
                self._link.publish(track.device, known)

    def forget(self) -> None:
        """After a rollback: the tracks are made anew, and may have less than these say."""
        self._owed.clear()
        self._since_s.clear()

    def give(self, waiting: Collection[str] = ()) -> None:
        """Sign for RECEIPTS_S_MAX at most, then store and send what was signed.

        `waiting` are devices, as texts, of which more is here: their receipts may wait for that.
        """
        if not self.due:
            return
        now_ms = time.time_ns() // 1_000_000
        signed = self._sign(now_ms, waiting)
        if not signed:
            return
        with self._store.write_aside() as connection:
            for track, rows in signed:
                _store_receipts(connection, track, rows, now_ms)
        steps.passed(steps.SIGNED)
        for track, rows in signed:
            for elided, data, _digest in rows:
                self._link.publish(track.device, data)
                if elided:
                    track.custody_elided, track.elided_to = data, track.size
                else:
                    track.custody = data
            track.custody_to = track.size
        steps.passed(steps.PUBLISHED)

    def _sign(self, now_ms: int, waiting: Collection[str]) -> list[_Signed]:
        begin_s = time.monotonic()
        end_s = begin_s + limits.RECEIPTS_S_MAX
        old_s = begin_s - limits.RECEIPT_JOINS_S_MAX
        signed: list[_Signed] = []
        for number, track in list(self._owed.items()):
            young = waiting and self._since_s.get(number, 0.0) > old_s
            if young and device_text(track.device) in waiting:
                continue
            try:
                rows = [
                    (not receipt.bodies, *self._signing.sign(receipt, track.device))
                    for receipt in receipts_due(track, now_ms)
                ]
            except KeyDriverError as error:
                # The records are safe, and the receipts follow when the key is back.
                self._again_s = time.monotonic() + limits.KEY_RETRY_S
                _log.error("the key does not answer", reason=error.reason, error=error.message)
                break
            del self._owed[number]
            self._since_s.pop(number, None)
            signed.append((track, rows))
            if time.monotonic() >= end_s:
                break
        return signed


def _store_receipts(
    connection: sqlite3.Connection,
    track: Track,
    rows: list[tuple[bool, bytes, bytes]],
    now_ms: int,
) -> None:
    for elided, data, digest in rows:
        connection.execute(
            "INSERT OR IGNORE INTO custody VALUES (?, ?, ?, ?)",
            (digest, track.device, data, now_ms),
        )
        if elided:
            connection.execute(
                "UPDATE tracks SET custody_elided = ?, elided_to = ? WHERE track = ?",
                (data, track.size, track.track),
            )
        else:
            connection.execute("UPDATE tracks SET custody = ? WHERE track = ?", (data, track.track))
    connection.execute(
        "UPDATE tracks SET custody_to = ? WHERE track = ?", (track.size, track.track)
    )
