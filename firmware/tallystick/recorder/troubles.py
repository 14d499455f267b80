# What goes wrong with flash, key, uplink and clock: counted in `health`, recorded as soon as the
# flash takes it, and never raised.  Loaded when there is trouble.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.health import one_more, reason_of
from tallystick.recorder.journal import Full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger

RETRY_MS = 1000
KEY_RETRY_MS_MAX = 60000
# Of one kind of fault, however often it comes and goes.
FAULT_EVENT_MS_MIN = 60000
FAULT_KINDS_MAX = 16
CLOCK_EVENT_MS_MIN = 10000
# As ledger.py begins with the first one.
SPACE_PERCENTS = (80, 95)
NEVER = 1 << 30
OTHERS = "others"


def _said(error: Exception) -> str:
    # What a foreign driver says may hold anything, so only its name is told.
    known = isinstance(error, (TallyError, OSError))
    return str(error) if known else error.__class__.__name__


def fault(ledger: "Ledger", part: str, reason: str, error: Exception | None = None) -> None:
    """Count it, and note it when it begins; one that goes on is one fault."""
    name = part + ":" + reason
    one_more(ledger.health.faults, name)
    ledger.health.last_fault = name if error is None else "%s (%s)" % (name, _said(error))
    with ledger.gate:
        told = ledger.fault_events
        if name not in told and len(told) >= FAULT_KINDS_MAX:
            # Reasons are a driver's words, so their number is bounded here too.
            reason = OTHERS
            name = part + ":" + reason
        if name in ledger.failing:
            return
        ledger.failing.append(name)
        now = ledger.clock.uptime_ms()
        if name not in told or now - told[name] >= FAULT_EVENT_MS_MIN:
            told[name] = now
            ledger.unrecorded.append((part, reason))


def record(ledger: "Ledger") -> bool:
    """Record the faults that were noted; False when there is no room for them now."""
    while ledger.unrecorded:
        if ledger.held > ledger.held_max:
            return False
        part, reason = ledger.unrecorded[0]
        ledger.event("fault", {"part": part, "reason": reason})
        ledger.unrecorded.pop(0)
    return True


def not_appended(ledger: "Ledger", error: Exception) -> None:
    """The journal is full, or the flash failed."""
    if not isinstance(error, Full):
        flash_failed(ledger, "write", error)
    elif ledger.health.flash_ok:
        ledger.health.flash_ok = False
        fault(ledger, "journal", "full")


def flash_failed(ledger: "Ledger", what: str, error: Exception) -> None:
    """Not tried again for a moment, so that a control loop does not wait for it each time."""
    ledger.health.flash_ok = False
    ledger.flash_after_ms = ledger.clock.uptime_ms() + RETRY_MS
    fault(ledger, "flash", what, error)


def sync_failed(ledger: "Ledger", now_ms: int, error: Exception) -> int:
    """When to try again; until then nothing is signed or sent, and recording goes on."""
    ledger.health.flash_ok = False
    fault(ledger, "flash", "sync", error)
    return now_ms + RETRY_MS


def key_failed(ledger: "Ledger", now_ms: int, error: Exception) -> bool:
    """The key did not sign: again later, and later each time."""
    ledger.health.key_ok = False
    ledger.key_after_ms = now_ms + ledger.key_retry_ms
    ledger.key_retry_ms = min(2 * ledger.key_retry_ms, KEY_RETRY_MS_MAX)
    reason = reason_of(error)
    if reason == "busy":
        # Left in the middle of a signature: it is finished, and thrown away.
        try:
            if ledger.signer.poll():
                ledger.signer.signature()
                ledger.key_after_ms = now_ms + RETRY_MS
        except Exception:  # noqa: BLE001, S110  # a driver may raise anything; it is tried again
            pass
    fault(ledger, "key", reason, error)
    return False


def space_changed(ledger: "Ledger", percent: int) -> None:
    """The journal reached a share that is told, or has room again; each checkpoint asks anew."""
    if not _may_tell(ledger, "space", FAULT_EVENT_MS_MIN):
        return
    journal = ledger.journal
    steps = [step for step in SPACE_PERCENTS if percent >= step]
    details = {
        "state": "low" if steps else "relieved",
        "percent": min(percent, 100),
        "used_bytes": journal.used,
        "limit_bytes": journal.limit,
    }
    ledger.space_percent = (SPACE_PERCENTS + (NEVER,))[len(steps)]
    ledger.event("space", details)


def _may_tell(ledger: "Ledger", name: str, ms_min: int) -> bool:
    now = ledger.clock.uptime_ms()
    told = ledger.fault_events
    if name in told and now - told[name] < ms_min:
        return False
    told[name] = now
    return True


def clock_stepped(ledger: "Ledger", wall: "tuple[int, int]", offset_ms: int) -> None:
    """Somebody set the wall clock; order never depends on it."""
    if not _may_tell(ledger, "clock", CLOCK_EVENT_MS_MIN):
        # It is seen again at the next checkpoint.
        ledger.wall_offset_ms = offset_ms
        return
    before = offset_ms + ledger.clock.uptime_ms()
    ledger.event("clock", {"before_ms": before, "after_ms": wall[0]})
