# A new epoch: at the very first start, after a journal was lost or damaged, and when this journal
# turns out to be older than what the device once sent.

from os import urandom

from tallystick.evidence.eventwriter import encode_event
from tallystick.recorder.core import Log
from tallystick.recorder.filing import begin_file, mark_boot, mark_past

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger

EPOCH_SIZE = 8


def first_log(device: bytes) -> Log:
    """An empty one."""
    return Log(device, urandom(EPOCH_SIZE))


def head_of(log: Log) -> "list[Any] | None":
    """Its newest payload's head, if any."""
    return [log.epoch, log.sealed_size, log.sealed_root] if log.sealed_size else None


def begin(ledger: "Ledger", reason: str, previous: "list[Any] | None") -> None:
    """Leave the log for a new one, whose first record names the head that is known."""
    with ledger.lock:
        old = ledger.log
        journal = ledger.journal
        log = first_log(old.device)
        log.boot = old.boot
        log.fresh = True
        log.ordinal = log.signed = old.ordinal
        log.past = old.past[:]
        log.counter, log.intent = old.counter, old.intent
        log.credit_ms, log.credited_ms = old.credit_ms, old.credited_ms
        log.keys = old.keys
        log.holds = old.holds
        if old.tree.size:
            mark_past(log, old.epoch)
        if previous and previous[0] not in log.past:
            mark_past(log, previous[0])
        lost = old.tree.size - (old.custody[0] if old.custody else 0)
        journal.sync(ledger.lock)
        begin_file(journal, log)
        ledger.log = log
        ledger.written = 0
        waiting = [handle for _, handle in ledger.waiters]
        ledger.waiters.clear()
        if ledger.leaves:
            from tallystick.recorder.overflow import leave  # noqa: PLC0415  # rarely

            lost += leave(ledger)
        if lost:
            ledger.health.dropped += lost
            first(ledger, "gap", {"dropped": lost, "reason": "epoch"})
        first(ledger, "epoch", {"previous": previous, "reason": reason})
    for handle in waiting:
        handle.lose("frozen-epoch")


def first(ledger: "Ledger", name: str, details: "dict[str, Any]") -> None:
    # Before what waits to be written, and not while another thread writes that.
    with ledger.lock, ledger.gate:
        ledger.queue.insert(0, encode_event(ledger.clock.uptime_ms(), name, details))
        ledger.held += len(ledger.queue[0])
        ledger.health.records += 1


def boot(
    ledger: "Ledger",
    config: "dict[str, Any]",
    details: "dict[str, Any]",
    again: bool = False,  # noqa: FBT001, FBT002  # before what waits to be written
) -> None:
    """Count the boot and record it, in a log that begins anew once more, without `details`."""
    frame = mark_boot(ledger.log)
    if ledger.journal.list:  # else the first file's header will say it
        ledger.append_control(frame)
    details["boot"] = ledger.log.boot
    details["config"] = config["digest"]
    details["firmware"], details["cause"] = config["firmware"]
    (first if again else ledger.__class__.event)(ledger, "boot", details)
