# The `gap` event of what a full journal gave up.  Loaded where there is one to be recorded.

from tallystick.evidence.eventwriter import encode_event
from tallystick.recorder.giving import KINDS, mark_told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger


def tell(ledger: "Ledger") -> bool:
    """Record what was given up, before all that waits to be written; False when it cannot be."""
    log = ledger.log
    first, to = log.untold[:2]
    counts = log.untold[2:]
    details: "dict[str, Any]" = {"dropped": sum(counts), "reason": "full"}
    details["first"] = first
    details["to"] = to
    for kind, count in enumerate(counts):
        if count:
            details[KINDS[kind]] = count
    record = encode_event(ledger.clock.uptime_ms(), "gap", details)
    with ledger.lock:
        with ledger.gate:
            # Those are salted for the places that they will have.
            if ledger.leaves:
                return False
            ledger.queue.insert(0, record)
            ledger.held += len(record)
            ledger.health.records += 1
        ledger.write()
        with ledger.gate:
            if ledger.queue and ledger.queue[0] is record:
                ledger.queue.pop(0)
                ledger.held -= len(record)
                ledger.health.records -= 1
                return False
        mark_told(log, details)
    return True
