# What a full buffer left behind: leaves without bodies, and gaps, on their way to the journal.
# Loaded when there is such.

from tallystick.recorder import frames
from tallystick.recorder.buffer import LEAF_SIZE
from tallystick.recorder.core import RECORD_ROOM
from tallystick.recorder.files import MICROPYTHON, forget
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
    if type(front) is tuple:
        from tallystick.recorder import handle  # noqa: PLC0415  # costs heap

        worked = handle.write(ledger, front)
    else:
        from tallystick.evidence.eventwriter import encode_event  # noqa: PLC0415  # costs heap

        worked = ledger.write_records([encode_event(ledger.clock.uptime_ms(), "gap", front)])
        if worked:
            # Told again should the flash lose it (losing.py).
            ledger.journal.gaps.append((front, ledger.log.tree.size - 1))
            with ledger.gate:
                ledger.health.records += 1
            ledger.took(1, 0)
    forget(("recorder.handle", "evidence.eventwriter", "recorder.overflow"))
    return worked


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
    tree = log.tree
    file = ledger.journal.list[-1]
    size = file.size
    before = (tree.size, tree.edge[:], log.stretch_room)
    data = b""
    if tree.size == log.sealed_size:
        data = frames.control([frames.SEED, tree.size, log.seed])
    done = False
    try:
        for at in range(begin, end, LEAF_SIZE):
            leaf = bytes(leaves[at : at + LEAF_SIZE - 1])
            data += frames.leaf_frame(leaves[at + LEAF_SIZE - 1], leaf)
            tree.push(leaf)
            log.stretch_room -= RECORD_ROOM
        done = ledger.append(data)
    finally:
        if not done and file.size == size:
            tree.size, tree.edge, log.stretch_room = before
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


def starved(ledger: "Ledger") -> None:
    """The heap had no room to write the first entry."""
    ledger.starved("write")
    front = ledger.queue[0]
    # The second time it is given up, lest nothing behind it be written ever again.
    if front is ledger.short and type(front) is not list and type(front) is not dict:
        with ledger.gate:
            # In its place, for leaves behind it are salted for theirs.
            ledger.queue[0] = {"dropped": 1, "reason": "memory"}
            ledger.held -= len(front if type(front) is bytes else front[0])
            ledger.health.records -= 1
            ledger.health.dropped += 1
        if type(front) is tuple:
            ledger.handles -= 1
            front[1].lose("memory")
    ledger.short = front


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
