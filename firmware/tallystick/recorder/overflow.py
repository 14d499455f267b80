# What a full buffer left behind: leaves without bodies, and gaps, on their way to the journal.
# Loaded when there is such.

from tallystick.evidence.eventwriter import encode_event
from tallystick.recorder import frames
from tallystick.recorder.buffer import LEAF_SIZE
from tallystick.recorder.core import RECORD_ROOM
from tallystick.recorder.files import MICROPYTHON
from tallystick.recorder.giving import hollowed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger

# Written in one step.
LEAVES_STEP = 4 if MICROPYTHON else 64


def write(ledger: "Ledger", front: "Any") -> bool:
    """Write the queue's first entry, or a piece of it; False when it cannot be now."""
    if type(front) is list:
        return _write_leaves(ledger, front)
    record = encode_event(ledger.clock.uptime_ms(), "gap", front)
    if not ledger.write_records([record]):
        return False
    ledger.health.records += 1
    ledger.took(1, 0)
    return True


def _write_leaves(ledger: "Ledger", run: "list[Any]") -> bool:
    log = ledger.log
    seed, leaves, begin = run
    if seed != log.seed:
        # Behind the end of a stretch.  Where the key is so far behind that there is no end, the
        # leaves stand in the old one, and nobody can open them.
        if log.unsealed:
            ledger.seal()
        if not log.unsealed:
            log.seed = seed
            log._pair_index = -1
    count = min((len(leaves) - begin) // LEAF_SIZE, LEAVES_STEP)
    end = begin + count * LEAF_SIZE
    before = ledger.mark()
    data = b""
    if log.tree.size == log.sealed_size:
        data = frames.control([frames.SEED, log.tree.size, log.seed])
    done = False
    try:
        for at in range(begin, end, LEAF_SIZE):
            leaf = bytes(leaves[at : at + LEAF_SIZE - 1])
            data += frames.leaf_frame(leaves[at + LEAF_SIZE - 1], leaf)
            log.tree.push(leaf)
            log.stretch_room -= RECORD_ROOM
        done = ledger.append(data)
    finally:
        if not done:
            ledger.back(before)
    if not done:
        return False
    if before[0] == log.sealed_size:
        ledger.policy.added(ledger.clock.uptime_ms())
    hollowed(log, before[0], log.tree.size)
    with ledger.gate:
        ledger.leaves -= count
        ledger.extra -= count
        run[2] = end
        # It may have got more meanwhile.
        if end == len(leaves):
            ledger.extra += 1
            ledger.took(1, 0)
            if ledger.run is run:
                ledger.run = None
        else:
            ledger.took(0, 0)
    return True


def tied(ledger: "Ledger") -> bool:
    """Whether leaves wait that are salted for the stretch which is written now."""
    for entry in ledger.queue:
        if type(entry) is list:
            return bool(entry[0] == ledger.log.seed)
    return False


def end_gap(ledger: "Ledger") -> None:
    """There is room again: what was left out stands in the log behind it."""
    with ledger.gate:
        if ledger.bodyless:
            first, to, decisions, events = ledger.bodyless
            ledger.queue.append(
                {
                    "dropped": decisions + events,
                    "reason": "buffer",
                    "first": first,
                    "to": to,
                    "decisions": decisions,
                    "events": events,
                }
            )
            ledger.bodyless = []
        if ledger.dropped:
            ledger.queue.append({"dropped": ledger.dropped, "reason": ledger.reason})
            ledger.dropped = 0
        ledger.over = False


def leave(ledger: "Ledger") -> int:
    """The log is left: leaves that are salted for it are of no use; how many there were."""
    with ledger.gate:
        lost = ledger.leaves
        ledger.queue = [entry for entry in ledger.queue if type(entry) is not list]
        ledger.leaves = ledger.extra = 0
        ledger.run = None
        ledger.bodyless = []
    return lost
