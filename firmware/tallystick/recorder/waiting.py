# flush() and close().  Loaded when first used.

from tallystick.recorder.buffer import LEAVES_MAX
from tallystick.recorder.driving import run
from tallystick.recorder.files import MICROPYTHON, forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

NEVER_MS = 1 << 62


def flush(tally: "Recorder") -> bool:
    """See Recorder.flush."""
    forget(("recorder.waiting", "recorder.driving"))
    return run(flushing(tally))


def flushing(tally: "Recorder") -> "Generator[bool, None, bool]":
    """Steps until all that is recorded by now is signed; yields whether to go on at once.

    Its value is whether it is so: not where flash or key are late.
    """
    ledger = tally._ledger
    if ledger.flash_after_ms == NEVER_MS:
        return not ledger.dropped
    end = ledger.clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while tally.accepts:
        yield tally.step()
    if ledger.unrecorded:
        yield tally.step_ledger()
    if ledger.over or ledger.dropped:
        from tallystick.recorder.overflow import end_gap  # noqa: PLC0415  # rarely

        end_gap(ledger)
    log = None
    while True:
        if log is not ledger.log:
            # At the begin, and where the log was left for another one meanwhile.
            log = ledger.log
            with ledger.gate:
                size = ledger.written + ledger.queued()
            ordinal = 0
        if not ordinal and log.sealed_size >= size:
            ordinal = log.ordinal
        if ordinal and ledger.sendable >= ordinal:
            break
        worked = tally.step_ledger()
        # Others may record meanwhile, and something may not be written for long.
        written = not worked or log.tree.size >= size
        if written and not ordinal and log.unsealed and not log.pending:
            worked = bool(ledger.seal()) or worked
        if not worked and ledger.clock.uptime_ms() >= end:
            return False
        yield worked
    if not MICROPYTHON:
        tally.wake()
    return True


def close(tally: "Recorder") -> None:
    """See Recorder.close."""
    if not MICROPYTHON:
        tally.stop()
    ledger = tally._ledger
    if ledger.flash_after_ms == NEVER_MS:
        return
    if flush(tally) and not ledger.settled():
        # What came last: that there was no room for something.
        flush(tally)
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
