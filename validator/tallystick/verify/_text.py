"""Text from others, made harmless to show."""

from __future__ import annotations

CHARS_MAX = 120


def printable(text: str, chars_max: int = CHARS_MAX) -> str:
    """One line without control or invisible characters: evidence must not drive a terminal."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
    return shown if len(shown) <= chars_max else shown[: chars_max - 1] + "…"


def count(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
