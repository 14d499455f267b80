"""Interactions as the read interface gives them: party sets in pages, and one interaction whole."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence.keys import b64u, device_text
from tallystick.validator import answers, schema
from tallystick.validator.access import NOTHING, Scope
from tallystick.validator.limits import HIDDEN_PAGES_MAX
from tallystick.validator.queries import missing, published, shown_set
from tallystick.validator.reading import seen

Found = Any  # a row of a query


def interactions(
    connection: Connection,
    scope: Scope,
    state: str | None,
    namespace: str | None,
    after: int,
    limit: int,
) -> answers.Interactions:
    """A page of party sets; of those that the log does not show yet, what the scope covers."""
    table = schema.party_sets
    query = sa.select(table)
    if state is not None:
        query = query.where(table.c.state == state)
    if namespace is not None:
        query = query.where(table.c.namespace == namespace)
    size = published(connection)
    if scope == NOTHING:
        # Not only left out of the page: where the next one begins would tell of them, too.
        query = query.where(sa.or_(table.c.verdict_entry < size, table.c.closing < size))
    visible: list[Found] = []
    for _ in range(HIDDEN_PAGES_MAX):
        rows = connection.execute(
            query.where(table.c.party_set > after).order_by(table.c.party_set).limit(limit + 1)
        ).all()
        visible += seen(connection, rows, scope, size)
        if len(visible) > limit or len(rows) <= limit:
            break
        after = rows[-1].party_set
    else:
        return answers.Interactions([shown_set(row) for row in visible[:limit]], after)
    following = visible[limit - 1].party_set if len(visible) > limit else None
    return answers.Interactions([shown_set(row) for row in visible[:limit]], following)


def interaction(
    connection: Connection, scope: Scope, namespace: str, id_: bytes
) -> answers.Interaction:
    """One interaction, without bodies; of its sets those that `seen` gives."""
    table = schema.party_sets
    rows = connection.execute(
        sa.select(table)
        .where(table.c.namespace == namespace, table.c.interaction == id_)
        .order_by(table.c.party_set)
    ).all()
    visible = seen(connection, rows, scope, published(connection))
    if not visible:
        raise missing("interaction")
    sets = [
        answers.InteractionSet(shown_set(row), _claims(connection, row.party_set))
        for row in visible
    ]
    return answers.Interaction(namespace, b64u(id_), sets)


def _claims(connection: Connection, number: int) -> list[answers.Claim]:
    table = schema.claims
    rows = connection.execute(
        sa.select(table, schema.logs.c.epoch)
        .join(schema.logs, schema.logs.c.log == table.c.log)
        .where(table.c.party_set == number)
        .order_by(table.c.entry)
    )
    return [
        answers.Claim(
            b64u(row.claim),
            device_text(row.device),
            b64u(row.epoch),
            row.at,
            b64u(row.leaf),
            row.entry,
            row.time_ms,
        )
        for row in rows
    ]
