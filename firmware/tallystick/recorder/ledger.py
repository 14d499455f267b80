# The order sync, sign, sync (send): the log, its journal and its key, moved by bounded steps.
#
# What is recorded waits in memory (buffer.py).  `step` does the rest: it writes records in order; a
# payload is signed when it and its records are durable, and counts as sendable when its signature
# is.  The lock is for who writes, and held over writes, not over a sync or a signature; who records
# takes the buffer's gate only, so none of these holds up a control loop.

from gc import collect
from os import urandom

from tallystick.evidence.errors import Unverified
from tallystick.recorder.buffer import OWN_BYTES_MAX, Buffer
from tallystick.recorder.core import Forms, Log
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
# The first share of the journal that is told (advancing.py).
SPACE_PERCENT_LOW = 80
TROUBLES = ("recorder.troubles", "evidence.eventwriter")


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
        # The newest payload over something urgent: a bandwidth limit does not hold it up.
        self.urgent = 0
        self.flash_after_ms = 0
        self._sync_after_ms = 0
        self.key_after_ms = 0
        self.key_retry_ms = KEY_RETRY_MS_MIN
        # Faults: when each kind was recorded last, those that go on, those not recorded yet.
        self.fault_events: dict[str, int] = {}
        self.failing: list[str] = []
        self.unrecorded: "list[tuple[str, str]]" = []
        self.wall_offset_ms: int | None = None
        self._advance: "Any" = None
        # The share of the journal that is told next.
        self.space_percent = SPACE_PERCENT_LOW
        # Where the key has a counter.
        self.counting: "Counting | None" = None

    # Writing.

    def write(self) -> bool:
        """Write a bounded piece of what waits in memory; False when none is, or can be."""
        with self.lock:
            if not self.queue:
                return False
            try:
                return self._write() or self._stalled()
            except MemoryError:
                collect()
                self._overflow().starved(self)
                return False

    def _write(self) -> bool:
        # Leaves that are salted for this stretch must go into it, whatever its room.
        if self.log.stretch_room <= 0 and not self._tied() and not self.seal():
            return False
        front = self.queue[0]
        if type(front) is not bytes:
            return bool(self._overflow().write(self, front))
        records = [front]
        held = len(front)
        if not MICROPYTHON:
            from tallystick.recorder.batching import more  # noqa: PLC0415  # CPython's

            held += more(self, records)
        if not self.write_records(records):
            return False
        self.took(len(records), held)
        return True

    def _overflow(self) -> "Any":
        # Loaded when there is something else than records.
        from tallystick.recorder import overflow  # noqa: PLC0415  # costs heap

        return overflow

    def _tied(self) -> bool:
        return bool(self.leaves and self._overflow().tied(self))

    def _stalled(self) -> bool:
        # Records stay and are tried again; who waits for a signature is told.
        if self.handles:
            from tallystick.recorder import handle  # noqa: PLC0415  # rarely

            handle.lose_all(self)
        return False

    def write_records(self, records: "list[bytes]") -> bool:
        """Append these, whole or not at all; False when that is impossible now."""
        log = self.log
        tree = log.tree
        file = self.journal.list[-1]
        end = file.size
        before = (tree.size, tree.edge[:], log.stretch_room, log.claims)
        done = False
        try:
            if MICROPYTHON:
                # In two pieces: a heap in many parts may have none as long as both.
                data = log.front(records[0], urandom)
                log.added(records[0])
                done = self.append(data, False, records[0])
            else:
                from tallystick.recorder.batching import frames  # noqa: PLC0415  # CPython's

                done = self.append(frames(log, records))
        finally:
            # An interrupt may come when it is written already.
            if not done and file.size == end:
                tree.size, tree.edge, log.stretch_room, log.claims = before
        if done and before[0] == log.sealed_size:
            self.policy.added(self.clock.uptime_ms())
        return done

    def append(self, frame: bytes, reserved: bool = False, rest: bytes = b"") -> bool:  # noqa: FBT001, FBT002
        """Append a frame; False (counted) when it cannot. `reserved`: what seals and frees."""
        try:
            if self.flash_after_ms:
                if self.clock.uptime_ms() < self.flash_after_ms:
                    return False
                self.flash_after_ms = 0
            self.journal.append(frame, reserved, rest)
        except Exception as error:  # noqa: BLE001  # as above
            self._troubles().not_appended(self, error)
            return False
        self.health.flash_ok = not self._sync_after_ms
        if "journal:full" in self.failing and not reserved:
            self.works("journal:full")
        return True

    def wants_room(self) -> bool:
        """Whether compacting.py has something to do."""
        journal = self.journal
        if journal.retry_ms and self.clock.uptime_ms() < journal.retry_ms:
            return False
        if journal.work is not None or journal.compacting or journal.leftover or journal.tight():
            return True
        if not self.log.untold or self.leaves or self.flash_after_ms:
            return False
        return journal.room() >= GAP_ROOM

    def append_control(self, frame: bytes) -> bool:
        """Append a frame of ours; losing it costs a repetition, never a record."""
        with self.lock:
            return self.append(frame, reserved=True)

    def event(self, name: str, details: "dict[str, Any]") -> None:
        """Record an event of the recorder's own."""
        from tallystick.evidence.eventwriter import encode_event  # noqa: PLC0415  # costs heap

        record = encode_event(self.clock.uptime_ms(), name, details)
        with self.gate:
            if self.held > self.held_max + OWN_BYTES_MAX:
                self.refuse("buffer")
            else:
                self.queue.append(record)
                self.held += len(record)
                self.health.records += 1

    def fault(self, part: str, reason: str, error: Exception | None = None) -> None:
        """Count a fault, and record it where it begins, each kind at most once a minute."""
        self._troubles().fault(self, part, reason, error)
        if not self.unrecorded:
            # One that goes on, and is looked at again and again.
            forget(TROUBLES)

    def works(self, begin: str) -> None:
        """The faults that begin so are over: the next of them is another one."""
        left = [name for name in self.failing if not name.startswith(begin)]
        if len(left) < len(self.failing):
            self.failing = left
            forget(TROUBLES)

    def starved(self, what: str) -> None:
        """The heap did not suffice for something: seen, as far as there is room even for that."""
        collect()
        try:
            self._troubles().fault(self, "memory", what)
            # It may be over at once.
            self.works("memory:")
        except MemoryError:
            self.health.last_fault = "memory"
        forget(TROUBLES)

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
            from tallystick.recorder.filing import rotate  # noqa: PLC0415  # forgotten again

            rotate(self)
            forget(("recorder.filing",))
        return ordinal

    # Steps.

    def step(self, now_ms: int) -> bool:
        """A bounded piece of writing, and one of sealing, syncing or signing; False for nothing."""
        if (self.over or self.dropped) and self.held <= self.held_max >> 1:
            self._overflow().end_gap(self)
        if self.unrecorded and self._troubles().record(self):
            forget(TROUBLES)
        worked = self.write() if self.queue else False
        if self.journal.rewriting and MICROPYTHON:
            # A small heap has not room for what compacts and for what signs.
            return worked
        if self._advance is None:
            # Loaded when what opened is forgotten, so that both need not lie in a small heap.
            from tallystick.recorder.advancing import advance  # noqa: PLC0415

            self._advance = advance
        return self._advance(self, now_ms) or worked

    def settled(self) -> bool:
        """Whether every record is covered by a durable signature."""
        log = self.log
        if self.queue or self.over or self.dropped:
            return False
        return not log.unsealed and not log.pending and self.sendable >= log.ordinal
