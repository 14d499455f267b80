# The calls that wait for a signature, or may: claim(), accept(), urgent decisions, close().  Loaded
# when first used.

import time

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.steps import finish
from tallystick.recorder.filing import close as close_journal
from tallystick.recorder.handle import Handle, add_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.evidence.half import VerifiedHalf
    from tallystick.recorder.claims import Claims
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

ACCEPTS_MAX = 16
NEVER_MS = 1 << 62
STEP_S = 0.001
# What a claim says beside the fields of its profile.
WORDS = ("task", "interaction", "relied", "constraints", "interval")


def add_urgent(tally: "Recorder", record: bytes) -> None:
    """Durable and signed when this returns, or health says why not."""
    handle = Handle()
    add_sealed(tally._ledger, record, handle)
    wait_for(tally, handle)


def claim(
    tally: "Recorder",
    profile: str,
    role: str,
    name: str,
    peers: "dict[str, Any]",
    wait: bool,  # noqa: FBT001  # a word of the interface
    fields: "dict[str, Any]",
) -> "Any":
    """See Recorder.claim."""
    task, interaction, relied, constraints, interval = [fields.pop(word, None) for word in WORDS]
    if (task is None) == (interaction is None):
        raise Malformed("bad-value", "a claim needs a task, or an interaction of 16 bytes")
    handle = _claims(tally).claim(
        profile,
        task if task is not None else interaction,
        role,
        name,
        peers,
        list(relied or ()),
        constraints or {},
        interval,
        fields,
    )
    if not wait:
        tally.wake()
        return handle
    return handle.result() if wait_for(tally, handle) else b""


def accept(tally: "Recorder", half: bytes, wait: bool) -> "Any":  # noqa: FBT001  # as claim
    """See Recorder.accept."""
    handle = Handle()
    work = _claims(tally).accepting(half, handle)
    if not wait:
        if len(tally.accepts) >= ACCEPTS_MAX:
            raise TallyError("over-quota", "too many halves wait: poll() first")
        tally.accepts.append(work)
        tally.wake()
        return handle
    verified: "VerifiedHalf | None" = finish(work)
    if verified is None:
        raise handle.error or TallyError("bad-half", "the half was not accepted")
    # `verified.kept` says whether this came in time.
    wait_for(tally, handle)
    return verified


def _claims(tally: "Recorder") -> "Claims":
    if tally.claims is None:
        from tallystick.recorder.claims import Claims  # noqa: PLC0415  # costs heap

        config = tally._config
        tally.claims = Claims(
            tally._ledger,
            config["namespace"],
            config["profiles"],
            tally._credential,
            config["roots"],
        )
    return tally.claims


def wait_for(tally: "Recorder", handle: Handle) -> bool:
    """Until the handle is ready, at most `wait_s`; whether it has a result."""
    # A dead key must not hold a robot for ever: then health tells, and the record stays.
    clock = tally._ledger.clock
    end = clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while not handle.ready:
        if not tally.step_ledger() and not handle.ready:
            if clock.uptime_ms() >= end:
                tally._ledger.fault("key", "late")
                return False
            time.sleep(STEP_S)
    tally.wake()
    return handle.kept


def flush(tally: "Recorder") -> bool:
    """See Recorder.flush."""
    ledger = tally._ledger
    end = ledger.clock.uptime_ms() + int(tally._config["wait_s"] * 1000)
    while tally.accepts:
        tally.step()
    if ledger.unrecorded:
        tally.step_ledger()
    while not ledger.settled():
        if ledger.log.unsealed and not ledger.log.pending:
            ledger.seal()
        if not tally.step_ledger():
            if ledger.clock.uptime_ms() >= end:
                return False
            time.sleep(STEP_S)
    tally.wake()
    return True


def close(tally: "Recorder") -> None:
    """See Recorder.close."""
    tally.stop()
    flush(tally)
    ledger = tally._ledger
    _last(ledger, "flash", close_journal, ledger.journal, ledger.lock)
    # Another program may have the journal now: what comes late is counted as dropped.
    ledger.flash_after_ms = NEVER_MS
    _last(ledger, "flash", ledger.journal.files.unlock)
    if tally._link is not None:
        _last(ledger, "uplink", tally._link.uplink.close)
    _last(ledger, "key", ledger.signer.close)


def _last(ledger: "Ledger", part: str, function: "Callable[..., None]", *args: "Any") -> None:
    # Each is given back, whatever the one before it raises; there is no journal for it any more.
    try:
        function(*args)
    except Exception as error:  # noqa: BLE001  # a driver's
        ledger.fault(part, "close", error)
