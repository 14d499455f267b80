"""The ingest worker: takes groups, lets the core decide, COMMITs once, then acknowledges.

The order is the promise: COMMIT (synchronous=FULL), then the acknowledgement to the broker, then
custody receipts are signed, stored and sent (receipting.py). A failing store acknowledges nothing:
the group is tried again until space returns or the gateway stops, and the broker keeps the
messages. A store that is nearly full takes nothing at all (capacity.py).
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from tallystick.evidence.errors import TallyError
from tallystick.gateway import limits, steps
from tallystick.gateway.ahead import Ahead
from tallystick.gateway.apply import After, Applier
from tallystick.gateway.capacity import Gauge
from tallystick.gateway.decisions import Decision, Refused, Send
from tallystick.gateway.down import Down
from tallystick.gateway.gatewaylog import GatewayLog
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Ingest, Instant
from tallystick.gateway.poison import Poison
from tallystick.gateway.receipting import Receipting
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store
from tallystick.gateway.tracks import Track
from tallystick.gateway.urgency import Urgent

_log = structlog.get_logger("tallystick.gateway.worker")


class Link(Protocol):
    """What the worker needs of a broker."""

    def ack(self, group: list[Delivery]) -> None:
        """Acknowledge messages."""

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down."""


class _Poisoned(Exception):
    # A message made the core fail in a way that it does not know.
    def __init__(self, number: int, what: str) -> None:
        super().__init__(number)
        self.number = number
        self.what = what


class Worker:
    """One thread's work; `run` returns when `stop` is set."""

    def __init__(
        self,
        store: Store,
        make_core: Callable[[sqlite3.Connection, Applier], Ingest],
        inbox: Inbox,
        link: Link,
        signing: Signing,
        down: Down,
        stop: threading.Event,
        on_commit: Callable[[], None] = lambda: None,
        store_bytes_max: int = limits.STORE_BYTES_MAX,
        ahead: Ahead | None = None,
        urgent: Urgent | None = None,
    ) -> None:
        self.urgent = Urgent() if urgent is None else urgent
        self._store = store
        self._inbox = inbox
        self._link = link
        self._receipts = Receipting(store, link, signing)
        self._down = down
        self._stop = stop
        self._ahead = ahead or Ahead(inbox, 0, "")
        self._on_commit = on_commit
        self._credentials: list[list[bytes]] = []
        self._forget = threading.Event()
        self._flushed_s = 0.0
        # Which devices are another gateway's; what is parked of them is dropped.
        self.elsewhere: Callable[[bytes], bool] = lambda _: False
        self.parked_dropped = 0
        self._resharded = threading.Event()
        self._parked_look_s = -limits.PARKED_LOOK_S
        self.gauge = Gauge(store_bytes_max)
        self.capacity = self.gauge.read(store.usage(), _now_ms())
        self._poison = Poison(store)
        self.store_error = ""
        self.beat_s = time.monotonic()
        with store.write() as connection:
            self._applier = Applier(GatewayLog(connection), self.urgent)
            self.core = make_core(connection, self._applier)
        self.core.identities.on_known = self._ahead.know

    def run(self) -> None:
        """Work until stopped. Nothing that a message holds ends this."""
        while not self._stop.is_set():
            self.beat_s = time.monotonic()
            try:
                self.turn(limits.GROUP_WAIT_S)
            except Exception:  # noqa: BLE001 - a defect of ours must not end the gateway
                # A defect of ours. What was not acknowledged comes again.
                _log.exception("the ingest worker failed and goes on")
                self._recover()
                self._stop.wait(limits.STORE_RETRY_S_MIN)
        self._give_receipts()

    def turn(self, wait_s: float) -> int:
        """One group, and what waits to be sent down; the number of messages."""
        self._look()
        self._ahead.look()
        if self.capacity.taking:
            most = min(limits.GROUP_BYTES_MAX, self.capacity.left // 2)
            group = self._inbox.take(0 if self._receipts.due else wait_s, most)
            group += self._poison.due()
        else:
            group = []
            self._wait_for_room(wait_s)
        if self._forget.is_set():
            self._forget.clear()
            self.core.identities.reset()
        if group or (self._credentials and self.capacity.taking):
            steps.passed(steps.RECEIVED)
            self._until_stored(lambda: self._group(group))
        elif self._applier.refusals and self._due():
            self._until_stored(self._flush)
        self._look_at_parked()
        self._give_receipts()
        for device, data in self._down.take(limits.DOWN_IN_FLIGHT_MAX):
            self._link.publish(device, data)
        return len(group)

    def _look(self) -> None:
        before = self.capacity.level
        try:
            self.capacity = self.gauge.read(self._store.usage(), _now_ms())
        except (sqlite3.Error, OSError) as error:
            # It is as full as it was; whether it can be written shows the next COMMIT.
            _log.error("the store cannot be measured", error=str(error))
            return
        if self.capacity.level != before:
            tell = _log.info if self.capacity.level == "ok" else _log.error
            tell("the store's level changed", **self.capacity.told())

    def _wait_for_room(self, wait_s: float) -> None:
        # Nothing is taken, so the broker and the devices keep what they have.
        if self.capacity.level == "full":
            at = Instant(_now_ms(), time.monotonic())
            try:
                with self._store.unclosed():
                    decisions = self.core.tell_full(self._inbox.topics(), at)
            except sqlite3.Error as error:
                _log.error("no device hears that the store is full", error=str(error))
                decisions = []
            for told in decisions:
                if isinstance(told, Send):
                    self._link.publish(told.device, told.data)
        self._stop.wait(min(wait_s, limits.STORE_FULL_WAIT_S))

    def add_credential(self, statements: list[bytes]) -> None:
        """Take a credential from the enrolments folder with the next turn."""
        self._credentials.append(statements)
        self._inbox.wake()

    def give_all(self) -> None:
        """Sign and hand over every custody receipt that is owed."""
        while self._receipts.due:
            self._give_receipts()

    def forget_identities(self) -> None:
        """Accepted roots changed: identities are verified anew, from the next turn on."""
        self._forget.set()
        self._inbox.wake()

    def look_at_parked(self) -> None:
        """Devices may be another gateway's now; with the next turn."""
        self._resharded.set()
        self._inbox.wake()

    # --- what is parked of devices that went ------------------------------------------------

    def _look_at_parked(self) -> None:
        # Looked for once more after a while, too: at a reload some of it is still in the inbox.
        now_s = time.monotonic()
        due = now_s - self._parked_look_s >= limits.PARKED_LOOK_S
        if not due and not self._resharded.is_set():
            return
        self._resharded.clear()
        self._parked_look_s = now_s
        if moved := self.core.moved(self.elsewhere):
            self._until_stored(lambda: self._drop_parked(moved))
            if self.core.moved(self.elsewhere):
                self._resharded.set()  # the rest with the next turn, after what came meanwhile

    def _drop_parked(self, devices: list[bytes]) -> None:
        # No custody receipt ever covered it: its device has it, and sends it to who serves it now.
        with self._store.write() as connection:
            dropped = self.core.drop_parked(devices, limits.PARKED_DROPPED_AT_ONCE)
            self._applier.apply(connection, dropped, After(), _now_ms())
        self.parked_dropped += len(dropped)
        _log.info(
            "parked segments of devices that another gateway serves were dropped",
            segments=len(dropped),
            devices=len(devices),
        )

    # --- one group --------------------------------------------------------------------------

    def _until_stored(self, work: Callable[[], None]) -> None:
        wait_s = limits.STORE_RETRY_S_MIN
        while True:
            # It lives, whatever the store does: to be started anew would not bring room.
            self.beat_s = time.monotonic()
            try:
                work()
            except (sqlite3.Error, OSError) as error:
                # A full disk, an I/O error. Nothing was acknowledged, so nothing is lost.
                self.store_error = str(error)
                _log.error("the store fails; nothing is acknowledged", error=str(error))
            else:
                self.store_error = ""
                return
            self._recover()
            if self._stop.wait(wait_s):
                return
            wait_s = min(2 * wait_s, limits.STORE_RETRY_S_MAX)

    def _give_receipts(self) -> None:
        try:
            self._receipts.give(self._waiting())
        except (sqlite3.Error, OSError, TallyError) as error:
            # The records are safe; their devices resend, and are answered then.
            _log.error("no custody receipts could be made", error=str(error))

    def _waiting(self) -> set[str]:
        # The ids in the topics of which more is here; none while nothing is taken, or at the end.
        if not len(self._inbox) or not self.capacity.taking or self._stop.is_set():
            return set()
        return {topic.removesuffix("/up").rpartition("/")[2] for topic in self._inbox.topics()}

    def _recover(self) -> None:
        self._receipts.forget()
        try:
            with self._store.write() as connection:
                self._applier.reset(connection)
                self.core.reset()
        except (sqlite3.Error, OSError) as error:
            _log.error("the store cannot be read", error=str(error))

    def _group(self, group: list[Delivery]) -> None:
        poisoned: dict[int, str] = {}
        while True:
            try:
                after, touched = self._commit(group, poisoned)
            except _Poisoned as found:
                # Its transaction was rolled back; without it the others go through.
                poisoned[found.number] = found.what
                self._recover()
            else:
                break
        steps.passed(steps.COMMITTED)
        self._link.ack(group)
        steps.passed(steps.ACKED)
        if after.written:
            self._on_commit()
        self._receipts.owe(touched, after.answers)
        self._give_receipts()
        for device, data in after.sends:
            self._link.publish(device, data)

    def _commit(self, group: list[Delivery], poisoned: dict[int, str]) -> tuple[After, list[Track]]:
        after = After()
        at = Instant(time.time_ns() // 1_000_000, time.monotonic())
        applier, core = self._applier, self.core
        credentials = list(self._credentials)
        with self._store.write() as connection:
            for statements in credentials:
                applier.apply(connection, self._learn(statements, at), after, at.wall_ms)
            for number, delivery in enumerate(group):
                folded = self._ahead.take(delivery)
                if number in poisoned:
                    sender = core.sender(delivery.message.topic)
                    self._poison.keep(connection, delivery, sender, poisoned[number], at.wall_ms)
                    after.refused.append(_poison(sender))
                    continue
                self._poison.taken(connection, delivery)
                try:
                    made = core.handle(delivery.message, at, folded)
                    while made:
                        applier.apply(connection, made, after, at.wall_ms)
                        made = core.more(at)
                except (sqlite3.Error, OSError):
                    raise
                except Exception as error:
                    _log.exception("a message made the gateway fail; it is set aside")
                    raise _Poisoned(number, type(error).__name__) from error
            touched = core.take_dirty()
            applier.finish(connection, [(track, not core.frozen(track)) for track in touched])
            for refused in after.refused:
                applier.count(refused, at.wall_ms)
            if after.written or self._due():
                applier.write_refusals(connection)
                flushed = True
            else:
                flushed = False
            steps.passed(steps.APPLIED)
        if flushed:
            self._counted()
        # Others may have been added meanwhile.
        self._credentials = self._credentials[len(credentials) :]
        return after, touched

    def _learn(self, statements: list[bytes], at: Instant) -> list[Decision]:
        try:
            return self.core.learn(statements, at)
        except TallyError as error:
            _log.warning("an enrolment is refused", reason=error.reason, message=error.message)
            return [Refused(error.reason, f"enrolments folder: {error.message}")]

    # --- counts -----------------------------------------------------------------------------

    def _due(self) -> bool:
        return time.monotonic() - self._flushed_s >= limits.COUNTS_FLUSH_S

    def _counted(self) -> None:
        self._applier.refusals.clear()
        self._flushed_s = time.monotonic()

    def _flush(self) -> None:
        with self._store.write_aside() as connection:
            self._applier.write_refusals(connection)
        self._counted()

    def close(self) -> None:
        """Write what was only counted."""
        if self._applier.refusals:
            self._flush()


def _poison(sender: bytes | None) -> Refused:
    message = "this message made the gateway fail; see `tally gateway quarantine`, please report it"
    return Refused("internal-error", message, sender)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
