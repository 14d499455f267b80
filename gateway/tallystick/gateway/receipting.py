"""Custody receipts: signed after the COMMIT, stored, sent. A slow key delays them, not the intake.

What is owed to a device waits by track, so while a chip signs for others a device's newer items
join the receipt that it will get: the newest makes every older one superfluous. What is owed when
the process ends is answered when its device sends again.
"""

import sqlite3
import time
from collections.abc import Iterable
from typing import Protocol

import structlog

from tallystick.evidence.errors import KeyDriverError
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
        self._again_s = 0.0

    @property
    def due(self) -> bool:
        """Whether there is something to sign now."""
        return bool(self._owed) and time.monotonic() >= self._again_s

    def owe(self, touched: Iterable[Track], answers: dict[int, Track]) -> None:
        """After a COMMIT: tracks that grew, and those whose devices sent again what is here."""
        for track in touched:
            self._owed[track.track] = track
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

    def give(self) -> None:
        """Sign for RECEIPTS_S_MAX at most, then store and send what was signed."""
        if not self.due:
            return
        now_ms = time.time_ns() // 1_000_000
        signed = self._sign(now_ms)
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

    def _sign(self, now_ms: int) -> list[_Signed]:
        end_s = time.monotonic() + limits.RECEIPTS_S_MAX
        signed: list[_Signed] = []
        for number, track in list(self._owed.items()):
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
