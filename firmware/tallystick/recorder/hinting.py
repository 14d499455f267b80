# A gateway's time, for a clock that nobody has set (docs/protocol.md, section 3.4): a claim like
# any other, which orders nothing.  Loaded when such a device verifies a receipt.

from tallystick.recorder import clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.uplink import Uplink

MS_PER_S = 1000


def _drift(passed_ms: int) -> int:
    return passed_ms * clock.DRIFT_PPM // 1000000 + 1


def heard(ledger: "Ledger", uplink: "Uplink", time_ms: int, sealed_ms: int) -> None:
    """A verified receipt dated `time_ms`, over what was sealed at uptime `sealed_ms`."""
    own = ledger.clock
    now_ms = own.uptime_ms()
    if clock.machine_s() is not None:
        # Somebody has set the clock meanwhile, whose word counts from now on.
        own.hint = None
        return
    if time_ms < clock.WALL_S_MIN * MS_PER_S:
        return
    # The gateway looked at its clock after that was sealed, and before now.
    least, most = time_ms - now_ms, time_ms - sealed_ms + _drift(now_ms - sealed_ms)
    known = own.hint
    if known is not None:
        drift_ms = _drift(now_ms - known[2])
        both = max(least, known[0] - drift_ms), min(most, known[1] + drift_ms)
        if both[0] <= both[1]:
            least, most = both
        # Else two receipts contradict each other: the newest counts, and the step is an event at
        # the next checkpoint, as every step of a clock.
    own.hint = least, most, now_ms
    wall_ms, _ = own.wall()
    if known is None:
        ledger.event("clock", {"before_ms": None, "after_ms": wall_ms, "source": "gateway"})
    if uplink.undated is not None:
        first_s, last_s = uplink.undated
        uplink.undated = None
        if not first_s * MS_PER_S <= wall_ms <= last_s * MS_PER_S:
            ledger.fault("uplink", "tls-dates")
