"""One device's page: read from the store when it is asked for."""

import sqlite3
from datetime import datetime, timezone

from tallystick.evidence import keycustody
from tallystick.evidence.credential import Identity
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.gateway import pagelimits, pagewords
from tallystick.gateway.pagedevices import Known
from tallystick.gateway.pagestate import Conflict, Device, ForkRow, LogRow, OneDevice, Refused

LISTED = pagelimits.PARTS_MAX


def one_device(
    connection: sqlite3.Connection, device: Device, known: Known, conflicts: list[Conflict]
) -> OneDevice:
    """All that is known of it."""
    return OneDevice(
        device=device,
        details=_details(known),
        keys=[] if known.identity is None else _keys(known.identity),
        logs=_logs(connection, known),
        forks=[
            ForkRow(epoch=epoch.hex(), size=size, time_ms=time_ms)
            for epoch, size, time_ms in connection.execute(
                "SELECT epoch, size, time_ms FROM forks WHERE device = ? ORDER BY time_ms LIMIT ?",
                (known.id, LISTED),
            )
        ],
        refused=[
            Refused(reason=reason, count=count, last_ms=last_ms, message=message)
            for reason, count, last_ms, message in connection.execute(
                "SELECT reason, count, last_ms, message FROM refusals WHERE device = ? "
                "ORDER BY last_ms DESC LIMIT ?",
                (known.id, LISTED),
            )
        ],
        conflicts=[one for one in conflicts if device.id in {who.id for who in one.devices}],
    )


def _details(known: Known) -> dict[str, str]:
    if known.identity is None:
        return {"not accepted": known.why_not}
    given = known.identity.enrolment.details
    most = pagelimits.DETAIL_CHARS_MAX
    return {
        pagewords.shown(name, most): pagewords.shown(str(value), most)
        for name, value in sorted(given.items())
    }


def _keys(identity: Identity) -> list[str]:
    """A sentence a key, oldest first."""
    found = []
    for period in identity.keys:
        counted = keycustody.of_period(identity, period)
        text = f"{period.key.thumbprint().hex()[:16]}, held in {CUSTODIES[counted.level]}"
        why = counted.why()
        begin = datetime.fromtimestamp(period.since_s, tz=timezone.utc)
        text += f", since {begin:%Y-%m-%d}"
        if period.reason is not None:
            text += f", {period.reason}"
        found.append(f"{text} ({why})" if why else text)
    return found


def _logs(connection: sqlite3.Connection, known: Known) -> list[LogRow]:
    parked: dict[bytes, int] = dict(
        connection.execute(
            "SELECT epoch, count(*) FROM parked WHERE device = ? GROUP BY epoch", (known.id,)
        ).fetchall()
    )
    receipted = list(known.receipted.items())
    pieces = list(known.pieces)
    found = []
    for epoch, left_at, since_ms in connection.execute(
        "SELECT epoch, frozen_at, since_ms FROM epochs WHERE device = ? "
        "ORDER BY since_ms DESC LIMIT ?",
        (known.id, LISTED),
    ):
        mine = sorted((one.began, one.size) for one in pieces if one.epoch == epoch)
        found.append(
            LogRow(
                epoch=epoch.hex(),
                size=max((size for _, size in mine), default=0),
                pieces=mine[:LISTED],
                left_at=left_at,
                parked=parked.get(epoch, 0),
                validators={name: size for (name, of), size in receipted if of == epoch},
                since_ms=since_ms,
            )
        )
    return found
