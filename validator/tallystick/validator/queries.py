"""What the read interface is asked, answered from one snapshot of the store."""

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor, credential
from tallystick.evidence.credential import Identity, verify_credential
from tallystick.evidence.enrolment import SUBJECTS
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import PublicKey, b64u, device_text
from tallystick.validator import answers, schema
from tallystick.validator.devicelog import statement_of
from tallystick.validator.forks import portable, story
from tallystick.validator.keysheld import keys_held
from tallystick.validator.limits import ENTRIES_BYTES_MAX, SHARING_READ_MAX
from tallystick.validator.portable import holds, total
from tallystick.validator.problem import Problem
from tallystick.validator.receipts import build_receipts, node_reader
from tallystick.validator.rows import Prepared
from tallystick.validator.schema import BEYOND
from tallystick.verify.chipslots import named, slot_of, slots_of

Found = Any  # a row of a query


def missing(what: str) -> Problem:
    """404."""
    return Problem("bad-value", f"no such {what} is known here", status=404)


def published(connection: Connection) -> int:
    """The newest published size."""
    ((size,),) = _PUBLISHED.rows(connection)
    return size or 0


_PUBLISHED = Prepared(sa.select(sa.func.max(schema.heads.c.size)))


def entries(connection: Connection, start: int, count: int) -> answers.Entries:
    """Published entries only: nobody shall see one that a crash could take back."""
    size = published(connection)
    table = schema.entries
    rows = connection.execute(
        sa.select(table)
        .where(table.c.entry >= start, table.c.entry < min(size, start + count))
        .order_by(table.c.entry)
    )
    found: list[answers.Entry] = []
    room = ENTRIES_BYTES_MAX
    for row in rows:
        room -= len(row.data)
        if room < 0 and found:
            break
        found.append(
            answers.Entry(row.entry, row.kind, row.time_ms, b64u(row.leaf), b64u(row.data))
        )
    return answers.Entries(size, start, found)


def receipt(connection: Connection, digest: bytes) -> bytes:
    """The receipt of a logged statement."""
    table = schema.entries
    entry = connection.execute(
        sa.select(table.c.entry).where(table.c.digest == digest)
    ).scalar_one_or_none()
    made = {} if entry is None else build_receipts(connection, [entry], node_reader(connection))
    if entry is None or entry not in made:
        raise missing("statement")
    return made[entry]


# --- devices ---------------------------------------------------------------------------------


class Devices:
    """Identities as they are shown."""

    def __init__(self, roots: dict[str, PublicKey]) -> None:
        self._roots = roots

    def page(
        self, connection: Connection, subject: int, after: bytes, limit: int
    ) -> answers.Devices:
        """A page of those of one subject, in the order of their ids."""
        table = schema.identities
        ours = table.c.subject == subject
        count, decisions = connection.execute(
            sa.select(sa.func.count(), total(table.c.decisions)).where(ours)
        ).one()
        rows = connection.execute(
            sa.select(table).where(ours, table.c.id > after).order_by(table.c.id).limit(limit + 1)
        ).all()
        shown = [self._shown(connection, row) for row in rows[:limit]]
        following = device_text(rows[limit - 1].id) if len(rows) > limit else None
        return answers.Devices(count, decisions, shown, following)

    def one(self, connection: Connection, id_: bytes) -> answers.Device:
        """One of any subject."""
        table = schema.identities
        row = connection.execute(sa.select(table).where(table.c.id == id_)).one_or_none()
        if row is None:
            raise missing("id")
        shown = self._shown(connection, row)
        identity = self._identity(row.credential)
        if identity is not None:
            self._say_shared(connection, identity, shown.keys)
        return shown

    def _say_shared(
        self, connection: Connection, identity: Identity, keys: list[answers.HeldKey]
    ) -> None:
        """Which other ids' evidence names the same chip and slot: it holds one of those keys."""
        table = schema.identities
        for period, key in zip(identity.keys, keys, strict=True):
            slot = slot_of(period.evidence)
            if slot is None:
                continue
            # The serial number stands in a credential as it is; what is found is read anew.
            rows = connection.execute(
                sa.select(table.c.id, table.c.credential)
                .where(table.c.id != identity.id, holds(table.c.credential, slot[0]))
                .order_by(table.c.id)
                .limit(SHARING_READ_MAX)
            )
            for row in rows:
                other = self._identity(row.credential)
                if other is not None and slot in slots_of(other):
                    key.not_proven.append(
                        f"that the key is in the chip: {device_text(other.id)} is enrolled with "
                        f"{named(slot)} too, and it holds one key"
                    )

    def _shown(self, connection: Connection, row: Found) -> answers.Device:
        identity = self._identity(row.credential)
        status: Any = "unvouched" if identity is None else identity.status
        if row.suspect is not None:
            status = "suspect"
        subject: Any = SUBJECTS[row.subject]
        keys = [] if identity is None else keys_held(identity)
        return answers.Device(
            device_text(row.id),
            subject,
            row.iss,
            status,
            row.suspect,
            keys[-1].custody if keys else "software",
            keys,
            row.decisions,
            row.claims,
            row.events,
            row.halves,
            row.refused,
            _count(
                connection,
                schema.forks,
                (schema.forks.c.device == row.id) & (schema.forks.c.reason != BEYOND),
            ),
            _count(connection, schema.custody_missing, schema.custody_missing.c.device == row.id),
            row.since_ms,
            row.heard_ms,
            [_log(connection, found) for found in _logs(connection, row.id)],
        )

    def _identity(self, data: bytes) -> Identity | None:
        try:
            return verify_credential(credential.parse(data), self._roots, None)
        except TallyError:
            return None


def _logs(connection: Connection, device: bytes) -> Iterable[Found]:
    table = schema.logs
    return connection.execute(
        sa.select(table).where(table.c.device == device).order_by(table.c.log).limit(64)
    )


def _log(connection: Connection, row: Found) -> answers.DeviceLog:
    head = None if row.checkpoint is None else statement_of(connection, row.checkpoint)
    signed = 0 if head is None else head.claims
    return answers.DeviceLog(
        b64u(row.epoch),
        row.size,
        row.began,
        row.covered,
        row.claims,
        signed,
        row.claims >= signed and row.covered == row.size - row.began and row.began == 0,
        row.frozen_at,
        None if row.checkpoint is None else b64u(row.checkpoint),
    )


def _count(connection: Connection, table: sa.Table, where: Any) -> int:
    found: int = connection.execute(
        sa.select(sa.func.count()).select_from(table).where(where)
    ).scalar_one()
    return found


def forks_of(connection: Connection, id_: bytes) -> answers.Forks:
    """The contradictions of a device or gateway, with their proofs."""
    table = schema.forks
    rows = connection.execute(
        sa.select(table).where(table.c.device == id_).order_by(table.c.time_ms, table.c.fork)
    )
    return answers.Forks(
        [
            answers.Fork(
                device_text(row.device),
                b64u(row.epoch) if row.epoch else None,
                row.reason,
                None if row.ours is None else b64u(row.ours),
                b64u(row.theirs),
                None if row.proof is None else b64u(row.proof),
                row.time_ms,
                _portable(row),
            )
            for row in rows
        ]
    )


def _portable(row: Found) -> str | None:
    proof = portable(row) or story(row)
    return None if proof is None else b64u(proof.encode())


# --- interactions ----------------------------------------------------------------------------


def shown_set(row: Found) -> answers.PartySet:
    """A party set as it is answered."""
    return answers.PartySet(
        row.namespace,
        b64u(row.interaction),
        b64u(row.parties_digest),
        b64u(row.profile),
        {role: [device_text(d) for d in ids] for role, ids in cbor.decode(row.parties).items()},
        row.state,
        row.first,
        row.due_ms,
        row.closing,
        None if row.verdict is None else b64u(row.verdict),
        row.verdict_entry,
    )


# --- verdicts --------------------------------------------------------------------------------


def verdicts(
    connection: Connection, after: int, device: bytes | None, state: str | None, limit: int
) -> answers.Verdicts:
    """Verdicts whose entry is above `after` and published, with their receipts."""
    size = published(connection)
    given: dict[str, object] = {"after": after, "size": size, "most": limit}
    chosen = {"device": device, "state": state}
    given.update((name, value) for name, value in chosen.items() if value is not None)
    query = _VERDICTS[device is not None, state is not None]
    rows = query.found(connection, **given)
    entries_ = [row.entry for row in rows]
    receipts = build_receipts(connection, entries_, node_reader(connection))
    # With fewer than a page everything below the published size has been looked at.
    following = entries_[-1] if len(rows) == limit else max(after, size - 1)
    shown = [_verdict(row, receipts[row.entry]) for row in rows]
    return answers.Verdicts(size, shown, following)


def _verdicts_query(by_device: bool, by_state: bool) -> Prepared:  # noqa: FBT001 - the key below
    table, sets = schema.verdicts, schema.party_sets
    query = (
        sa.select(
            *(table.c.entry, table.c.digest, table.c.state, sets.c.namespace, sets.c.interaction),
            *(sets.c.parties_digest, sets.c.verdict, schema.entries.c.data),
        )
        .join(sets, sets.c.party_set == table.c.party_set)
        .join(schema.entries, schema.entries.c.entry == table.c.entry)
        .where(table.c.entry > sa.bindparam("after"), table.c.entry < sa.bindparam("size"))
    )
    if by_device:
        parties = schema.verdict_parties
        of = (parties.c.entry == table.c.entry) & (parties.c.device == sa.bindparam("device"))
        query = query.join(parties, of)
    if by_state:
        query = query.where(table.c.state == sa.bindparam("state"))
    most = sa.bindparam("most", type_=sa.Integer)
    return Prepared(query.order_by(table.c.entry).limit(most))


# Asked by everybody who follows, whenever there are new ones.
_VERDICTS = {
    (by_device, by_state): _verdicts_query(by_device, by_state)
    for by_device in (False, True)
    for by_state in (False, True)
}


def _verdict(row: Found, made: bytes) -> answers.Verdict:
    return answers.Verdict(
        row.entry,
        b64u(row.digest),
        row.state,
        row.namespace,
        b64u(row.interaction),
        b64u(row.parties_digest),
        row.verdict == row.digest,
        b64u(row.data),
        b64u(made),
    )


# --- status ----------------------------------------------------------------------------------


def totals(connection: Connection) -> tuple[int, int, int, int]:
    """Devices, decisions, claims and refused records."""
    table = schema.identities
    counters = (table.c.decisions, table.c.claims, table.c.refused)
    row = connection.execute(
        sa.select(sa.func.count(), *map(total, counters)).where(
            table.c.subject == SUBJECTS.index("device")
        )
    ).one()
    return row[0], row[1], row[2], row[3]


def states(connection: Connection) -> dict[str, int]:
    """Party sets by state."""
    table = schema.party_sets
    rows = connection.execute(sa.select(table.c.state, sa.func.count()).group_by(table.c.state))
    return {row[0]: row[1] for row in rows}


def contradictions(connection: Connection) -> int:
    """How many are kept, of devices and gateways."""
    return _count(connection, schema.forks, schema.forks.c.reason != BEYOND)


def rows_of(connection: Connection, table: sa.Table) -> int:
    """How many there are."""
    return _count(connection, table, sa.true())
