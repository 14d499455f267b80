# What goes wrong with flash, key and clock: counted in `health`, recorded where it can be, and
# never raised.  Loaded when there is trouble.

from os import urandom

from tallystick.evidence.errors import TallyError
from tallystick.evidence.event import encode_event
from tallystick.recorder.health import count
from tallystick.recorder.journal import Full

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger

FLASH_RETRY_MS = 1000
KEY_RETRY_MS_MAX = 60000
FAULT_EVENT_MS_MIN = 60000
FAULT_EVENTS_MAX = 16


def fault(ledger: "Ledger", part: str, reason: str, *, event: bool) -> None:
    """Count it, and record it, each kind at most once a minute."""
    name = part + ":" + reason
    count(ledger.health.faults, name)
    ledger.health.last_fault = name
    now = ledger.clock.uptime_ms()
    known = ledger.fault_events.get(name)
    if event and (known is None or now - known >= FAULT_EVENT_MS_MIN):
        if len(ledger.fault_events) >= FAULT_EVENTS_MAX:
            ledger.fault_events.clear()
        ledger.fault_events[name] = now
        ledger.event("fault", {"part": part, "reason": reason})


def drop(ledger: "Ledger", error: Exception | None) -> None:
    """A record could not be kept."""
    if error is not None:
        not_appended(ledger, error)
    ledger.dropped += 1
    ledger.health.dropped += 1


def not_appended(ledger: "Ledger", error: Exception) -> None:
    """The journal is full, or the flash failed."""
    if not isinstance(error, Full):
        flash_failed(ledger, "write", error)
    elif ledger.health.flash_ok:
        ledger.health.flash_ok = False
        fault(ledger, "journal", "full", event=False)


def flash_failed(ledger: "Ledger", what: str, error: Exception) -> None:
    """Not tried again for a moment, so that a control loop does not wait for it each time."""
    ledger.health.flash_ok = False
    ledger.flash_after_ms = ledger.clock.uptime_ms() + FLASH_RETRY_MS
    fault(ledger, "flash", what, event=False)
    ledger.health.last_fault += " (%s)" % error


def sync_failed(ledger: "Ledger", now_ms: int, error: Exception) -> int:
    """When to try again; until then nothing is signed or sent, and recording goes on."""
    ledger.health.flash_ok = False
    fault(ledger, "flash", "sync", event=False)
    ledger.health.last_fault += " (%s)" % error
    return now_ms + FLASH_RETRY_MS


def add_gap(ledger: "Ledger") -> bool:
    """Record how many records were dropped; False while that fails."""
    log = ledger.log
    details = {"dropped": ledger.dropped, "reason": "flash"}
    record = encode_event(ledger.clock.uptime_ms(), "gap", details)
    room = log.stretch_room > 0 or ledger.seal()
    if not room or not ledger.append(log.frame(record, urandom)):
        return False
    log.added(record)
    ledger.dropped = 0
    return True


def key_failed(ledger: "Ledger", now_ms: int, error: Exception) -> bool:
    """The key did not sign: again later, and later each time."""
    ledger.health.key_ok = False
    ledger.key_after_ms = now_ms + ledger.key_retry_ms
    ledger.key_retry_ms = min(2 * ledger.key_retry_ms, KEY_RETRY_MS_MAX)
    reason = getattr(error, "reason", "io")
    if reason == "busy":
        # Left in the middle of a signature: it is finished, and thrown away.
        try:
            if ledger.signer.poll():
                ledger.signer.signature()
        except (TallyError, OSError):
            pass
    fault(ledger, "key", reason, event=True)
    return False


def clock_stepped(ledger: "Ledger", wall: "tuple[int, int]", offset_ms: int) -> None:
    """Somebody set the wall clock; order never depends on it."""
    before = offset_ms + ledger.clock.uptime_ms()
    ledger.event("clock", {"before_ms": before, "after_ms": wall[0]})
