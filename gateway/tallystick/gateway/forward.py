"""Sends the gateway's log to one validator, from that validator's cursor on.

Each validator has a thread, a cursor and a client of its own: one that is away delays nobody else.
The cursor moves only with the validator's answer, in one transaction with the receipts; a batch
that is sent twice gets the same answer (F13), so a crash between costs a repetition.
"""

import sqlite3
import threading
import time
from collections.abc import Callable

import structlog

from tallystick.evidence import batchanswer
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.errors import CouldNotCheck, TallyError, TransportError
from tallystick.evidence.keys import from_b64u
from tallystick.evidence.notarised import Notarised
from tallystick.gateway import delivered, limits, steps
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.aside import Aside
from tallystick.gateway.backoff import Backoff
from tallystick.gateway.batching import Builder, Built, DamagedLog, compress
from tallystick.gateway.defects import Defects
from tallystick.gateway.down import Down
from tallystick.gateway.http import COSE, Http, Refusal
from tallystick.gateway.keychanges import KeyChanges
from tallystick.gateway.pace import Throttle
from tallystick.gateway.peers import Peer
from tallystick.gateway.putback import check_signed
from tallystick.gateway.quotas import Holding, wall_ms
from tallystick.gateway.receipts import Receipts
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.forward")
HEADERS = {"Content-Type": COSE, "Content-Encoding": "zstd"}


class Forwarder:
    """One validator's way out; `run` returns when `stop` is set."""

    def __init__(
        self,
        peer: Peer,
        store: Store,
        signing: Signing,
        credential: tuple[bytes, ...],
        down: Down,
        stop: threading.Event,
        retry_s_max: float = limits.RETRY_S_MAX,
        http: Http | None = None,
    ) -> None:
        # Called with the place of a stored segment whose bytes are wrong, -1: the log's nodes.
        self.on_damage: Callable[[int], None] = lambda _at: None
        self.name = peer.config.name
        self._send_as = peer.config.send
        self._store = store
        self._down = down
        self._stop = stop
        self._news = threading.Event()
        self._reader = store.reader()
        self._http = http or Http(peer.config.url, peer.config.tls)
        self._builder = Builder(self.name, peer.config.send, signing, credential)
        self._receipts = Receipts(peer.iss, peer.key)
        self._key_changes = KeyChanges(self.name, store, self._http)
        self._backoff = Backoff(retry_s_max)
        self._link = Throttle(peer.config.bytes_s_max)
        self._segments_max = limits.BATCH_SEGMENTS
        self._pending: Built | None = None
        self.answered = threading.Event()  # there may be verdicts now
        self.cursor = delivered.register(store, peer)
        self._holding = Holding(peer, signing.gateway, store)
        self._builder.holds = self._holding.holds
        self._builder.root_of = delivered.signed_root(self._reader, self.name)
        self._aside = Aside(self.name, self._builder)
        self._aside_s = 0.0
        self._defects = Defects()
        self._late_turn = False
        self._credential = credential
        self._compared = False
        # Set once when this validator shows that the store is older than what was signed.
        self.put_back: CouldNotCheck | None = None

    def wake(self) -> None:
        """There is something new in the log, or it is time to stop."""
        self._news.set()

    def run(self) -> None:
        """Send until stopped."""
        try:
            while not self._stop.is_set():
                self._news.clear()
                wait_s = self.turn()
                if wait_s > 0:
                    self._wait(wait_s)
        finally:
            self.close()

    def close(self) -> None:
        """Give the connections back; whoever calls `turn` by itself calls this."""
        self._http.close()
        self._reader.close()

    def _wait(self, wait_s: float) -> None:
        # After a failure news must not shorten the wait, or a busy site would hammer.
        if self.backing_off:
            self._stop.wait(wait_s)
        else:
            self._news.wait(wait_s)

    # Whether the last turn failed, or a quota says when to go on.
    backing_off = False

    def turn(self) -> float:
        """Send at most one batch; how long to wait before the next."""
        self.backing_off = False
        try:
            self._compare()
            self._key_changes.tell(self._reader)
            wait_s = self._holding.wait_s()
            if wait_s > 0:
                # All of ours must wait: news must not shorten that.
                self.backing_off = True
                return wait_s
            if self._pending is None:
                self._send_aside()
                self._pending = self._next()
                for at in self._pending.damaged if self._pending else ():
                    self.on_damage(at)
                steps.passed(steps.BATCHED)
            if self._pending is None:
                return self._holding.next_s(limits.FORWARD_WAIT_S)
            wait_s = self._link.wait_s(time.monotonic())
            if wait_s > 0:
                # What is built stays as it is until the link has room for it.
                self.backing_off = True
                return wait_s
            self._send(self._pending)
        except Refusal as error:
            return self._refused(error)
        except DamagedLog as error:
            self.on_damage(-1)
            return self._failed(str(error))
        except (TallyError, sqlite3.Error, OSError) as error:
            return self._failed(str(error))
        except Exception as error:  # noqa: BLE001 - one validator's trouble stays its own
            _log.exception("forwarding failed", validator=self.name)
            return self._failed(f"a defect: {type(error).__name__}")
        self._backoff.reset()
        return 0.0

    def _compare(self) -> None:
        # Before anything is sent: what goes out of an older store proves two stories.
        if self._compared:
            return
        try:
            check_signed(self._http, self._reader, self._credential, self.cursor)
        except CouldNotCheck as error:
            self.put_back = error
            raise
        self._compared = True

    def _send_aside(self) -> None:
        # What was set aside and is due goes with what was held back.
        now_s = time.monotonic()
        if now_s - self._aside_s < limits.RETRY_LOOK_S:
            return
        self._aside_s = now_s
        due = self._aside.due(self._reader, wall_ms())
        if due:
            with self._store.write_aside() as connection:
                self._holding.note(connection, due)
                self._aside.under_way(connection, due, wall_ms())
            self._holding.answered(due, None)

    def _next(self) -> Built | None:
        # In turn, where a device's held segments are due: neither keeps the other waiting.
        self._late_turn = not self._late_turn
        for late in (self._late_turn, not self._late_turn):
            if not late:
                built = self._builder.build(self._reader, self.cursor, self._segments_max)
            else:
                device = self._holding.due()
                if device is None:
                    continue
                built = self._builder.build_late(self._reader, device, self._segments_max)
                if built is None:
                    self._holding.answered([], device)
            if built is not None:
                return built
        return None

    def _failed(self, message: str) -> float:
        wait_s = self._backoff.next_s()
        self.backing_off = True
        _log.warning("not sent", validator=self.name, error=message, retry_s=round(wait_s, 2))
        self._note_error(message)
        return wait_s

    def _send(self, built: Built) -> None:
        data = compress(built.data)
        self._link.spend(len(data), time.monotonic())
        body = self._http.post("/v1/batches", data, HEADERS)
        steps.passed(steps.ANSWERED)
        answer = batchanswer.parse(body)
        self._accept(built, answer)
        self._pending = None
        self._defects.over(built)
        self._segments_max = min(2 * self._segments_max, limits.BATCH_SEGMENTS)
        steps.passed(steps.MARKED)
        self.answered.set()

    # --- answers ----------------------------------------------------------------------------

    def _accept(self, built: Built, answer: BatchAnswer) -> None:
        now_ms = wall_ms()
        good, notarised, wrong = self._check_receipts(built, answer)
        refused = dict(answer.refused)
        cursor = self._without_history(refused, built.to)
        if built.late is not None:
            # What is still without history is sent again, with its edge; the rest is done.
            built.sent -= {at for at in built.sent if at >= cursor}
            cursor = self.cursor
        if answer.size < built.to:
            raise TransportError(
                "bad-answer", f"a batch up to {built.to} was answered with size {answer.size}"
            )
        with self._store.write_aside() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO receipts VALUES (?, ?, ?)",
                [(self.name, digest, data) for digest, data in good],
            )
            add_refusals(
                connection,
                [(why, b"", 1, now_ms, f"a receipt of validator {self.name}") for why in wrong],
            )
            self._aside.answered(connection, built, cursor, refused, now_ms)
            if built.late is None and cursor == built.to:
                delivered.keep_root(connection, self.name, cursor, built.root)
                self._builder.root_of = (cursor, built.root)
            connection.executemany(
                "INSERT OR REPLACE INTO told VALUES (?, ?, ?)",
                [(self.name, device, digest) for device, digest in built.told.items()],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO notarised VALUES (?, ?, ?, ?, ?)",
                [
                    (self.name, device, epoch, size, message)
                    for (device, epoch), (size, message) in notarised.items()
                ],
            )
            self._holding.note(connection, [(who, at) for who, at in built.held if at < cursor])
            drained = built.late
            if built.late is not None and self._holding.sent(connection, built.late, built.sent):
                drained = None
            connection.execute(
                "UPDATE validators SET cursor = ?, batches = batches + 1, answered_ms = ?, "
                "error = NULL, error_ms = NULL WHERE name = ?",
                (cursor, now_ms, self.name),
            )
        # Not answer.size: after a crash the validator may have more, and what it has is sent again
        # for its receipts.
        self.cursor = cursor
        self._holding.answered(built.held, drained)
        done = built.sent if built.late is not None else range(built.first, cursor)
        self._builder.edged = {at for at in self._builder.edged if at not in done}
        for at, reason in refused.items():
            _log.warning("a segment is set aside", validator=self.name, at=at, reason=reason)
        self._down.put([(device, message) for (device, _), (_, message) in notarised.items()])

    def _without_history(self, refused: dict[int, str], to: int) -> int:
        # Behind a segment that it did not take, a validator cannot follow. It can with the edge, so
        # those are sent again, once, with theirs; the others of the batch are known to it then.
        lacking = [at for at, reason in refused.items() if reason == "no-history"]
        lacking = [at for at in lacking if at not in self._builder.edged]
        for at in lacking:
            del refused[at]
        self._builder.edged.update(lacking)
        return min(lacking, default=to)

    def _check_receipts(
        self, built: Built, answer: BatchAnswer
    ) -> tuple[list[tuple[bytes, bytes]], dict[tuple[bytes, bytes], tuple[int, bytes]], list[str]]:
        good: list[tuple[bytes, bytes]] = []
        wrong: list[str] = []
        newest: dict[tuple[bytes, bytes], tuple[int, bytes]] = {}
        for digest, data in answer.receipts:
            head = built.heads.get(digest)
            statement = head.statement if head is not None else built.custody.get(digest)
            if statement is None:
                continue  # of a credential: nothing here rests on it
            reason = self._receipts.reason(data, statement)
            if reason is not None:
                _log.error("a receipt is refused", validator=self.name, reason=reason)
                wrong.append(reason)
                continue
            good.append((digest, data))
            if head is not None:
                log = (head.device, head.epoch)
                if log not in newest or newest[log][0] <= head.size:
                    newest[log] = (head.size, Notarised(head.epoch, head.size, data).encode())
        return good, newest, wrong

    def _refused(self, error: Refusal) -> float:
        pending = self._pending
        self._pending = None
        if error.reason == "gateway-gap" and error.size is not None:
            return self._go_to(error)
        if error.reason == "over-quota" and pending is not None and error.refusals:
            return self._over_quota(pending, error)
        if error.status == 403:
            self._forgotten(pending)
        elif pending is not None and self._narrow(pending, error):
            self._note_error(f"{error.message} ({error.reason})")
            return 0.0  # bounded: each time it is another batch
        return self._failed(f"{error.message} ({error.reason})")

    def _over_quota(self, pending: Built, error: Refusal) -> float:
        try:
            self._holding.obey(pending, [_octets(text) for text in error.refusals])
        except TallyError as wrong:
            self._count([wrong.reason])
            return self._failed(f"a refusal that does not verify: {wrong.message}")
        _log.warning("a quota is used up", validator=self.name, error=error.message)
        self._note_error(f"{error.message} (over-quota)")
        return 0.0

    def _count(self, reasons: list[str]) -> None:
        now_ms = wall_ms()
        with self._store.write_aside() as connection:
            add_refusals(
                connection,
                [(why, b"", 1, now_ms, f"a refusal of validator {self.name}") for why in reasons],
            )

    def _go_to(self, error: Refusal) -> float:
        size = min(error.size or 0, self._log_size())
        if size == self.cursor:
            return self._failed(error.message)
        _log.warning("the validator asks for another place", validator=self.name, size=size)
        if size < self.cursor:
            self._forget_told()
        self._move_to(size)
        return 0.0

    def _narrow(self, pending: Built, error: Refusal) -> bool:
        # The batch as a whole is refused. Halve until the segment that is at fault stands alone,
        # then send its leaf hash instead: the others must not wait for it (F14).
        if not self._defects.blamed(pending, error):
            return False
        count = len(pending.sent) or pending.to - pending.first
        if count > 1:
            self._segments_max = max(1, count // 2)
            return True
        if pending.first in self._builder.elided:
            return False
        self._builder.elided.add(pending.first)
        with self._store.write_aside() as connection:
            self._aside.put(connection, [(pending.first, error.reason)], wall_ms())
        return True

    def _forgotten(self, pending: Built | None) -> None:
        # It does not know us. If it did before, its store is new: everything is sent again. It
        # would take a batch from the middle, but not the segments in it, whose beginnings it lacks.
        knew = pending is not None and self._builder.gateway not in pending.told
        self._forget_told()
        if knew and self.cursor:
            self._move_to(0)

    def _move_to(self, size: int) -> None:
        with self._store.write_aside() as connection:
            self._holding.forget_from(connection, size)
            delivered.again(connection, self.name, size, self._send_as)
            connection.execute("UPDATE validators SET cursor = ? WHERE name = ?", (size, self.name))
        self.cursor = size
        self._holding.reload()

    def _forget_told(self) -> None:
        with self._store.write_aside() as connection:
            connection.execute("DELETE FROM told WHERE validator = ?", (self.name,))

    def _log_size(self) -> int:
        (size,) = self._reader.execute("SELECT coalesce(max(at) + 1, 0) FROM segments").fetchone()
        return int(size)

    def _note_error(self, message: str) -> None:
        try:
            with self._store.write_aside() as connection:
                connection.execute(
                    "UPDATE validators SET error = ?, error_ms = ? WHERE name = ?",
                    (message[:200], wall_ms(), self.name),
                )
        except (sqlite3.Error, OSError) as error:
            _log.error("the store fails", error=str(error))


def _octets(text: str) -> bytes:
    return from_b64u(text, len(text) * 3 // 4)
