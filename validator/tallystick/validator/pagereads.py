"""What the page asks the store: findings in words, claims' bodies by scope, a search."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import claim, credential, enrolment, verdict
from tallystick.evidence.cbor import encode
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import CUSTODIES, SUBJECTS
from tallystick.evidence.errors import TallyError
from tallystick.evidence.ids import INTERACTION_SIZE
from tallystick.evidence.keys import b64u, device_from_text, device_text, from_b64u
from tallystick.evidence.number import Dec, to_text
from tallystick.validator import pageanswers, queries, schema
from tallystick.validator.access import NOTHING, Scope, denied
from tallystick.validator.limits import (
    PAGE_ROWS_DEFAULT,
    SEARCHED_CLAIMS_MAX,
    SEARCHED_DEVICES_MAX,
    SEARCHED_PROFILES_MAX,
)
from tallystick.validator.portable import holds
from tallystick.validator.reading import Reader, seen

Found = Any  # a row of a query
VALUE_CHARS_MAX = 400


def findings(
    connection: Connection, scope: Scope, namespace: str, id_: bytes
) -> pageanswers.Findings:
    """The published findings on the sets of an interaction that the caller may see."""
    rows = _sets(connection, namespace, id_)
    size = queries.published(connection)
    visible = {row.party_set: row for row in seen(connection, rows, scope, size)}
    if not visible:
        raise queries.missing("interaction")
    table, entries = schema.verdicts, schema.entries
    signed = connection.execute(
        sa.select(table.c.entry, table.c.party_set, table.c.digest, entries.c.data)
        .join(entries, entries.c.entry == table.c.entry)
        .where(table.c.party_set.in_(list(visible)), table.c.entry < size)
        .order_by(table.c.entry)
        .limit(PAGE_ROWS_DEFAULT)
    )
    made = [_finding(row, visible[row.party_set]) for row in signed]
    whole = scope.about(namespace, id_)
    bodies = any(Reader(connection, scope, row, whole=whole).any for row in rows)
    return pageanswers.Findings(made, bodies)


def _sets(connection: Connection, namespace: str, id_: bytes) -> list[Found]:
    table = schema.party_sets
    return list(
        connection.execute(
            sa.select(table)
            .where(table.c.namespace == namespace, table.c.interaction == id_)
            .order_by(table.c.party_set)
        )
    )


def _finding(row: Found, party_set: Found) -> pageanswers.Finding:
    made = verdict.parse(row.data)
    found = made.finding
    state: Any = found.state
    return pageanswers.Finding(
        b64u(party_set.parties_digest),
        row.entry,
        party_set.verdict == row.digest,
        state,
        made.time_ms,
        [
            pageanswers.Checked(
                one.check,
                one.name,
                one.result,
                one.reason,
                [
                    pageanswers.Value(b64u(value.claim), value.field, text_of(value.value))
                    for value in one.values
                ],
                [device_text(device) for device in one.blamed],
            )
            for one in found.checks
        ],
        [
            pageanswers.FoundClaim(
                b64u(ref), device_text(device), role, name, status, _level(level)
            )
            for ref, device, role, name, status, level in found.claims
        ],
        [
            pageanswers.Absent(role, device_text(device), name, absence)
            for role, device, name, absence in found.missing
        ],
    )


def _level(level: int) -> Any:
    return CUSTODIES[level]


def text_of(value: Any) -> str:
    """A value of a record, for people."""
    if isinstance(value, bool) or value is None:
        text = {True: "true", False: "false", None: "null"}[value]
    elif isinstance(value, (int, Dec)):
        text = to_text(value)
    elif isinstance(value, bytes):
        text = value.hex()
    elif isinstance(value, list):
        text = "[" + ", ".join(map(text_of, value)) + "]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}: {text_of(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value)
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "…"


def claims(
    connection: Connection, scope: Scope, namespace: str, id_: bytes
) -> pageanswers.ClaimBodies:
    """What the claims of an interaction say, as far as a scope covers them; else Problem 403."""
    rows = _sets(connection, namespace, id_)
    whole = scope.about(namespace, id_)
    readers = {row.party_set: Reader(connection, scope, row, whole=whole) for row in rows}
    if not whole and not any(reader.any for reader in readers.values()):
        raise denied()
    digests = {row.party_set: row.parties_digest for row in rows}
    table, logs = schema.claims, schema.logs
    found = connection.execute(
        sa.select(table, logs.c.epoch)
        .join(logs, logs.c.log == table.c.log)
        .where(table.c.party_set.in_([set_ for set_, reader in readers.items() if reader.any]))
        .order_by(table.c.entry)
        .limit(PAGE_ROWS_DEFAULT)
    ).all()
    covered = [row for row in found if readers[row.party_set].reads(row.device)]
    return pageanswers.ClaimBodies(
        [_body(row, digests[row.party_set]) for row in covered], len(found) - len(covered)
    )


def _body(row: Found, party_set: bytes) -> pageanswers.ClaimBody:
    said: Claim | None = claim.parse(row.record) if row.record else None
    task = None if said is None or isinstance(said.interaction, bytes) else said.interaction
    interval = None if said is None else said.interval
    return pageanswers.ClaimBody(
        b64u(row.claim),
        device_text(row.device),
        b64u(row.epoch),
        row.at,
        b64u(party_set),
        said is None,
        None if said is None else said.role,
        None if said is None else said.claim,
        task,
        {} if said is None else {name: text_of(item) for name, item in said.fields.items()},
        None if interval is None else interval[0],
        None if interval is None else interval[1],
    )


# --- search ----------------------------------------------------------------------------------


def search(connection: Connection, scope: Scope, text: str) -> pageanswers.Search:
    """Devices by id or tag; interactions by id, by task, and by a text of a claim's fields.

    The last needs bodies: only the newest claims that the scope covers are looked through.
    """
    wanted = _by_id(connection, text) + _by_task(connection, text)
    bodies = scope != NOTHING
    if bodies:
        wanted += _by_item(connection, scope, text)
    table = schema.party_sets
    rows = connection.execute(
        sa.select(table)
        .where(table.c.party_set.in_(wanted[:PAGE_ROWS_DEFAULT]))
        .order_by(table.c.party_set.desc())
    ).all()
    visible = seen(connection, rows, scope, queries.published(connection))
    return pageanswers.Search(
        _devices(connection, text), [queries.shown_set(row) for row in visible], bodies
    )


def _devices(connection: Connection, text: str) -> list[pageanswers.FoundDevice]:
    table = schema.identities
    query = sa.select(table.c.id, table.c.subject, table.c.iss, table.c.credential)
    try:
        query = query.where(table.c.id == device_from_text(text))
    except TallyError:
        # A tag stands in the enrolment as it is; what is found is read anew.
        query = query.where(holds(table.c.credential, text.encode()))
    found = []
    for row in connection.execute(query.order_by(table.c.id).limit(SEARCHED_DEVICES_MAX)):
        tag = _tag(row.credential)
        if text in {tag, device_text(row.id)}:
            subject = SUBJECTS[row.subject]
            found.append(pageanswers.FoundDevice(device_text(row.id), subject, row.iss, tag))
    return found


def _tag(data: bytes) -> str | None:
    try:
        details = enrolment.parse(credential.parse(data).statements[0]).details
    except TallyError:
        return None
    tag = details.get("asset_tag", details.get("serial"))
    return tag if isinstance(tag, str) else None


def _by_id(connection: Connection, text: str) -> list[int]:
    try:
        id_ = from_b64u(text, INTERACTION_SIZE)
    except TallyError:
        return []
    table = schema.party_sets
    query = sa.select(table.c.party_set).where(table.c.interaction == id_)
    return list(connection.execute(query.limit(PAGE_ROWS_DEFAULT)).scalars())


def _by_task(connection: Connection, text: str) -> list[int]:
    # An id is made of profile, namespace and task (docs/protocol.md, 2.1): try each pair.
    table = schema.party_sets
    pairs = connection.execute(
        sa.select(table.c.profile, table.c.namespace).distinct().limit(SEARCHED_PROFILES_MAX)
    ).all()
    ids = [sha256(encode([row.profile, row.namespace, text]))[:INTERACTION_SIZE] for row in pairs]
    if not ids:
        return []
    query = sa.select(table.c.party_set).where(table.c.interaction.in_(ids))
    return list(connection.execute(query.limit(PAGE_ROWS_DEFAULT)).scalars())


def _by_item(connection: Connection, scope: Scope, text: str) -> list[int]:
    table, sets = schema.claims, schema.party_sets
    rows = connection.execute(
        sa.select(table.c.record, table.c.device, sets)
        .join(sets, sets.c.party_set == table.c.party_set)
        .where(holds(table.c.record, text.encode()))
        .order_by(table.c.entry.desc())
        .limit(SEARCHED_CLAIMS_MAX)
    )
    found: dict[int, None] = {}
    for row in rows:
        fields = claim.parse(row.record).fields.values()
        if text not in fields or row.party_set in found:
            continue
        whole = scope.about(row.namespace, row.interaction)
        if Reader(connection, scope, row, whole=whole).reads(row.device):
            found[row.party_set] = None
    return list(found)
