"""Text from others, made harmless to show."""

from __future__ import annotations

from datetime import datetime, timezone

CHARS_MAX = 120


def printable(text: str, chars_max: int = CHARS_MAX) -> str:
    """One line without control or invisible characters: evidence must not drive a terminal."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return shown if len(shown) <= chars_max else shown[: chars_max - 1] + "…"


def count(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


def utc(milliseconds: int) -> str:
    """As people write a time: `2026-11-22T12:00:00.000Z`; the number where no calendar has it."""
    try:
        at = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return str(milliseconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def duration_text(milliseconds: int) -> str:
    """As a profile writes a duration, in the largest unit that divides it: `2 min`, `500 ms`."""
    for unit, length_ms in (("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds and milliseconds % length_ms == 0:
            return f"{milliseconds // length_ms} {unit}"
    return f"{milliseconds} ms"
