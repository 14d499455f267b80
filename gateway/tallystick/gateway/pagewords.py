"""How the page writes names, counts and times in its sentences. Pure."""

import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from tallystick.gateway import pagelimits
from tallystick.gateway.pagestate import Device, Named

DAY_MS = 86_400_000
NAMED_MAX = 3
_ERRNO = re.compile(r"\[Errno -?[0-9]+\] ")
# Stands for what is no letter, mark, digit, sign or blank: a control, or what turns the direction.
_HIDDEN = "\N{REPLACEMENT CHARACTER}"


def shown(text: str, most: int) -> str:
    """Others' words as one line of at most `most` characters, with nothing that acts unseen."""
    kept = "".join(sign if sign.isprintable() else _HIDDEN for sign in text[: most + 1])
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def quoted(text: str) -> str:
    """What somebody else said, in a sentence of ours; the number of an error tells nobody more."""
    return shown(_ERRNO.sub("", text), pagelimits.QUOTED_CHARS_MAX)


def named(devices: Sequence[Device]) -> str:
    """The first of them, and how many more."""
    names = [name(one) for one in devices[:NAMED_MAX]]
    more = len(devices) - len(names)
    if more:
        return f"Devices {', '.join(names)} and {more:,} more"
    return ("Device " if len(names) == 1 else "Devices ") + ", ".join(names)


def its(devices: Sequence[Device]) -> str:
    """Whose."""
    return "its" if len(devices) == 1 else "their"


def about(devices: Sequence[Device]) -> list[Named]:
    """Links to the first of them."""
    return [Named(one.id, name(one)) for one in devices[: pagelimits.ABOUT_MAX]]


def name(one: Device) -> str:
    """What a device is called."""
    return one.tag or f"{one.id[:8]}…"


def least(times: Iterable[int | None]) -> int | None:
    """The earliest of those that are known."""
    return min((time_ms for time_ms in times if time_ms is not None), default=None)


def count(number: int, what: str) -> str:
    """1 segment, 2 segments."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def size(number: int) -> str:
    """In the unit that says it in few digits."""
    for unit, what in ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")):
        if number >= unit:
            return f"{number / unit:.1f} {what}"
    return f"{number / 1024:.1f} KiB"


def day(time_ms: int) -> str:
    """As 2026-05-03, in UTC."""
    return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d")


def span(ms: float) -> str:
    """In the unit that says it in few digits."""
    for unit, what in ((DAY_MS, "days"), (3_600_000, "hours"), (60_000, "minutes")):
        if ms >= 2 * unit:
            return f"{ms / unit:.0f} {what}"
    return f"{ms / 1000:.0f} s"
