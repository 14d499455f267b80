"""Device holds and segment requests: what the examples, vectors and fuzz targets are made of."""

from collections.abc import Callable
from typing import Any

from support import examples as ex
from tallystick.evidence import devicehold, segmentrequest

DAY_MS = 86_400_000


def hold(serial: int = 3, until_ms: int | None = ex.TIME_MS + 30 * DAY_MS) -> bytes:
    """The gateway holds the giver."""
    made = devicehold.DeviceHold(serial, until_ms, ex.TIME_MS)
    return made.sign(ex.GATEWAY, ex.ACME, ex.GIVER.id)


def request(time_ms: int = ex.TIME_MS) -> bytes:
    """The gateway asks the validator for a part of the giver's log."""
    made = segmentrequest.SegmentRequest(ex.VALIDATOR.id, ex.GATEWAY.id, ex.EPOCH, 3, 7, time_ms)
    return made.sign(ex.GATEWAY, ex.ACME, ex.GIVER.id)


def examples() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    """For examples.everything(): name, rule of the CDDL, bytes, parser."""
    return [
        ("device hold", "device-hold", hold(), devicehold.parse),
        ("device hold, ended", "device-hold", hold(4, None), devicehold.parse),
        ("segment request", "segment-request", request(), segmentrequest.parse),
    ]
