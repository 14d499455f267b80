# The flash lost what was written and not synced.  Loaded when that may be so.
#
# After a write or a sync that failed, LittleFS and POSIX drop what they could not write, and the
# next sync of the same file succeeds.  So the journal is opened again, as after a power cut, and
# the log goes back to what the flash has.  Nothing that is gone was signed or sent: that waits for
# a sync.

from tallystick.evidence.kinds import EVENT
from tallystick.recorder.core import Log
from tallystick.recorder.files import MICROPYTHON, Loaded, forget
from tallystick.recorder.journal import Journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

RETRY_MS = 1000
# Kind and uptime stand before it.
EVENT_NAME_END = 16
# Loaded one after the other, as at boot: a microcontroller has not room for all of them.
READ = (
    "recorder.replay",
    "recorder.filing",
    "recorder.walking",
    "evidence._cborreader",
    "evidence._text",
)
BEGUN = ("recorder.newkey", "recorder.epochs", "recorder.filing", "evidence.eventwriter")


def step(tally: "Recorder", now_ms: int) -> bool:
    """Open the journal again; False while that cannot be."""
    ledger = tally._ledger
    journal = ledger.journal
    if now_ms < journal.retry_ms or _is_read(tally):
        return False
    # Also where it can be read, and the next write fails.
    journal.retry_ms = now_ms + RETRY_MS
    try:
        with ledger.lock:
            _reopen(tally, journal, ledger)
    except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
        journal.doubt = True
        ledger.fault("flash", "sync", error)
        return False
    if tally._sender is not None:
        custody = ledger.log.custody
        tally._sender.rewind(custody[0] if custody else 0)
    forget(("recorder.losing",))
    return True


def _is_read(tally: "Recorder") -> bool:
    # What is under way reads files, or holds the log that was.
    link, downlink = tally._link, tally._downlink
    if downlink is not None and downlink.reading:
        return True
    return link is not None and bool(link.uplink.busy)


def _reopen(tally: "Recorder", journal: Journal, ledger: "Ledger") -> None:
    for open_one in (journal.work, journal.left, journal.handle):
        try:
            if open_one is not None:
                open_one.close()
        except OSError:
            pass  # it is given up
    journal.work = journal.left = journal.handle = None
    fresh = Journal(journal.files, journal.bytes_max, journal.file_bytes_max)
    # Loaded again by the next step.
    forget(("recorder.advancing",))
    code = Loaded(READ)
    try:
        log = _read(fresh, ledger.device)
    finally:
        code.forget(READ)
    journal.list, journal.used, journal.begun = fresh.list, fresh.used, fresh.begun
    journal.aside, journal.compacting, journal.stuck = 0, fresh.compacting, 0
    journal.rewriting = False
    journal.unnamed = journal.broken = journal.doubt = False
    ledger.flash_after_ms = ledger._sync_after_ms = 0
    if ledger.counting is not None:
        ledger.counting.synced = False
    old = ledger.log
    goes_on = _go_back(ledger, log, fresh.damage)
    if not goes_on or ledger.log.boot < old.boot or "rekeyed" in tally._config:
        code = Loaded(BEGUN)
        try:
            _begin(tally, ledger, old, goes_on, fresh.damage)
        finally:
            code.forget(BEGUN)


def _read(fresh: Journal, device: bytes) -> "Log | None":
    from tallystick.recorder import filing, replay  # noqa: PLC0415  # forgotten again

    log = replay.open_journal(fresh, device)
    if not MICROPYTHON and fresh.list:
        # What can be read may be in memory only, and no other sync would write it.
        filing.cut(fresh.files, fresh.list[-1].name, fresh.list[-1].size)
    return log


def _begin(
    tally: "Recorder",
    ledger: "Ledger",
    old: Log,
    goes_on: bool,  # noqa: FBT001  # of _go_back
    damage: str,
) -> None:
    # Boot, epoch and key, as far as they are not on flash yet.
    from tallystick.recorder import epochs, filing  # noqa: PLC0415  # forgotten again

    log = ledger.log
    if log.boot < old.boot:
        log.boot = old.boot - 1
        # Its count, and its event unless that waits still.
        if not _waits(ledger, b"\x64boot"):
            epochs.boot(ledger, tally._config, {}, again=True)
        elif goes_on:
            ledger.append_control(filing.mark_boot(log))
        else:
            log.boot = old.boot
    if not goes_on:
        # Of a damaged journal the head is known here still.
        known = epochs.head_of(log) or (epochs.head_of(old) if damage else None)
        epochs.begin(ledger, "damaged" if known else "new", known)
    if "rekeyed" in tally._config:
        from tallystick.recorder import newkey  # noqa: PLC0415  # after a rotation only

        newkey.begin(ledger, ledger.forms, tally._config["rekeyed"])  # type: ignore[arg-type]  # its own


def _go_back(ledger: "Ledger", found: "Log | None", damage: str) -> bool:
    # To the log that the flash has; False where its epoch has to be begun again.
    old = ledger.log
    # Where there is none, an empty one that is left at once.
    log = found or Log(ledger.device, old.epoch)
    log.counter, log.fresh = old.counter, old.fresh
    goes_on = found is not None and log.epoch == old.epoch and not damage
    if goes_on:
        lost = max(old.tree.size - log.tree.size, 0)
        # It was verified, whether it is on flash or not.
        log.custody = old.custody
        log.holds = old.holds
    else:
        # Damaged; or not even the begin of the epoch is there, so nobody ever heard of it.
        lost = old.tree.size
        ledger._signing = None
        log.ordinal = log.signed = max(log.ordinal, old.ordinal)
        log.intent, log.credit_ms, log.credited_ms = old.intent, old.credit_ms, old.credited_ms
        log.holds = old.holds
    ledger.log = log
    lost += _unqueue(ledger, log.tree.size)
    ledger._durable = min(ledger._durable, log.ordinal)
    ledger.sendable = min(ledger.sendable, log.signed)
    for ordinal, handle in ledger.waiters:
        if ordinal > log.ordinal:
            handle.lose("flash")
    ledger.waiters = [one for one in ledger.waiters if one[0] <= log.ordinal]
    if log.unsealed:
        ledger.policy.added(ledger.clock.uptime_ms())
    ledger.health.records -= lost
    ledger.health.dropped += lost
    _tell(ledger, lost)
    return goes_on


def _tell(ledger: "Ledger", lost: int) -> None:
    # Gaps may be among what is lost, or wait still: what they told is told with this.
    size = ledger.log.tree.size
    again = []
    for gap, at in ledger.journal.gaps:
        if at >= size:
            # Itself it is counted.
            lost -= 1
            if "first" not in gap:
                lost += gap["dropped"]
            elif gap["first"] < size:
                again.append(gap)
    ledger.journal.gaps = []
    with ledger.gate:
        for entry in ledger.queue:
            if _is_flash(entry):
                lost += entry["dropped"]
        kept = [entry for entry in ledger.queue if not _is_flash(entry)]
        if lost:
            again.append({"dropped": lost, "reason": "flash"})
        ledger.queue = again + kept


def _is_flash(entry: "Any") -> bool:
    return type(entry) is dict and entry["reason"] == "flash"


def _unqueue(ledger: "Ledger", size: int) -> int:
    # Leaves that wait are salted for other places than they would get; how many there are.
    lost = 0
    if ledger.leaves:
        from tallystick.recorder.overflow import leave  # noqa: PLC0415  # rarely

        lost = leave(ledger)
    with ledger.gate:
        ledger.written = size
        ledger.queue = [one for one in ledger.queue if not _is_of(one, size)]
    return lost


def _waits(ledger: "Ledger", name: bytes) -> bool:
    # Whether an event of this name is among what waits to be written.
    for entry in ledger.queue:
        if type(entry) is bytes and entry[1] == EVENT and name in entry[:EVENT_NAME_END]:
            return True
    return False


def _is_of(entry: "Any", size: int) -> bool:
    # A gap that tells of places which the log does not have any more.
    return type(entry) is dict and entry.get("first", -1) >= size
