"""Fetches one validator's verdicts, checks them, keeps them, and sends them to the parties."""

import base64
import binascii
import sqlite3
import threading
import time

import msgspec
import structlog
from httpx2 import codes

from tallystick.evidence import verdict as verdicts
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.verdict import VerifiedVerdict
from tallystick.gateway import limits
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.backoff import Backoff
from tallystick.gateway.down import Down
from tallystick.gateway.http import Http, Refusal
from tallystick.gateway.peers import Peer
from tallystick.gateway.receipts import Receipts
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.verdicts")


class _Verdict(msgspec.Struct):
    entry: int
    statement: str
    receipt: str


class _Page(msgspec.Struct):
    verdicts: list[_Verdict]
    next: int


# Made here: msgspec makes it at the first use else, and two threads at once end the process.
_pages = msgspec.json.Decoder(_Page)


class VerdictPoller:
    """Asks one validator again and again; `run` returns when `stop` is set."""

    def __init__(
        self,
        peer: Peer,
        store: Store,
        down: Down,
        stop: threading.Event,
        answered: threading.Event,
        poll_s: float = limits.VERDICTS_POLL_S,
        retry_s_max: float = limits.RETRY_S_MAX,
    ) -> None:
        self.name = peer.config.name
        self._peer = peer
        self._store = store
        self._down = down
        self._stop = stop
        self._answered = answered
        self._poll_s = poll_s
        # What the validator waits in our place, so that a verdict comes as soon as there is one.
        self._wait_s = int(min(poll_s, limits.VERDICTS_WAIT_S_MAX))
        self._http = Http(peer.config.url, peer.config.tls)
        self._reader = store.reader()
        self._receipts = Receipts(peer.iss, peer.key)
        self._backoff = Backoff(retry_s_max)
        row = self._reader.execute(
            "SELECT verdicts_after FROM validators WHERE name = ?", (self.name,)
        ).fetchone()
        self._after = 0 if row is None else int(row[0])

    def wake(self) -> None:
        """It is time to stop."""
        self._answered.set()
        self._http.cut()

    def run(self) -> None:
        """Ask until stopped: after each answer to a batch, and every `poll_s`.

        A validator that can wait answers when it has a verdict, and is asked again at once.
        """
        try:
            while not self._stop.is_set():
                self._answered.clear()
                asked_s = time.monotonic()
                try:
                    more = self._ask()
                except Refusal as error:
                    self._stop.wait(self._refused(error))
                    continue
                except (TallyError, sqlite3.Error, OSError) as error:
                    self._stop.wait(self._backoff.next_s())
                    _log.debug("no verdicts", validator=self.name, error=str(error))
                    continue
                except Exception:  # noqa: BLE001 - one validator's trouble stays its own
                    _log.exception("fetching verdicts failed", validator=self.name)
                    self._stop.wait(self._backoff.next_s())
                    continue
                self._backoff.reset()
                if not more:
                    self._answered.wait(self._poll_s - (time.monotonic() - asked_s))
        finally:
            self._http.close()
            self._reader.close()

    def _refused(self, error: Refusal) -> float:
        _log.debug("no verdicts", validator=self.name, error=error.message)
        if error.status == codes.BAD_REQUEST and self._wait_s:
            # Of an older version, it does not know how to wait.
            self._wait_s = 0
            return 0.0
        return self._backoff.next_s()

    def _ask(self) -> bool:
        path = f"/v1/verdicts?after={self._after}&limit={limits.VERDICTS_PAGE_MAX}"
        body = self._http.get(f"{path}&wait={self._wait_s}" if self._wait_s else path)
        try:
            page = _pages.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed("bad-value", f"verdicts of {self.name}: {error}") from error
        good: list[tuple[int, VerifiedVerdict, bytes]] = []
        wrong: list[str] = []
        for item in page.verdicts[: limits.VERDICTS_PAGE_MAX]:
            try:
                good.append((item.entry, *self._check(item)))
            except TallyError as error:
                wrong.append(error.reason)
                _log.error(
                    "a verdict is refused",
                    validator=self.name,
                    entry=item.entry,
                    reason=error.reason,
                )
        entries = [item.entry for item in page.verdicts]
        after = max([page.next if page.verdicts else self._after, self._after, *entries])
        if after > self._after:
            messages = self._keep(good, wrong, after)
            self._after = after
            self._down.put(messages)
            return True
        return False

    def _check(self, item: _Verdict) -> tuple[VerifiedVerdict, bytes]:
        if not 0 <= item.entry < 2**63:
            raise Malformed("bad-value", "a log index out of range")
        statement = _octets(item.statement)
        received = verdicts.parse(statement)
        if received.iss != self._peer.iss:
            raise Unverified("wrong-key", "a verdict that names another validator")
        verified = received.verify(self._peer.key)
        # Logged, too: a verdict outside the log could be taken back.
        receipt = _octets(item.receipt)
        self._receipts.check(receipt, statement)
        return verified, receipt

    def _keep(
        self, good: list[tuple[int, VerifiedVerdict, bytes]], wrong: list[str], after: int
    ) -> list[tuple[bytes, bytes]]:
        now_ms = time.time_ns() // 1_000_000
        messages = []
        with self._store.write_aside() as connection:
            add_refusals(
                connection,
                [(why, b"", 1, now_ms, f"a verdict of validator {self.name}") for why in wrong],
            )
            for entry, verdict, receipt in good:
                finding = verdict.finding
                connection.execute(
                    "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?)",
                    (
                        self.name,
                        entry,
                        verdict.digest,
                        finding.namespace,
                        finding.interaction,
                        finding.state,
                        now_ms,
                        verdict.encode(),
                    ),
                )
                # For evidence files (exporting.py): without it nothing shows that it was logged.
                connection.execute(
                    "INSERT OR IGNORE INTO receipts VALUES (?, ?, ?)",
                    (self.name, verdict.digest, receipt),
                )
                if verdict.supersedes is not None:
                    connection.execute(
                        "UPDATE verdicts SET superseded = 1 WHERE validator = ? AND digest = ?",
                        (self.name, verdict.supersedes),
                    )
                messages += self._for_parties(connection, verdict)
            connection.execute(
                "UPDATE validators SET verdicts_after = ? WHERE name = ?", (after, self.name)
            )
        return messages

    @staticmethod
    def _for_parties(
        connection: sqlite3.Connection, verdict: VerifiedVerdict
    ) -> list[tuple[bytes, bytes]]:
        devices = {device for role in verdict.finding.parties.values() for device in role}
        known = [
            device
            for device in sorted(devices)
            if connection.execute("SELECT 1 FROM devices WHERE device = ?", (device,)).fetchone()
        ]
        return [(device, verdict.encode()) for device in known]


def _octets(text: str) -> bytes:
    """Base64url without padding, strictly: two texts never mean one value."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("bad-value", "not base64url") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise Malformed("non-canonical", "not the one base64url text of its bytes")
    return data
