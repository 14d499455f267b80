# The order sync, sign, sync (send): the log, its journal and its key, moved by bounded steps.
#
# What is recorded waits in memory (buffer.py).  `step` does the rest: it writes records in order; a
# payload is signed when it and its records are durable, and counts as sendable when its signature
# is.  The lock is for who writes, and held over writes, not over a sync or a signature; who records
# takes the buffer's gate only, so none of these holds up a control loop.

from gc import collect
from os import urandom

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.recorder.buffer import OWN_BYTES_MAX, Buffer
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
# For the event of what was given up.
GAP_ROOM = 512
SIGNATURE_SIZE = 64
# A wall clock that moves against uptime by more than this was set.
CLOCK_STEP_MS_MIN = 2000
# Shares of the journal that are told: when one is reached, and when it is left.
SPACE_PERCENT_LOW = 80
SPACE_PERCENT_RELIEVED = 70


class NoLock:
    """Where there are no threads."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *args: object) -> None:
        pass


class Ledger(Buffer):
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
        buffer_bytes: int,
    ) -> None:
        Buffer.__init__(self, buffer_bytes, lock.__class__())
        self.journal = journal
        self.log = log
        self.written = log.tree.size
        self.forms = forms
        self.device = log.device
        self.signer = signer
        self.clock = clock
        self.policy = policy
        self.health = health
        health.journal = journal
        self.lock = lock
        # Ordinals up to which payloads, and signatures, are durable.
        self._durable = 0
        self.sendable = 0
        self._signing: "tuple[int, bytes] | None" = None
        self.waiters: "list[tuple[int, Handle]]" = []
        self.flash_after_ms = 0
        self._sync_after_ms = 0
        self.key_after_ms = 0
        self.key_retry_ms = KEY_RETRY_MS_MIN
        # Faults: when each kind was recorded last, those that go on, those not recorded yet.
        self.fault_events: dict[str, int] = {}
        self.failing: list[str] = []
        self.unrecorded: "list[tuple[str, str]]" = []
        self.wall_offset_ms: int | None = None
        # For whose frame the heap had no room.
        self._short: "Any" = None
        # Where the key has a counter.
        # The share of the journal that is told next.
        self.space_percent = SPACE_PERCENT_LOW
        self.counting: "Counting | None" = None

    # Writing.

    def write(self) -> bool:
        """Write a bounded piece of what waits in memory; False when none is, or can be."""
        with self.lock:
            if not self.queue:
                return False
            try:
                return self._write()
            except MemoryError:
                return self._starved()

    def _write(self) -> bool:
        # Leaves that are salted for this stretch must go into it, whatever its room.
        if self.log.stretch_room <= 0 and not self._tied() and not self.seal():
            return self._stalled()
        front = self.queue[0]
        if type(front) is not bytes:
            return self._write_other(front)
        records = [front]
        held = len(front)
        if not MICROPYTHON:
            from tallystick.recorder.batching import more  # noqa: PLC0415  # CPython's

            held += more(self, records)
        if not self.write_records(records):
            return self._stalled()
        self.took(len(records), held)
        return True

    def _write_other(self, front: "Any") -> bool:
        if type(front) is tuple:
            from tallystick.recorder import handle  # noqa: PLC0415  # rarely

            worked = handle.write(self, front)
            forget(("recorder.handle",))
        else:
            from tallystick.recorder import overflow  # noqa: PLC0415  # rarely

            worked = overflow.write(self, front)
            if type(front) is dict:
                forget(("recorder.overflow", "evidence.eventwriter"))
        return worked or self._stalled()

    def _starved(self) -> bool:
        # Twice, and it is given up, lest nothing behind it be written ever again.
        self.starved("write")
        front = self.queue[0]
        short, self._short = self._short, front
        if front is short and type(front) is not list and type(front) is not dict:
            with self.gate:
                # In its place, for leaves behind it are salted for theirs.
                self.queue[0] = {"dropped": 1, "reason": "memory"}
                self.held -= len(front if type(front) is bytes else front[0])
                self.health.records -= 1
                self.health.dropped += 1
            if type(front) is tuple:
                self.handles -= 1
                front[1].lose("memory")
        return False

    def _tied(self) -> bool:
        if not self.leaves:
            return False
        from tallystick.recorder import overflow  # noqa: PLC0415  # rarely

        return overflow.tied(self)

    def _stalled(self) -> bool:
        # Records stay and are tried again; who waits for a signature is told.
        if self.handles:
            from tallystick.recorder import handle  # noqa: PLC0415  # rarely

            handle.lose_all(self)
        return False

    def write_records(self, records: "list[bytes]") -> bool:
        """Append these, whole or not at all; False when that is impossible now."""
        log = self.log
        before = self.mark()
        done = False
        try:
            if MICROPYTHON:
                data = log.frame(records[0], urandom)
                log.added(records[0])
            else:
                from tallystick.recorder.batching import frames  # noqa: PLC0415  # CPython's

                data = frames(log, records)
            done = self.append(data)
        finally:
            if not done:
                self.back(before)
        if done and before[0] == log.sealed_size:
            self.policy.added(self.clock.uptime_ms())
        return done

    def mark(self) -> "tuple[int, list[bytes], int, int, int]":
        """The log as it is now, and how long the journal's file is."""
        log = self.log
        size = self.journal.list[-1].size
        return log.tree.size, log.tree.edge[:], log.stretch_room, log.claims, size

    def back(self, before: "tuple[int, list[bytes], int, int, int]") -> None:
        """The log as it was, unless its frames are in the journal after all."""
        log = self.log
        if self.journal.list[-1].size == before[4]:
            log.tree.size, log.tree.edge, log.stretch_room, log.claims = before[:4]

    def drain(self) -> None:
        """Write all that waits, as far as it can be now."""
        while self.write():
            pass

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
        if "journal:full" in self.failing and not reserved:
            self._troubles().works(self, "journal:full")
        return True

    def wants_room(self) -> bool:
        """Whether compacting.py has something to do."""
        journal = self.journal
        if journal.work is not None or journal.compacting or journal.tight():
            return True
        if not self.log.untold or self.leaves or self.flash_after_ms:
            return False
        return journal.room() >= GAP_ROOM

    def append_control(self, frame: bytes) -> bool:
        """Append a frame of ours; losing it costs a repetition, never a record."""
        with self.lock:
            return self.append(frame, reserved=True)

    def event(self, name: str, details: "dict[str, Any]", at: int | None = None) -> None:
        """Record an event of the recorder's own; `at` the queue's begin for those of an epoch."""
        from tallystick.evidence.eventwriter import encode_event  # noqa: PLC0415  # costs heap

        record = encode_event(self.clock.uptime_ms(), name, details)
        with self.gate:
            if at is None:
                if self.held > self.held_max + OWN_BYTES_MAX:
                    self.refuse("buffer")
                    return
                at = len(self.queue)
            self.queue.insert(at, record)
            self.held += len(record)
            self.health.records += 1

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
        """Write a payload over all that is written; its number, 0 when that is impossible now."""
        with self.lock:
            with self.gate:
                self.sealing = True
                if self._tied():
                    return 0
            try:
                return self._seal()
            finally:
                self.sealing = False

    def _seal(self) -> int:
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
        """A bounded piece of writing, and one of sealing, syncing or signing; False for nothing."""
        if (self.over or self.dropped) and self.held <= self.held_max >> 1:
            from tallystick.recorder import overflow  # noqa: PLC0415  # rarely

            overflow.end_gap(self)
        if self.unrecorded and self._troubles().record(self):
            forget(("recorder.troubles",))
        worked = bool(self.queue) and self.write()
        return self._advance(now_ms) or worked

    def _advance(self, now_ms: int) -> bool:
        log = self.log
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
        self.written = 0
        waiting = [handle for _, handle in self.waiters]
        self.waiters.clear()
        return waiting

    def settled(self) -> bool:
        """Whether every record is covered by a durable signature."""
        log = self.log
        if self.queue or self.over or self.dropped:
            return False
        return not log.unsealed and not log.pending and self.sendable >= log.ordinal
