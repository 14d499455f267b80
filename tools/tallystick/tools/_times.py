"""Times that people write on the command line."""

from datetime import datetime, timezone

import click

SECONDS_CHARS_MAX = 12


def parse_time_s(text: str) -> int:
    """Seconds since 1970 of ISO 8601 text or of a number; without a zone it is UTC."""
    if text.isascii() and text.isdecimal() and len(text) < SECONDS_CHARS_MAX:
        return int(text)
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        message = f"{text!r}: write it like 2026-11-22T12:00:00Z or as seconds since 1970"
        raise click.UsageError(message) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return int(at.timestamp())
