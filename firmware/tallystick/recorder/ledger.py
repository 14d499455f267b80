# The order sync, sign, sync (send): the log, its journal and its key, moved by bounded steps.
#
# `add` and `seal` only write.  `step` does the rest: a payload is signed when it and its records
# are durable, and counts as sendable when its signature is.  The lock is held for short moments
# only, so that a sync or a signature in another thread never holds up the control loop.

from gc import collect
from os import urandom

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.recorder.core import STRETCH_ROOM, Forms, Log
from tallystick.recorder.files import MICROPYTHON, forget
from tallystick.recorder.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.checkpointing import Policy
    from tallystick.recorder.counting import Counting
    from tallystick.recorder.handle import Handle
    from tallystick.recorder.health import Health

KEY_RETRY_MS_MIN = 500
SIGNATURE_SIZE = 64
# A wall clock that moves against uptime by more than this was set.
CLOCK_STEP_MS_MIN = 2000
# Shares of the journal that are told: when one is reached, and when it is left.
SPACE_PERCENT_LOW = 80
SPACE_PERCENT_RELIEVED = 70


SPARE_BYTES = 512 if MICROPYTHON else 0


class NoLock:
    """Where there are no threads."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        pass


class Ledger:
    """One device's records on their way to a signature."""

    def __init__(
        self,
        journal: Journal,
        log: Log,
        forms: "Forms",
        signer: "Any",
        clock: "Any",
        policy: "Policy",
        health: "Health",
        lock: "Any",
    ) -> None:
        self.journal = journal
        self.log = log
        self.forms = forms
        self.device = log.device
        self.signer = signer
        self.clock = clock
        self.policy = policy
        self.health = health
        self.lock = lock
        # Ordinals up to which payloads, and signatures, are durable.
        self._durable = 0
        self.sendable = 0
        self._signing: "tuple[int, bytes] | None" = None
        # Given up when a record is on flash and the heap has no room for its place in the tree.
        self._spare = bytes(SPARE_BYTES)
        self.waiters: "list[tuple[int, Handle]]" = []
        self.dropped = 0
        self.flash_after_ms = 0
        self._sync_after_ms = 0
        self.key_after_ms = 0
        self.key_retry_ms = KEY_RETRY_MS_MIN
        # Faults: when each kind was recorded last, those that go on, those not recorded yet.
        self.fault_events: dict[str, int] = {}
        self.failing: list[str] = []
        self.unrecorded: "list[tuple[str, str]]" = []
        self.record_after_ms = 0
        self.wall_offset_ms: int | None = None
        # The share of the journal that is told next.
        self.space_percent = SPACE_PERCENT_LOW
        # Where the key has a counter.
        self.counting: "Counting | None" = None

    # Writing.

    def add(self, record: bytes) -> bool:
        """Append a record; False (counted, recorded when it is possible again) when it cannot."""
        with self.lock:
            return self.add_alone(record)

    def add_alone(self, record: bytes) -> bool:
        """As add, where there are no threads: the hot path of a microcontroller."""
        log = self.log
        if self.dropped and not self._troubles().add_gap(self):
            return self._drop(None)
        if log.stretch_room <= 0 and not self.seal():
            return self._drop(None)
        # Attributes and calls are what costs there, so the usual case of _append stands here too.
        try:
            frame = log.frame(record, urandom)
        except MemoryError:
            return self.unheld()
        if self.flash_after_ms:
            if not self.append(frame):
                return self._drop(None)
        else:
            try:
                self.journal.append(frame)
            except Exception as error:  # noqa: BLE001  # Full, or whatever a flash driver raises
                return self._drop(error)
        try:
            unsealed = log.added(record)
        except MemoryError:
            unsealed = self._added_at_last(record)
        if unsealed == 1:
            self.policy.added(self.clock.uptime_ms())
        self.health.records += 1
        return True

    def unheld(self) -> bool:
        """The heap had no room for a record: one that was dropped."""
        self.dropped += 1
        self.health.dropped += 1
        self.starved("record")
        return False

    def _added_at_last(self, record: bytes) -> int:
        # The record is on flash, so the tree must have it, or the log would contradict itself.
        self._spare = b""
        collect()
        unsealed = self.log.added(record)
        self.starved("add")
        return unsealed

    def _drop(self, error: Exception | None) -> bool:
        self._troubles().drop(self, error)
        return False

    def append(self, frame: bytes, reserved: bool = False) -> bool:  # noqa: FBT001, FBT002
        """Append a frame; False (counted) when it cannot. `reserved`: what seals and frees."""
        try:
            if self.flash_after_ms:
                if self.clock.uptime_ms() < self.flash_after_ms:
                    return False
                self.flash_after_ms = 0
            self.journal.append(frame, reserved)
        except Exception as error:  # noqa: BLE001  # as above
            self._troubles().not_appended(self, error)
            return False
        self.health.flash_ok = not self._sync_after_ms
        return True

    def append_control(self, frame: bytes) -> bool:
        """Append a frame of ours; losing it costs a repetition, never a record."""
        return self.append(frame, reserved=True)

    def event(self, name: str, details: "dict[str, Any]") -> bool:
        """Append an event."""
        from tallystick.evidence.eventwriter import encode_event  # noqa: PLC0415  # costs heap

        return self.add(encode_event(self.clock.uptime_ms(), name, details))

    def fault(self, part: str, reason: str, error: Exception | None = None) -> None:
        """Count a fault, and record it where it begins, each kind at most once a minute."""
        self._troubles().fault(self, part, reason, error)

    def starved(self, what: str) -> None:
        """The heap did not suffice for something: seen, as far as there is room even for that."""
        collect()
        try:
            self.fault("memory", what)
        except MemoryError:
            self.health.last_fault = "memory"

    def _troubles(self) -> "Any":
        # Loaded when there are any.
        from tallystick.recorder import troubles  # noqa: PLC0415  # costs heap

        return troubles

    def seal(self) -> int:
        """Write a payload over all records; its number, 0 when that is impossible now."""
        with self.lock:
            log = self.log
            now = self.clock.uptime_ms()
            try:
                frame = log.seal(now, self.clock.wall())
            except Unverified as error:
                self.fault("key", error.reason)
                return 0
            if not self.append(frame, reserved=True):
                return 0
            ordinal = log.sealed()
            self.policy.sealed(now)
            self.health.checkpoints += 1
            if self.journal.wants_file():
                self._begin_file()
            return ordinal

    def _begin_file(self) -> None:
        from tallystick.recorder.filing import begin_file  # noqa: PLC0415  # forgotten again

        try:
            begin_file(self.journal, self.log)
        except Exception as error:  # noqa: BLE001  # a flash driver's
            self._troubles().flash_failed(self, "rotate", error)
        else:
            if self.failing:
                self._troubles().works(self, "flash:rotate")
        forget(("recorder.filing",))

    # Steps.

    def step(self, now_ms: int) -> bool:
        """One bounded piece of sealing, syncing or signing; False when there is nothing to do."""
        log = self.log
        if self.unrecorded and self._troubles().record(self, now_ms):
            forget(("recorder.troubles",))
            return True
        if self._signing is not None:
            return self._step_signing(now_ms)
        # A chip does one thing at a time.
        if self.counting is not None and self.counting.step(now_ms):
            return True
        if log.pending and log.pending[0][0] <= self._durable:
            return self._begin_signing(now_ms)
        if log.ordinal > self._durable or log.signed > self.sendable:
            return self._sync(now_ms)
        room = log.stretch_room + STRETCH_ROOM - log.room_max
        if not log.pending and self.policy.due(now_ms, log.unsealed, room):
            self._look_around()
            return bool(self.seal())
        return False

    def _sync(self, now_ms: int) -> bool:
        if now_ms < self._sync_after_ms:
            return False
        with self.lock:
            durable, sendable = self.log.ordinal, self.log.signed
        try:
            self.journal.sync(self.lock)
        except Exception as error:  # noqa: BLE001  # a flash driver's; or closed by a repair
            self._sync_after_ms = self._troubles().sync_failed(self, now_ms, error)
            return False
        self._sync_after_ms = 0
        self.health.flash_ok = True
        if self.failing:
            self._troubles().works(self, "flash:sync", "flash:write")
        self._durable = durable
        self.sendable = sendable
        with self.lock:
            ready = [handle for ordinal, handle in self.waiters if ordinal <= sendable]
            self.waiters = [one for one in self.waiters if one[0] > sendable]
        for handle in ready:
            handle.done()
            if handle.fault:
                self.starved("half")
        return True

    def _begin_signing(self, now_ms: int) -> bool:
        if now_ms < self.key_after_ms or (self.counting is not None and self.counting.holds):
            return False
        pending = self.log.pending[0]
        if MICROPYTHON:
            # A signature needs the largest pieces of heap, so what is free is put together now.
            collect()
        try:
            self.signer.begin(self.forms.to_be_signed(pending[1]))
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            return bool(self._troubles().key_failed(self, now_ms, error))
        self._signing = pending
        return True

    def _step_signing(self, now_ms: int) -> bool:
        if self._signing is None:
            return False
        ordinal, payload = self._signing
        try:
            if not self.signer.poll():
                # While a chip works there is nothing to do; a software key goes on by steps.
                return not getattr(self.signer, "waits", False)
            signature = self.signer.signature()
        except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
            self._signing = None
            return bool(self._troubles().key_failed(self, now_ms, error))
        if type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
            self._signing = None
            wrong = KeyDriverError("bad-signature", "the key gave no signature of 64 bytes")
            return bool(self._troubles().key_failed(self, now_ms, wrong))
        self.key_retry_ms = KEY_RETRY_MS_MIN
        self.health.key_ok = True
        if self.failing:
            self._troubles().works(self, "key:")
        self._signing = None
        return self._keep_signature(ordinal, payload, signature)

    def _keep_signature(self, ordinal: int, payload: bytes, signature: bytes) -> bool:
        with self.lock:
            if not self.log.pending or self.log.pending[0][0] != ordinal:
                return True  # of an epoch that was left meanwhile
            if not self.append(self.log.signature(ordinal, signature), reserved=True):
                # Asked for again later, over the same payload.
                return False
            self.log.signed_one(ordinal)
            for waiting, handle in self.waiters:
                if waiting == ordinal:
                    handle.checkpoint = self.forms.checkpoint(payload, signature)
        return True

    def _look_around(self) -> None:
        journal = self.journal
        percent = journal.used * 100 // journal.limit
        low = self.space_percent > SPACE_PERCENT_LOW
        if percent >= self.space_percent or (low and percent < SPACE_PERCENT_RELIEVED):
            self._troubles().space_changed(self, percent)
        wall = self.clock.wall()
        if wall is not None:
            offset = wall[0] - self.clock.uptime_ms()
            known = self.wall_offset_ms
            self.wall_offset_ms = offset
            if known is not None and abs(offset - known) > CLOCK_STEP_MS_MIN + wall[1]:
                self._troubles().clock_stepped(self, wall, known)

    def take_log(self, log: Log) -> "list[Handle]":
        """Go on with another epoch's log; the handles that wait for a signature in this one."""
        self.log = log
        waiting = [handle for _, handle in self.waiters]
        self.waiters.clear()
        return waiting

    def settled(self) -> bool:
        """Whether every record is covered by a durable signature."""
        log = self.log
        return not log.unsealed and not log.pending and self.sendable >= log.ordinal
