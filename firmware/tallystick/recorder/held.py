# What a gateway's hold changes (docs/protocol.md, 3.6): nothing is freed while one is in force.
# Loaded where the log knows of a hold, and forgotten again.

from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import DEVICE_HOLD
from tallystick.evidence.limits import HOLD_MS_MAX
from tallystick.recorder import freeing, plain
from tallystick.recorder.files import forget
from tallystick.recorder.frames import HOLD, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.recorder.core import Log
    from tallystick.recorder.downlink import Downlink
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder

    Work = Generator[None, None, None]

# The same hold is told again at most so often.
AGAIN_MS = 10000
TOLD = "hold"
# Below which index a hold was broken, in the same place: a log without one needs no room for it.
BROKEN = "broken"


def in_force(log: "Log") -> "list[Any]":
    """[kid, serial, until_ms] of each hold in force."""
    return [one for one in newest(log) if one[2]]


def newest(log: "Log") -> "list[Any]":
    """[kid, serial, until_ms or 0] of each gateway."""
    found = {one[0]: one for one in log.holds}
    return list(found.values())


def mark(log: "Log", kid: bytes, serial: int, until_ms: int) -> None:
    """The newest that is known of one gateway; 0: none of its holds is in force."""
    log.holds = [one for one in newest(log) if one[0] != kid] + [[kid, serial, until_ms]]


def read_hold(data: bytes, config: "dict[str, Any]", device: bytes) -> "Any":
    """A device hold of the usual form, in the least heap; None for any other, as in plain.py."""
    parts, values = plain.values_of(data, config)
    if len(values) != 4:
        return None
    kind, serial, until_ms, time_ms = values
    ends_ms = time_ms + 1 if until_ms is None and type(time_ms) is int else until_ms
    if not plain.are([kind, serial, time_ms, ends_ms], (int, int, int, int)):
        return None
    if kind != DEVICE_HOLD or not 0 < ends_ms - time_ms <= HOLD_MS_MAX:
        return None
    found: "Any" = plain.Plain(device, b"", b"", parts)
    found.serial, found.until_ms, found.time_ms = serial, until_ms, time_ms
    return found


def hold(down: "Downlink", message: bytes) -> "Work":
    """Act on a device hold, in steps."""
    ledger = down._ledger
    found = read_hold(message, down._config, ledger.device)
    if found is None:
        from tallystick.evidence.devicehold import parse  # noqa: PLC0415  # says what is wrong

        found = parse(message)
    kid = found.received().kid
    if found.device != ledger.device:
        raise Unverified("wrong-device", "a hold of another device")
    key = down._gateways.get(kid)
    if key is None:
        raise Unverified("wrong-key", "a hold by a gateway that is not pinned")
    known = [one for one in newest(ledger.log) if one[0] == kid]
    if known and found.serial < known[0][1]:
        raise Unverified("replayed", "a hold that is older than one that is known")
    verifier = found.verifier(key)
    while not verifier.step():
        yield
    custody = ledger.log.custody
    until_ms = found.until_ms or 0
    if until_ms and custody and until_ms <= custody[3]:
        raise Unverified("expired", "a hold that is over")
    now_ms = ledger.clock.uptime_ms()
    if known and found.serial == known[0][1]:
        # What the gateway did not hear of yet.
        until_ms = known[0][2]
        if now_ms - ledger.fault_events.get(TOLD, -AGAIN_MS) < AGAIN_MS:
            return
    elif not note(ledger, kid, found.serial, until_ms):
        raise Malformed("store-full", "a hold that could not be written")
    ledger.fault_events[TOLD] = now_ms
    _tell(ledger, "begun" if until_ms else "ended", [kid, found.serial])
    if custody and not in_force(ledger.log):
        with ledger.lock:
            freeing.release(ledger.journal, ledger.log.epoch, custody[0], down._sender.reading)


def note(ledger: "Ledger", kid: bytes, serial: int, until_ms: int) -> bool:
    """Remember it, on flash; False when that cannot be written now."""
    if not ledger.append_control(control([HOLD, kid, serial, until_ms])):
        return False
    mark(ledger.log, kid, serial, until_ms)
    return True


def _tell(ledger: "Ledger", state: str, one: "list[Any]", to: int = 0) -> None:
    details: "dict[str, Any]" = {"state": state, "gateway": one[0], "serial": one[1]}
    if to:
        details["to"] = to
    ledger.event("hold", details)
    forget(("evidence.eventwriter",))


def keeps(ledger: "Ledger", time_ms: int) -> bool:
    """Whether a hold is in force, now that a gateway's receipt is of this time."""
    kept = False
    for one in in_force(ledger.log):
        if one[2] <= time_ms and note(ledger, one[0], one[1], 0):
            _tell(ledger, "ended", one)
        else:
            kept = True
    return kept


def broke(ledger: "Ledger") -> None:
    """A file of an epoch that was left went from a full journal: say so where that was held."""
    holds = in_force(ledger.log)
    if holds:
        _tell(ledger, "broken", holds[0])


def give_way(tally: "Recorder") -> "Generator[None, None, bool]":
    """The journal is full: free the oldest file that is in custody, and say so; False for none.

    Before anything goes that nobody else has.
    """
    ledger = tally._ledger
    log = ledger.log
    journal = ledger.journal
    known = log.custody[0] if log.custody else 0
    holds = in_force(log)
    if not holds or journal.list[0].epoch != log.epoch or known <= journal.list[0].first:
        return False
    whole = len(journal.list) > 1 and journal.list[1].first <= known
    if whole:
        from tallystick.recorder.swapping import _let_go  # noqa: PLC0415  # forgotten with it

        file = journal.list[0]
        while not _let_go(tally, file.number):
            yield
        with ledger.lock:
            # A receipt may have come meanwhile that ended the hold: then nothing is broken.
            if len(journal.list) < 2 or journal.list[0] is not file or not in_force(log):
                return True
            known = journal.list[1].first
            journal.files.remove(file.name)
            journal.list.pop(0)
            journal.used -= file.size
            sender = tally._sender
            if sender is not None and sender.position[0] <= file.number:
                # It stood in what is gone, and would count on from there.
                sender.rewind(known)
    elif ledger.fault_events.get(BROKEN, -1) >= known:
        return False
    # Of the file that is in custody in part, what is in custody goes with what is not.
    ledger.fault_events[BROKEN] = known
    _tell(ledger, "broken", holds[0], known)
    return whole
