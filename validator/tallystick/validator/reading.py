"""What a scope covers, as the store knows it."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor
from tallystick.validator import schema
from tallystick.validator.access import Scope

Found = Any  # a row of a query


class Reader:
    """What one reads of a party set; whole: its interaction is in the scope."""

    def __init__(self, connection: Connection, scope: Scope, row: Found, *, whole: bool) -> None:
        parties = {device for devices in cbor.decode(row.parties).values() for device in devices}
        mine = {device for device in parties if scope.of(device, fleet_of(connection, device))}
        self.any = whole or bool(mine)
        self._whole = whole or (scope.counterparts and bool(mine))
        self._mine = mine

    def reads(self, device: bytes) -> bool:
        """Whether the claims that this party made."""
        return self._whole or device in self._mine


def reads_record(
    connection: Connection, scope: Scope, device: bytes, epoch: bytes, index: int
) -> bool:
    """Whether a scope covers a record: by its maker, or by the interaction that it is a claim of.

    Where it covers neither, the answer is the same for a record that is not there.
    """
    if scope.everything or scope.of(device, fleet_of(connection, device)):
        return True
    claims, logs, sets = schema.claims, schema.logs, schema.party_sets
    rows = connection.execute(
        sa.select(sets)
        .join(claims, claims.c.party_set == sets.c.party_set)
        .join(logs, logs.c.log == claims.c.log)
        .where(logs.c.device == device, logs.c.epoch == epoch, claims.c.at == index)
    ).all()
    return any(
        Reader(connection, scope, row, whole=scope.about(row.namespace, row.interaction)).reads(
            device
        )
        for row in rows
    )


def seen(connection: Connection, rows: Sequence[Found], scope: Scope, size: int) -> list[Found]:
    """The sets that the log shows (by a verdict, or a closing), and those that a scope covers.

    Before, only bodies say that a set is there: its task, its parties.  size: what is published.
    """
    found = []
    for row in rows:
        shown = [at for at in (row.verdict_entry, row.closing) if at is not None]
        if (
            min(shown, default=size) < size
            or scope.about(row.namespace, row.interaction)
            or any(
                scope.of(device, fleet_of(connection, device))
                for devices in cbor.decode(row.parties).values()
                for device in devices
            )
        ):
            found.append(row)
    return found


def fleet_of(connection: Connection, device: bytes) -> str | None:
    """Who enrolled it, where that is known."""
    table = schema.identities
    iss: str | None = connection.execute(
        sa.select(table.c.iss).where(table.c.id == device)
    ).scalar_one_or_none()
    return iss
