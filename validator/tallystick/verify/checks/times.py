"""When something happened, as claims say it: intervals, uncertainty (sections 5.3 and 5.4)."""

from __future__ import annotations

from typing import Any

from tallystick.verify.view import Value

INTERVAL = "interval"

Moments = tuple[int, int]


def moments(value: Value) -> Moments | None:
    """The earliest and the latest possible moment in ms, uncertainty counted; None without any."""
    interval = value.claim.interval
    if interval is None:
        return None
    begin_ms, end_ms, uncertainty_ms = interval
    return begin_ms - uncertainty_ms, end_ms + uncertainty_ms


def shown(*values: Value) -> list[tuple[bytes, str, Any]]:
    """The intervals of these claims, as a result shows them."""
    return [(one.known.reference, INTERVAL, one.claim.interval) for one in values]
