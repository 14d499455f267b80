"""Sends the gateway's log to one validator, from that validator's cursor on.

Each validator has a thread, a cursor and a client of its own: one that is away delays nobody else.
The cursor moves only with the validator's answer, in one transaction with the receipts; a batch
that is sent twice gets the same answer (F13), so a crash between costs a repetition. What goes next
is chosen elsewhere (choosing.py), and built while the answer to the one before is awaited. What
fails opens a circuit (circuit.py): then a validator that hangs costs one small request a period.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import structlog

from tallystick.evidence import batchanswer
from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.evidence.keys import from_b64u
from tallystick.gateway import delivered, limits, lives, steps
from tallystick.gateway.answering import Answers
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.aside import Aside
from tallystick.gateway.backoff import Backoff
from tallystick.gateway.batching import Builder, DamagedLog, log_size
from tallystick.gateway.built import Built, Part
from tallystick.gateway.choosing import Choice
from tallystick.gateway.circuit import CLOSED, HALF_OPEN, OPEN, Circuit
from tallystick.gateway.defects import Defects
from tallystick.gateway.down import Down
from tallystick.gateway.http import COSE, Http, Refusal, TimedOut
from tallystick.gateway.keychanges import KeyChanges
from tallystick.gateway.overtaking import Overtaking
from tallystick.gateway.pace import Throttle
from tallystick.gateway.peers import Peer
from tallystick.gateway.putback import check_signed
from tallystick.gateway.quotas import Holding, wall_ms
from tallystick.gateway.shared import Shared
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store
from tallystick.gateway.urgency import Urgent

_log = structlog.get_logger("tallystick.gateway.forward")
_ITS_FAILURE = 500  # from this status on
_LATER = {429, 503}
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
        urgent: Urgent | None = None,
        shared: Shared[Part] | None = None,
    ) -> None:
        # Called with the place of a stored segment whose bytes are wrong, -1: the log's nodes.
        self.on_damage: Callable[[int], None] = lambda _at: None
        self.name = peer.config.name
        self._send_as = peer.config.send
        self._store = store
        self._stop = stop
        self._news = lives.Event()
        self._reader = store.reader()
        self._http = http or Http(peer.config.url, peer.config.tls)
        self._shared: Shared[Part] = Shared() if shared is None else shared
        self._shared.join(peer.config.send)
        self._builder = Builder(self.name, peer.config.send, signing, credential, self._shared)
        self._key_changes = KeyChanges(self.name, store, self._http)
        self.circuit = Circuit(wall_ms(), Backoff(retry_s_max))
        self._link = Throttle(peer.config.bytes_s_max)
        if peer.config.bytes_s_max is not None:
            # One that is under way is waited for, also by what is urgent.
            link_bytes = int(peer.config.bytes_s_max * limits.LINK_BATCH_S)
            self._builder.bytes_max = min(limits.BATCH_BYTES, link_bytes)
        self._segments_max = limits.BATCH_SEGMENTS
        self._pending: Built | None = None
        self.answered = lives.Event()  # there may be verdicts now
        self.cursor = delivered.register(store, peer)
        self._holding = Holding(peer, signing.gateway, store)
        self._builder.holds = self._holding.holds
        self._builder.root_of = delivered.signed_root(self._reader, self.name)
        self._aside = Aside(self.name, self._builder)
        self._ahead = Overtaking(self.name, self._reader, self._builder, self._holding, urgent)
        self._choice = Choice(
            store,
            self._reader,
            self._builder,
            self._holding,
            self._aside,
            self._ahead,
            peer.config.batch_age_s,
        )
        self._choice.on_damage = self._damaged
        self._answers = Answers(
            peer, store, self._builder, self._holding, self._aside, self._ahead, down
        )
        self._defects = Defects()
        self._credential = credential
        self._compared = False
        # Set once when this validator shows that the store is older than what was signed.
        self.put_back: CouldNotCheck | None = None

    def _damaged(self, at: int) -> None:
        self.on_damage(at)

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
        self._choice.close()
        self._shared.leave(self._send_as)

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
        self.circuit.trying(wall_ms())
        try:
            self._compare()
            self._key_changes.tell(self._reader)
            wait_s = self._holding.wait_s()
            if wait_s > 0:
                # All of ours must wait: news must not shorten that.
                self.backing_off = True
                return wait_s
            self._prepare()
            if self._pending is None:
                self._probe()
                return self._holding.next_s(min(self._choice.waits_s, limits.FORWARD_WAIT_S))
            wait_s = self._link_s(self._pending)
            if wait_s > 0:
                # News may be urgent, so it is looked at; anything else waits on.
                return wait_s
            self._send(self._pending)
        except Refusal as error:
            return self._refused(error)
        except DamagedLog as error:
            self.on_damage(-1)
            return self._failed(str(error), error)
        except (TallyError, sqlite3.Error, OSError) as error:
            return self._failed(str(error), error)
        except Exception as error:  # noqa: BLE001 - one validator's trouble stays its own
            _log.exception("forwarding failed", validator=self.name)
            return self._failed(f"a defect: {type(error).__name__}", error)
        return 0.0

    def _prepare(self) -> None:
        # What goes next. What is built stays as it is, unless something urgent goes before it.
        if self._pending is not None:
            if self._pending.ahead is None and not self._choice.hurried:
                urgent = self._choice.urgent(self.cursor, self._most)
                self._pending = urgent or self._pending
            return
        self._pending = self._choice.next(self.cursor, self._most)
        steps.passed(steps.BATCHED)

    @property
    def _most(self) -> int:
        return 1 if self.circuit.state == HALF_OPEN else self._segments_max

    def _link_s(self, built: Built) -> float:
        wait_s = self._link.wait_s(time.monotonic())
        return max(0.0, wait_s - (0.0 if built.ahead is None else limits.URGENT_CREDIT_S))

    def _probe(self) -> None:
        # Nothing is to be sent that would show whether it answers again.
        if self.circuit.state != HALF_OPEN:
            return
        try:
            self._http.get("/healthz")
        except Refusal as error:
            if error.status >= _ITS_FAILURE:
                raise
        self.circuit.worked(wall_ms())

    def _compare(self) -> None:
        # Before anything is sent: what goes out of an older store proves two stories.
        if self._compared:
            return
        try:
            known = max(self.cursor, self._ahead.size)
            check_signed(self._http, self._reader, self._credential, known)
        except CouldNotCheck as error:
            self.put_back = error
            raise
        self._compared = True
        self._note_error(None)  # what kept it from asking is over

    def _failed(self, message: str, error: Exception) -> float:
        if isinstance(error, TallyError) and not isinstance(error, CouldNotCheck):
            after_s = error.retry_after_s if isinstance(error, Refusal) else 0.0
            # Of a defect that this batch met, the next may know nothing.
            later = error.reason != "internal-error" and getattr(error, "status", 0) in _LATER
            wait_s = self.circuit.failed(
                wall_ms(),
                at_once=isinstance(error, TimedOut) or (later and after_s > 0),
                after_s=after_s,
            )
        else:
            wait_s = self.circuit.backoff.next_s()  # our own trouble says nothing of it
        state = self.circuit.state
        if state == OPEN:
            # It is shown something small first, and more with each answer.
            self._pending = None
            self._segments_max = 1
        self.backing_off = True
        _log.warning(
            "not sent", validator=self.name, error=message, retry_s=round(wait_s, 2), circuit=state
        )
        self._note_error(message)
        return wait_s

    def _send(self, built: Built) -> None:
        data = built.packed
        self._link.spend(len(data), time.monotonic())
        with self._under_way(built):
            body = self._http.post("/v1/batches", data, HEADERS)
        steps.passed(steps.ANSWERED)
        answer = batchanswer.parse(body)
        self._pending = None
        if built.to <= answer.size < self._ahead.size:
            # It was put back, so what went ahead may be gone: nothing is passed over for that.
            self._ahead.moved(self._reader, answer.size)
            return
        self.cursor = self._answers.accept(built, answer, self.cursor)
        self._choice.answered(built, expected=self._answers.as_expected)
        self._defects.over(built)
        self.circuit.worked(wall_ms())
        self._segments_max = min(2 * self._segments_max, limits.BATCH_SEGMENTS)
        steps.passed(steps.MARKED)
        self.answered.set()

    def _under_way(self, built: Built) -> AbstractContextManager[None]:
        # One that just failed, or is shown little yet, is not worth building ahead for.
        well = self.circuit.state == CLOSED and not self.circuit.failures
        if well and self._segments_max == limits.BATCH_SEGMENTS:
            return self._choice.awaiting(built)
        self._choice.drop()
        return nullcontext()

    # --- answers ----------------------------------------------------------------------------

    def _refused(self, error: Refusal) -> float:
        pending = self._pending
        self._pending = None
        if error.reason == "gateway-gap" and error.size is not None:
            return self._go_to(error, pending)
        if error.reason == "over-quota" and pending is not None and error.refusals:
            return self._over_quota(pending, error)
        if error.status == 403:
            self._forgotten(pending)
        elif pending is not None and self._narrow(pending, error):
            self._note_error(f"{error.message} ({error.reason})")
            return 0.0  # bounded: each time it is another batch
        return self._failed(f"{error.message} ({error.reason})", error)

    def _over_quota(self, pending: Built, error: Refusal) -> float:
        try:
            said = [from_b64u(one, len(one) * 3 // 4) for one in error.refusals]
            self._holding.obey(pending, said)
        except TallyError as wrong:
            self._count([wrong.reason])
            return self._failed(f"a refusal that does not verify: {wrong.message}", error)
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

    def _go_to(self, error: Refusal, pending: Built | None) -> float:
        size = min(error.size or 0, log_size(self._reader))
        if pending is not None and pending.ahead is not None and size >= self.cursor:
            # It knows more of the log than was noted before a crash, or less.
            if size != self._ahead.size:
                self._ahead.moved(self._reader, size)
                return 0.0
            self._ahead.leave(pending)
            return self._failed(error.message, error)
        if size >= self.cursor:
            # How much it knows of the log is not how much it has: some went as hashes.
            return self._failed(error.message, error)
        _log.warning("the validator asks for another place", validator=self.name, size=size)
        self._forget_told()
        self._move_to(size)
        return 0.0

    def _narrow(self, pending: Built, error: Refusal) -> bool:
        # The batch as a whole is refused. Halve until the segment that is at fault stands alone,
        # then send its leaf hash instead: the others must not wait for it (F14).
        if pending.ahead is not None:
            # In its order it is seen whose fault it is.
            asked_in_vain = error.status in {400, 413}
            if asked_in_vain or error.reason == "internal-error":
                self._ahead.leave(pending)
            return asked_in_vain
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
        if knew and max(self.cursor, self._ahead.size):
            self._move_to(0)

    def _move_to(self, size: int) -> None:
        with self._store.write_aside() as connection:
            self._holding.forget_from(connection, size)
            delivered.again(connection, self.name, size, self._send_as)
            connection.execute("UPDATE validators SET cursor = ? WHERE name = ?", (size, self.name))
        self.cursor = size
        self._holding.reload()
        self._ahead.moved(self._reader, size)

    def _forget_told(self) -> None:
        with self._store.write_aside() as connection:
            connection.execute("DELETE FROM told WHERE validator = ?", (self.name,))

    def _note_error(self, message: str | None) -> None:
        told = (None, None) if message is None else (message[:200], wall_ms())
        try:
            with self._store.write_aside() as connection:
                connection.execute(
                    "UPDATE validators SET error = ?, error_ms = ? WHERE name = ?",
                    (*told, self.name),
                )
        except (sqlite3.Error, OSError) as error:
            _log.error("the store fails", error=str(error))
