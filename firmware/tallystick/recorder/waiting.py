# flush() and close().  Loaded when first used.

import time

from tallystick.recorder.buffer import LEAVES_MAX
from tallystick.recorder.files import MICROPYTHON, forget
from tallystick.recorder.handle import STEP_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

NEVER_MS = 1 << 62


def flush(tally: "Recorder") -> bool:
    """See Recorder.flush."""
    forget(("recorder.waiting",))
    ledger = tally._ledger
    end = ledger.clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while tally.accepts:
        tally.step()
    if ledger.unrecorded:
        tally.step_ledger()
    while not ledger.settled():
        if tally.step_ledger():
            continue
        log = ledger.log
        if log.unsealed and not log.pending and ledger.seal():
            continue
        if ledger.clock.uptime_ms() >= end:
            return False
        time.sleep(STEP_S)
    if not MICROPYTHON:
        tally.wake()
    return True


def close(tally: "Recorder") -> None:
    """See Recorder.close."""
    if not MICROPYTHON:
        tally.stop()
    flush(tally)
    ledger = tally._ledger
    from tallystick.recorder.filing import close as close_journal  # noqa: PLC0415  # costs heap

    _last(ledger, "flash", close_journal, ledger.journal, ledger.lock)
    forget(("recorder.filing",))
    # Another program may have the journal now: what comes late is counted as dropped.
    ledger.flash_after_ms = NEVER_MS
    _end(ledger)
    _last(ledger, "flash", ledger.journal.files.unlock)
    if tally._link is not None:
        _last(ledger, "uplink", tally._link.uplink.close)
    _last(ledger, "key", ledger.signer.close)


def _end(ledger: "Ledger") -> None:
    # What still waits is lost, and what comes is refused.
    with ledger.gate:
        ledger.health.dropped += ledger.queued()
        ledger.health.records -= ledger.queued()
        ledger.queue = []
        ledger.over = True
        ledger.leaves = LEAVES_MAX


def _last(ledger: "Ledger", part: str, function: "Callable[..., None]", *args: "Any") -> None:
    # Each is given back, whatever the one before it raises; there is no journal for it any more.
    try:
        function(*args)
    except Exception as error:  # noqa: BLE001  # a driver's
        ledger.fault(part, "close", error)
