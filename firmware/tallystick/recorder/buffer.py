# What was recorded and is not in the journal yet: in memory, in order, bounded.
#
# decision() leaves its record here and returns; steps write it (ledger.py).  A record gets index
# and salt when it is written, so the tree is what the journal holds, and a crash takes nothing
# that was signed or sent.  What no longer fits keeps its leaf hash, salted for the place that it
# will have, and not its body; where even hashes do not fit, records are refused.  `gap` events
# behind them say both (overflow.py).
#
# An entry of the queue is a record (bytes), a run of leaves without bodies ([seed, leaves, how many
# bytes are written]), the details of a gap (dict), or a record that somebody waits for: (record,
# handle, whether to seal behind it).

from hashlib import sha256
from os import urandom

from tallystick.evidence.kinds import EVENT
from tallystick.recorder.core import RECORD_ROOM, SEED_SIZE
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.core import Log
    from tallystick.recorder.health import Health

# Of what has no room for its body.
LEAVES_MAX = 64 if MICROPYTHON else 1024
# Hash and kind.
LEAF_SIZE = 33
# The recorder's own events may go beyond the limit by so much.
OWN_BYTES_MAX = 1024


class Buffer:
    """Records on their way to the journal."""

    log: "Log"
    health: "Health"
    if TYPE_CHECKING:

        def starved(self, what: str) -> None:
            """The ledger's, which is the one kind of buffer there is."""

    def __init__(self, held_max: int, gate: "Any") -> None:
        # Held for moments only, never over a write.
        self.gate = gate
        self.queue: "list[Any]" = []
        self.held = 0
        self.held_max = held_max
        # The tree's size as of the queue's begin, and leaves of the queue beyond its entries.
        self.written = 0
        self.extra = 0
        self.leaves = 0
        self.handles = 0
        # Room ran out: until half of it is free bodies are left out, lest there be a gap for each.
        self.over = False
        # From and to which index they are, and of how many decisions and events.
        self.bodyless: "list[int]" = []
        self.dropped = 0
        self.reason = ""
        # The newest run, while it waits, and whether the stretch is, or ought to be, sealed.
        self.run: "list[Any] | None" = None
        self.sealing = False
        # For what the heap had no room when it was to be written.
        self.short: "Any" = None
        if not MICROPYTHON:
            # Wakes the thread, where there is one.
            self.alarm: "Any" = None

    def queued(self) -> int:
        """Records that are not in the journal yet."""
        return len(self.queue) + self.extra

    def put(self, record: bytes) -> bool:
        """Take a record, without waiting for anything; False (counted) when it is refused."""
        held = self.held + len(record)
        if self.over or held > self.held_max:
            return self._put_late(record)
        try:
            self.queue.append(record)
        except MemoryError:
            return self.unheld()
        self.held = held
        self.health.records += 1
        return True

    if not MICROPYTHON:

        def put_safely(self, record: bytes) -> bool:
            """As put, from any thread."""
            with self.gate:
                kept = self.put(record)
            if self.held > self.held_max >> 1 and self.alarm is not None:
                self.alarm()
            return kept

    def refuse(self, reason: str) -> bool:
        """Count a record that is in no log."""
        with self.gate:
            self.reason = reason
            self.dropped += 1
            self.health.dropped += 1
        return False

    def unheld(self) -> bool:
        """The heap had no room for a record."""
        self.refuse("memory")
        self.starved("record")
        return False

    def _put_late(self, record: bytes) -> bool:
        try:
            if not self.over and not self.held:
                # Alone it may be longer than all of a small buffer.
                self.queue.append(record)
                self.held = len(record)
            elif self.leaves < LEAVES_MAX:
                self._put_leaf(record)
                self.health.elided += 1
            else:
                return self.refuse("buffer")
        except MemoryError:
            return self.unheld()
        self.health.records += 1
        return True

    def _put_leaf(self, record: bytes) -> None:
        log = self.log
        queue = self.queue
        run = self.run
        # The seed is that of the stretch in which the leaf will lie, or nobody could ever show what
        # its record was: the log's own, where nothing ends its stretch before; else a new one, in
        # front of which it is sealed.
        seed = log.seed
        last = queue and queue[-1] is run
        if (
            not seed
            or self.handles
            or self.sealing
            or (run is not None and run[0] != seed)
            or log.stretch_room <= self.held + RECORD_ROOM * (self.queued() + 1)
        ):
            own = last and run[0] != seed  # type: ignore[index]  # there is one
            seed = run[0] if own else urandom(SEED_SIZE)  # type: ignore[index]
        index = self.written + self.queued()
        salt = sha256(seed + (index >> 1).to_bytes(8, "big")).digest()
        state = sha256(b"\x00")
        state.update(salt[16:] if index & 1 else salt[:16])
        state.update(record)
        leaf = state.digest() + record[1:2]
        if last and run[0] == seed:  # type: ignore[index]
            run[1].extend(leaf)  # type: ignore[index]
            self.extra += 1
        else:
            run = [seed, bytearray(leaf), 0]
            queue.append(run)
            self.run = run
        self.leaves += 1
        self.over = True
        if not self.bodyless:
            self.bodyless = [index, index, 0, 0]
        self.bodyless[1] = index + 1
        self.bodyless[3 if record[1] == EVENT else 2] += 1

    def took(self, count: int, held: int) -> None:
        """The first entries are in the journal."""
        with self.gate:
            del self.queue[:count]
            self.held -= held
            self.written = self.log.tree.size
