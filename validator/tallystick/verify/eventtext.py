"""A device's own events in words: what it says of itself, as a person reads it.

Whatever comes has been decoded strictly (evidence/eventdetails.py); texts in it are a stranger's.
"""

from __future__ import annotations

from typing import Any

from tallystick.evidence.event import Event
from tallystick.evidence.keys import b64u
from tallystick.verify._text import count, printable, utc

DIGITS_SHOWN = 12
NAME_CHARS_MAX = 64


def told(event: Event) -> str | None:
    """One sentence without a full stop; None for an event of the engineer's."""
    say = _SENTENCES.get(event.event)
    return None if say is None else say(event.details)


def _name(text: str) -> str:
    return printable(text, NAME_CHARS_MAX)


def _digest(value: bytes | None) -> str:
    return "unknown" if value is None else f"{value.hex()[:DIGITS_SHOWN]}…"


def _epoch(details: dict[str, Any]) -> str:
    previous = details["previous"]
    if previous is None:
        return f"a log begins: {_name(details['reason'])}"
    epoch, size, _ = previous
    return (
        f"a log begins: {_name(details['reason'])}; the one before was {b64u(epoch)}"
        f" with {count(size, 'record')}"
    )


def _boot(details: dict[str, Any]) -> str:
    parts = [f"boot {details['boot']}, {_name(details['cause'])}"]
    if "runtime" in details:
        interpreter, version, platform = map(_name, details["runtime"])
        parts.append(f"{interpreter} {version} on {platform}")
    if "key" in details:
        driver, custody = details["key"]
        parts.append(f"key by {_name(driver)}" + (f" ({_name(custody)})" if custody else ""))
    parts.append(f"firmware {_digest(details['firmware'])}")
    parts.append(f"configuration {_digest(details['config'])}")
    return "; ".join(parts)


def _gap(details: dict[str, Any]) -> str:
    kinds = {name: details[name] for name in _KINDS if details.get(name)}
    what = count(details["dropped"], "record") if details["dropped"] else "records"
    were = "was" if details["dropped"] == 1 else "were"
    said = f"{what} {were} not kept: {_name(details['reason'])}"
    if "first" in details:
        until = f" to {details['to'] - 1}" if details.get("to", 0) > details["first"] else ""
        said += f", from index {details['first']}{until}"
    if kinds:
        said += " (" + ", ".join(f"{number} {name}" for name, number in kinds.items()) + ")"
    return said


def _clock(details: dict[str, Any]) -> str:
    before, after = details["before_ms"], details["after_ms"]
    if before is None:
        return f"the clock is not set; a gateway says that it is {utc(after)}"
    seconds = abs(after - before) / 1000
    way = "forward" if after > before else "back"
    return f"the clock was set {way} by {seconds:,.1f} s, to {utc(after)}"


def _counter(details: dict[str, Any]) -> str:
    return f"the hardware counter stands at {details['value']}"


def _key(details: dict[str, Any]) -> str:
    said = f"another key: {b64u(details['thumbprint'])}"
    if "driver" in details:
        said += f", by {_name(details['driver'])}"
    if "custody" in details:
        said += f" ({_name(details['custody'])})"
    return said


def _config(details: dict[str, Any]) -> str:
    said = f"configuration {_digest(details['digest'])}"
    if "previous" in details:
        said += f" in place of {_digest(details['previous'])}"
    more = [name for name in details if name not in ("digest", "previous")]
    return said + (f", with {', '.join(map(_name, more))}" if more else "")


def _uplink(details: dict[str, Any]) -> str:
    return "the uplink is there" if details["state"] == "up" else "the uplink is lost"


def _space(details: dict[str, Any]) -> str:
    used = f"{details['percent']} % of {_bytes(details['limit_bytes'])}"
    if details["state"] == "low":
        return f"the journal fills up: {used}"
    return f"the journal has room again: {used}"


def _bytes(number: int) -> str:
    return f"{number:,} bytes" if number < 10_240 else f"{number // 1024:,} KiB"


def _fault(details: dict[str, Any]) -> str:
    return f"fault {_name(details['part'])}:{_name(details['reason'])}"


def _hold(details: dict[str, Any]) -> str:
    said = f"hold {details['serial']} of gateway key {details['gateway'].hex()}"
    if details["state"] == "broken":
        return f"the journal is full: what is below {details.get('to', 0)} goes in spite of {said}"
    return f"{said} {'is in force' if details['state'] == 'begun' else 'is over'}"


_KINDS = ("decisions", "events", "claims", "accepted")
_SENTENCES = {
    "epoch": _epoch,
    "boot": _boot,
    "gap": _gap,
    "clock": _clock,
    "counter": _counter,
    "key": _key,
    "config": _config,
    "uplink": _uplink,
    "space": _space,
    "fault": _fault,
    "hold": _hold,
}
