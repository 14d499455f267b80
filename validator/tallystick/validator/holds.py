"""Legal holds: bodies that must be kept, whatever retention says and whoever asks."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.keys import b64u, device_text
from tallystick.validator import answers, schema
from tallystick.validator.limits import HOLDS_MAX
from tallystick.validator.problem import Problem


@dataclass(frozen=True)
class Held:
    """What is on hold, as one snapshot has it."""

    fleets: frozenset[str]
    devices: frozenset[bytes]
    namespaces: frozenset[str]
    interactions: frozenset[tuple[str, bytes]]

    @property
    def claims(self) -> bool:
        """Whether any hold is on what was claimed, not on who made it."""
        return bool(self.namespaces or self.interactions)

    def of(self, device: bytes, iss: str | None) -> bool:
        """Whether all that a device made is on hold."""
        return device in self.devices or iss in self.fleets

    def about(self, namespace: str, interaction: bytes) -> bool:
        """Whether what was claimed in an interaction is on hold."""
        return namespace in self.namespaces or (namespace, interaction) in self.interactions


def held(connection: Connection) -> Held:
    """Every hold."""
    rows = list(connection.execute(sa.select(schema.holds)))
    return Held(
        frozenset(row.fleet for row in rows if row.fleet is not None),
        frozenset(row.device for row in rows if row.device is not None),
        frozenset(row.namespace for row in rows if row.namespace and row.interaction is None),
        frozenset((row.namespace, row.interaction) for row in rows if row.interaction is not None),
    )


def put(connection: Connection, name: str, row: dict[str, Any]) -> None:
    """Put a hold, or leave the same one as it is; Problem where the name is another one's."""
    table = schema.holds
    known = connection.execute(sa.select(table).where(table.c.name == name)).one_or_none()
    what = ("fleet", "device", "namespace", "interaction")
    if known is not None:
        if any(getattr(known, column) != row[column] for column in what):
            raise Problem("already-enrolled", f"hold {name!r} is on something else", status=409)
        return
    count: int = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    if count >= HOLDS_MAX:
        raise Problem("over-quota", f"there are {HOLDS_MAX} holds already")
    connection.execute(sa.insert(table), {"name": name, **row})


def lift(connection: Connection, name: str) -> None:
    """End a hold; Problem 404 where there is none of this name."""
    table = schema.holds
    if not connection.execute(sa.delete(table).where(table.c.name == name)).rowcount:
        raise Problem("bad-value", "no such hold is known here", status=404)


def shown(connection: Connection) -> answers.Holds:
    """All of them, by name."""
    rows = connection.execute(sa.select(schema.holds).order_by(schema.holds.c.name))
    return answers.Holds(
        [
            answers.Hold(
                row.name,
                row.fleet,
                None if row.device is None else device_text(row.device),
                row.namespace,
                None if row.interaction is None else b64u(row.interaction),
                row.why,
                row.by,
                row.since_ms,
            )
            for row in rows
        ]
    )
