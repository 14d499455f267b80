"""Tells one validator of key changes that no batch brings: of devices that send nothing any more.

A credential travels with its device's segments. A revoked or dead device has none, so what the
enrolments folder says of it goes by a door of its own (docs/protocol.md, 8.1).
"""

import sqlite3
import time

import msgspec
import structlog

from tallystick.evidence import cbor
from tallystick.evidence.errors import TransportError
from tallystick.gateway import limits
from tallystick.gateway.http import Http, Refusal
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.keychanges")
CBOR = "application/cbor"
# An array of two statements or more: its length stands in its first byte.
_CHANGED = b"\x82"


class _Row(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    credentials: list[_Row]


# Made here: msgspec makes it at the first use else, and two threads at once end the process.
_answers = msgspec.json.Decoder(_Answer)


class KeyChanges:
    """What a validator was told of devices' keys, and what it has still to be told."""

    def __init__(self, validator: str, store: Store, http: Http) -> None:
        self._validator = validator
        self._store = store
        self._http = http
        self._next_s = 0.0

    def tell(self, reader: sqlite3.Connection) -> None:
        """Send what is new, seldom; TransportError when the validator does not answer."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + limits.KEY_CHANGES_S
        rows = reader.execute(
            "SELECT d.device, d.digest, d.credential FROM devices d LEFT JOIN told t "
            "ON t.validator = ? AND t.device = d.device "
            "WHERE d.credential >= ? AND (t.digest IS NULL OR t.digest != d.digest) "
            "ORDER BY d.device LIMIT ?",
            (self._validator, _CHANGED, limits.KEY_CHANGES_AT_ONCE),
        ).fetchall()
        if not rows:
            return
        body = cbor.encode([cbor.decode(row[2]) for row in rows])
        try:
            data = self._http.post("/v1/credentials", body, {"Content-Type": CBOR})
            answer = _answers.decode(data)
        except Refusal as error:
            _log.warning("key changes are refused", validator=self._validator, error=error.message)
            return
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TransportError("bad-answer", f"key changes: {error}") from error
        if len(answer.credentials) != len(rows):
            raise TransportError("bad-answer", "key changes: another number than was sent")
        for row, told in zip(rows, answer.credentials, strict=True):
            if told.reason is not None:
                _log.warning("a credential is refused", device=row[0].hex(), reason=told.reason)
        with self._store.write_aside() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?)",
                [(self._validator, device, digest) for device, digest, _ in rows],
            )
        if len(rows) == limits.KEY_CHANGES_AT_ONCE:
            self._next_s = 0.0
