"""The ten conditions that an operator must know of, computed from one snapshot. Pure.

Each says what holds, since when, and what to do. The order is that of ORDER: what stops the
taking of records first, what can wait last. docs/operations.md has the same table (tested).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from tallystick.gateway import pageguide
from tallystick.gateway import pagewords as words
from tallystick.gateway.pagestate import Condition, Device, Snapshot

STORE_FULL = "store-full"
DISK_FILLING = "disk-filling"
BROKER_AWAY = "broker-away"
DEVICE_FORKED = "device-forked"
QUARANTINE = "quarantine-not-empty"
VALIDATOR_REFUSING = "validator-refusing"
CLOCK_OFF = "clock-off"
EXPIRING = "expiring"
VALIDATOR_LAGGING = "validator-lagging"
DEVICE_SILENT = "device-silent"
# A stepped clock is told until it is this long ago, for it spoils what was signed meanwhile.
STEP_TOLD_MS = 3_600_000
# The gateway's own clock is the likelier cause when so many devices say so, and most of them.
OWN_CLOCK_DEVICES_MIN = 3


@dataclass(frozen=True)
class Thresholds:
    """When a condition holds; settings of the [page] table."""

    broker_away_s: float = 10.0
    lag_s: float = 300.0
    silent_intervals: float = 3.0
    clock_off_s: float = 60.0
    expiring_days: float = 30.0


def holding(now: Snapshot, limit: Thresholds) -> list[Condition]:
    """Those of the ten that hold, in their order."""
    found = (ORDER[name](now, limit) for name in ORDER)
    return [
        replace(one, costs=pageguide.BY_NAME[one.name].costs) for one in found if one is not None
    ]


def beside(now: Snapshot) -> list[str]:
    """What is not well and none of the ten: a key that does not answer, a file not in force."""
    found = []
    if now.process.key_error:
        found.append(
            f"This gateway's key does not answer ({words.quoted(now.process.key_error)}), so no "
            "receipt is signed: robots free nothing. See that its chip or token is plugged in and "
            "unlocked; `tally gateway check` tries it."
        )
    if now.process.config_error:
        found.append(
            "The newest configuration file is not in force "
            f"({words.quoted(now.process.config_error)}). The one before it is: correct the "
            "file, then `systemctl reload tally-gateway`."
        )
    return found


def sentence(now: Snapshot, found: Sequence[Condition]) -> str:
    """One sentence: all is well, or what holds."""
    if not found and now.process.key_error:
        return "This gateway's key does not answer, so no receipt is signed."
    if not found and now.process.config_error:
        return "The newest configuration file is not in force; else all is well."
    if not found:
        waits = max((one.lag + one.held for one in now.validators), default=0)
        devices, validators = len(now.devices), len(now.validators)
        told = f"{words.count(devices, 'device')} and {words.count(validators, 'validator')}"
        return f"All is well: {told}, {words.count(waits, 'segment')} on the way."
    first = found[0].sentence
    if len(found) == 1:
        return first
    others = ", ".join(one.name.replace("-", " ") for one in found[1:])
    return f"{first.rstrip('.')}; also {others}."


# --- one each -----------------------------------------------------------------------------------


def _store_full(now: Snapshot, _limit: Thresholds) -> Condition | None:
    if now.process.store_error:
        return Condition(
            name=STORE_FULL,
            grave=True,
            sentence=f"The store fails ({words.quoted(now.process.store_error)}), so nothing is "
            "taken.",
            since_ms=now.process.store_error_since_ms,
            what_to_do="Make room on the disk, or repair it (`tally doctor` says which). The "
            "gateway goes on by itself.",
        )
    if now.disk.level not in {"stopped", "full"}:
        return None
    return Condition(
        name=STORE_FULL,
        grave=True,
        sentence=f"The store is full ({now.disk.percent():.0f} % of {_room(now)}), so nothing is "
        "taken.",
        since_ms=now.disk.since_ms,
        what_to_do=f"{_more_room(now)}, or let validators catch up so that what they have may "
        "go. Nothing that was not delivered is ever removed.",
    )


def _disk_filling(now: Snapshot, _limit: Thresholds) -> Condition | None:
    if now.disk.level != "warning" or now.process.store_error:
        return None
    return Condition(
        name=DISK_FILLING,
        grave=False,
        sentence=f"The store fills its room: {now.disk.percent():.0f} % is used of {_room(now)}.",
        since_ms=now.disk.since_ms,
        what_to_do=f"{_more_room(now)}, or let validators catch up so that what they have may go.",
    )


def _broker_away(now: Snapshot, limit: Thresholds) -> Condition | None:
    process = now.process
    away_ms = now.time_ms - process.connected_since_ms
    if process.connected or away_ms < limit.broker_away_s * 1000:
        return None
    why = f": {words.quoted(process.broker_error)}" if process.broker_error else ""
    return Condition(
        name=BROKER_AWAY,
        grave=True,
        sentence=f"The broker {process.broker} is away{why}.",
        since_ms=process.connected_since_ms,
        what_to_do="Start the broker, or correct [broker]; `tally gateway check` says what it "
        "answers.",
    )


def _device_forked(now: Snapshot, _limit: Thresholds) -> Condition | None:
    # Of a key that is revoked everybody knows; then nothing is left to do.
    found = [one for one in now.devices if one.suspect is not None and one.status == "active"]
    if not found:
        return None
    return Condition(
        name=DEVICE_FORKED,
        grave=True,
        sentence=f"{words.named(found)} contradicted {words.its(found)} own log: forked, or put "
        "back.",
        since_ms=words.least(one.suspect_ms for one in found),
        what_to_do="Look at the device before anything else: was an image put back, or a key "
        "copied? If the key is out, `tally fleet revoke --reason compromised`.",
        devices=words.about(found),
    )


def _quarantine(now: Snapshot, _limit: Thresholds) -> Condition | None:
    found = [one for one in now.quarantine if one.count > one.settled]
    if not found:
        return None
    count = sum(one.count - one.settled for one in found)
    most = max(found, key=lambda one: one.count - one.settled)
    verb = "was" if count == 1 else "were"
    mostly = ", most" if len(found) > 1 else ""
    return Condition(
        name=QUARANTINE,
        grave=False,
        sentence=f"{words.count(count, 'segment')} {verb} set aside{mostly} by {most.where} "
        f"({most.reason}).",
        since_ms=words.least(one.since_ms for one in found),
        what_to_do="Look at the reasons under `Set aside` and find the cause; then have it tried "
        "again (`tally gateway quarantine`).",
    )


def _validator_refusing(now: Snapshot, _limit: Thresholds) -> Condition | None:
    found = [one for one in now.validators if one.refuses is not None]
    if not found:
        return None
    first = found[0]
    others = f", and {len(found) - 1} more refuse" if len(found) > 1 else ""
    return Condition(
        name=VALIDATOR_REFUSING,
        grave=True,
        sentence=f"Validator {first.name} refuses what is sent: {first.refuses}{others}.",
        since_ms=words.least(one.answered_ms or one.error_ms for one in found),
        what_to_do="Ask its operator: an unknown root, a quota, or a gateway that is not "
        "enrolled there. What waits is sent again by itself.",
    )


def _clock_off(now: Snapshot, limit: Thresholds) -> Condition | None:
    process = now.process
    stepped_at = process.clock_stepped_at_ms
    if stepped_at is not None and now.time_ms - stepped_at < STEP_TOLD_MS:
        ahead = "forward" if process.clock_stepped_ms > 0 else "back"
        return Condition(
            name=CLOCK_OFF,
            grave=False,
            sentence=f"This gateway's clock was set {ahead} by "
            f"{words.span(abs(process.clock_stepped_ms))} while it ran.",
            since_ms=stepped_at,
            what_to_do="Let the machine follow a time server (`chrony`, `systemd-timesyncd`). "
            "Custody receipts carry this clock's time.",
        )
    found = [one for one in now.devices if _off_ms(one, limit) != 0]
    if not found:
        return None
    known = [one for one in now.devices if one.skew is not None]
    same = {_off_ms(one, limit) > 0 for one in found}
    ours = len(found) >= OWN_CLOCK_DEVICES_MIN and 2 * len(found) > len(known) and len(same) == 1
    worst = max(found, key=lambda one: abs(_off_ms(one, limit)))
    off_ms = _off_ms(worst, limit)
    way = "ahead of" if off_ms > 0 else "behind"
    if ours:
        text = f"Most devices' clocks are {way} this gateway's, by up to {words.span(abs(off_ms))}."
        do = "This gateway's own clock is the likelier cause: let it follow a time server."
    else:
        text = f"{words.named(found)}: the clock is {words.span(abs(off_ms))} {way} this gateway's."
        do = "Set the device's clock, or let it follow a time server."
    return Condition(
        name=CLOCK_OFF,
        grave=False,
        sentence=text,
        since_ms=None,
        what_to_do=do,
        devices=words.about(found),
    )


def _expiring(now: Snapshot, limit: Thresholds) -> Condition | None:
    ends_ms = now.time_ms + limit.expiring_days * words.DAY_MS
    found = sorted(
        (one for one in now.expiries if one.until_ms <= ends_ms), key=lambda one: one.until_ms
    )
    if not found:
        return None
    first = found[0]
    ending = {one.device for one in found}
    over = first.until_ms <= now.time_ms
    when = "expired on" if over else "expires on"
    within = f"within {limit.expiring_days:g} days"
    others = f", and {len(found) - 1} more {within}" if len(found) > 1 else ""
    if others and over:
        others = f", and {len(found) - 1} more did or soon will"
    return Condition(
        name=EXPIRING,
        grave=over,
        sentence=f"{first.what} {when} {words.day(first.until_ms)}{others}.",
        since_ms=first.until_ms - (0 if over else round(limit.expiring_days * words.DAY_MS)),
        what_to_do="Renew it: a certificate by another file in its place and a reload, an "
        "enrolment with `tally fleet enroll`.",
        devices=words.about([one for one in now.devices if one.id in ending]),
    )


def _validator_lagging(now: Snapshot, limit: Thresholds) -> Condition | None:
    late_ms = now.time_ms - limit.lag_s * 1000
    found = [
        one
        for one in now.validators
        if one.refuses is None and one.waits_since_ms is not None and one.waits_since_ms <= late_ms
    ]
    if not found:
        return None
    first = max(found, key=lambda one: one.lag + one.held)
    why = f" ({first.error})" if first.error else ""
    others = f"; {len(found) - 1} more lag" if len(found) > 1 else ""
    waiting = words.count(first.lag + first.held, "segment")
    wait = "waits" if first.lag + first.held == 1 else "wait"
    return Condition(
        name=VALIDATOR_LAGGING,
        grave=False,
        sentence=f"Validator {first.name} lags: {waiting} {wait} for it{why}{others}.",
        since_ms=words.least(one.waits_since_ms for one in found),
        what_to_do="See that it runs, and that the line to it is fast enough; the disk must hold "
        "what waits.",
    )


def _device_silent(now: Snapshot, limit: Thresholds) -> Condition | None:
    if not now.process.connected:
        return None  # nobody could be heard
    found = [one for one in now.devices if _due_ms(one, now, limit) < now.time_ms]
    if not found:
        return None
    last = words.least(one.seen_ms for one in found)
    if len(found) == 1 and last is not None:
        past, every = words.span(now.time_ms - last), words.span(found[0].interval_s * 1000)
        text = f"has been silent for {past}, and must report every {every}"
    else:
        text = f"have been silent for over {limit.silent_intervals:g} times as long as they may"
    return Condition(
        name=DEVICE_SILENT,
        grave=False,
        sentence=f"{words.named(found)} {text}.",
        since_ms=last,
        what_to_do="Look at its power, then its link, then `tally.health` on the device. Revoke "
        "one that is out of service (`tally fleet revoke --reason retired`).",
        devices=words.about(found),
    )


ORDER: dict[str, Callable[[Snapshot, Thresholds], Condition | None]] = {
    STORE_FULL: _store_full,
    DISK_FILLING: _disk_filling,
    BROKER_AWAY: _broker_away,
    DEVICE_FORKED: _device_forked,
    QUARANTINE: _quarantine,
    VALIDATOR_REFUSING: _validator_refusing,
    CLOCK_OFF: _clock_off,
    EXPIRING: _expiring,
    VALIDATOR_LAGGING: _validator_lagging,
    DEVICE_SILENT: _device_silent,
}


def trouble(one: Device, now: Snapshot, limit: Thresholds) -> list[str]:
    """What to say of one device, in words; gaps and what is parked are no condition."""
    found = []
    if one.suspect is not None:
        found.append("forked" if one.suspect == "fork" else "put back")
    if now.process.connected and _due_ms(one, now, limit) < now.time_ms:
        found.append("silent")
    if _off_ms(one, limit):
        found.append("clock off")
    if one.valid_until_s * 1000 <= now.time_ms + limit.expiring_days * words.DAY_MS:
        found.append("expiring")
    if one.status != "active":
        found.append(one.status)
    return found


def _room(now: Snapshot) -> str:
    return words.size(now.disk.allowed_bytes)


def _more_room(now: Snapshot) -> str:
    if now.disk.bound == "disk":
        return "Make room on the disk, or take a larger one"
    return "Raise `store_bytes_max`, if the disk has the room"


def _due_ms(one: Device, now: Snapshot, limit: Thresholds) -> float:
    """When a device is silent for too long; counted from when it could be heard again."""
    if one.seen_ms is None or one.interval_s == 0 or one.status != "active":
        return now.time_ms
    heard_ms = max(one.seen_ms, now.process.connected_since_ms)
    return heard_ms + one.interval_s * 1000 * limit.silent_intervals


def _off_ms(one: Device, limit: Thresholds) -> int:
    """How far a clock is off for certain; 0 within the bound, and where it may be late delivery."""
    skew = one.skew
    if skew is None or one.status != "active":
        return 0
    off_ms = abs(skew.offset_ms) - skew.uncertainty_ms
    if off_ms <= limit.clock_off_s * 1000 or (skew.offset_ms < 0 and not skew.steady):
        return 0
    return off_ms if skew.offset_ms > 0 else -off_ms
