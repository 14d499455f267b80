"""Cosigns other validators' log checkpoints (C2SP tlog-witness; docs/protocol.md, 8.4).

Check and store are one transaction that changes exactly the head that was checked, and the
signature is made after it. So whatever is cosigned extends all that was cosigned before, of two
requests at once, across a crash, and with more than one process.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from tallystick.evidence import cosignature
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.proof import verify_consistency
from tallystick.evidence.tree import EMPTY_ROOT
from tallystick.validator import answers, schema, steps
from tallystick.validator.cosigned import with_lines
from tallystick.validator.limits import COSIGN_SAME_S, SPLIT_VIEWS_PER_LOG_MAX, WRITER_S_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.sequencer import Sequencer
from tallystick.verify import addcheckpoint
from tallystick.verify.addcheckpoint import AddCheckpoint

_log = structlog.get_logger("tallystick.validator.witness")
Row = Any  # a row of `witnessed`
TRIES_MAX = 3


class Stale(Problem):
    """The request's old size is not that of the checkpoint that was cosigned last."""

    def __init__(self, size: int) -> None:
        message = f"the checkpoint that was cosigned last has the size {size}"
        super().__init__("bad-value", message, status=409)
        self.cosigned = size


@dataclass(frozen=True)
class _Stored:
    """A head that is durable and may be signed, at a time that was drawn with it."""

    note: Note
    time_s: int


class Witness:
    """The logs that this validator witnesses, by origin; requests come from any thread."""

    def __init__(self, sequencer: Sequencer) -> None:
        self._sequencer = sequencer
        self._keys = sequencer.keys

    def add(self, data: bytes) -> "str | Future[str]":
        """The cosignature line for a request, or what will be it.

        Raises Malformed, Problem (404, 403, 409, 422), or Stale. Nothing is written before the
        log's signature and the request's fit to the stored head are checked.
        """
        received = addcheckpoint.parse(data)
        key = self._sequencer.witnessed_logs.get(received.note.origin)
        if key is None:
            raise Problem("wrong-key", "no log of this origin is witnessed here", status=404)
        try:
            note = received.note.verify(key)
        except Unverified as error:
            raise Problem(error.reason, error.message, status=403) from None
        if received.old > note.size:
            raise Problem("bad-value", "`old` is larger than the checkpoint")
        with self._sequencer.store.read() as connection:
            row = stored(connection, note.origin)
        if row is not None and row.size == note.size and row.root != note.root:
            self._keep_split(row, note, key)
        _judge(row, received)
        if row is not None and self._is_fresh(row, note):
            return str(row.line)
        return self._sequencer.hand_in("checkpoint to cosign", lambda: self._cosign(received, key))

    def _is_fresh(self, row: Row, note: Note) -> bool:
        # Whoever sends the same again and again must not keep the writer and the key busy.
        young = self._now_s() - row.time_s < COSIGN_SAME_S
        return row.line is not None and row.size == note.size and young

    def _now_s(self) -> int:
        return self._sequencer.log.now_ms() // 1000

    # --- in the writer's thread ------------------------------------------------------------

    def _cosign(self, received: AddCheckpoint, key: NoteKey) -> str:
        stored_head = self._store(received, key)
        steps.passed(steps.WITNESSED)
        note = stored_head.note
        name = self._keys.origin
        made = cosignature.cosign(self._keys.notes, name, note.body(), stored_head.time_s)
        line = cosignature.lines([made])
        table = schema.witnessed
        same = (table.c.origin == note.origin) & (table.c.size == note.size)
        with self._sequencer.store.write() as connection:
            connection.execute(
                sa.update(table).where(same, table.c.time_s == stored_head.time_s).values(line=line)
            )
        return line

    def _store(self, received: AddCheckpoint, key: NoteKey) -> _Stored:
        for _ in range(TRIES_MAX):
            try:
                with self._sequencer.store.write() as connection:
                    row = stored(connection, received.note.origin)
                    _judge(row, received)
                    time_s = max(self._now_s(), 0 if row is None else row.time_s)
                    done = _replace(connection, row, received.note, key, time_s)
            except sa.exc.IntegrityError:
                continue  # another process stored the first head of this log at the same time
            if done:
                return _Stored(received.note, time_s)
        raise Problem("not-ready", "this log's head is being changed by others; send it again")

    # --- proofs ----------------------------------------------------------------------------

    def _keep_split(self, row: Row, note: Note, key: NoteKey) -> None:
        """Two signed roots of one size: kept, with the log's signatures only."""
        theirs = _log_signed(note, key).text()
        where = schema.split_views.c.origin == note.origin

        def keep() -> None:
            with self._sequencer.store.write() as connection:
                query = sa.select(schema.split_views.c.size).where(where)
                sizes = set(connection.execute(query).scalars())
                if note.size in sizes or len(sizes) >= SPLIT_VIEWS_PER_LOG_MAX:
                    return
                connection.execute(
                    sa.insert(schema.split_views),
                    {
                        "origin": note.origin,
                        "size": note.size,
                        "ours": row.note,
                        "theirs": theirs,
                        "time_ms": self._sequencer.log.now_ms(),
                    },
                )
            _log.error("a log shows two trees", origin=note.origin, size=note.size)

        with self._sequencer.store.read() as connection:
            query = sa.select(schema.split_views.c.size).where(where)
            known = set(connection.execute(query).scalars())
        if note.size not in known and len(known) < SPLIT_VIEWS_PER_LOG_MAX:
            # Durable before it is answered: who showed it may not show it again.
            self._sequencer.hand_in("two trees of one log", keep).result(WRITER_S_MAX)


def stored(connection: Connection, origin: str) -> Row | None:
    """The checkpoint of a log that was cosigned last."""
    table = schema.witnessed
    return connection.execute(sa.select(table).where(table.c.origin == origin)).one_or_none()


def _judge(row: Row | None, received: AddCheckpoint) -> None:
    """Whether the request extends the stored head: None, Stale, or Problem."""
    note = received.note
    size, root = (0, EMPTY_ROOT) if row is None else (row.size, row.root)
    if received.old != size:
        raise Stale(size)
    if row is not None and note.size == size and note.root != root:
        raise Problem("fork", "this log signed another root of this size", status=409)
    try:
        verify_consistency(size, root, note.size, note.root, received.proof)
    except TallyError as error:
        raise Problem("bad-consistency-proof", error.message, status=422) from None


def _replace(connection: Connection, row: Row | None, note: Note, key: NoteKey, at_s: int) -> bool:
    """Store a head in the place of exactly the one that was judged."""
    table = schema.witnessed
    values = {
        "size": note.size,
        "root": note.root,
        "note": _log_signed(note, key).text(),
        "line": None,
        "time_s": at_s,
    }
    if row is None:
        connection.execute(sa.insert(table), {"origin": note.origin, **values})
        return True
    same = (table.c.origin == note.origin) & (table.c.size == row.size) & (table.c.root == row.root)
    changed = connection.execute(sa.update(table).where(same).values(**values))
    return changed.rowcount == 1


def _log_signed(note: Note, key: NoteKey) -> Note:
    """The checkpoint with its log's signature only: others were not looked at."""
    own = [one for one in note.signatures if one[:2] == (key.name, key.key_id)]
    return Note(note.origin, note.size, note.root, own)


def witnessed(connection: Connection) -> answers.Witnessed:
    """The newest checkpoint of each log, with the cosignature made on it; and split views."""
    table = schema.witnessed
    rows = connection.execute(sa.select(table).order_by(table.c.origin)).all()
    split: dict[str, list[answers.SplitView]] = {}
    views = schema.split_views
    for row in connection.execute(sa.select(views).order_by(views.c.origin, views.c.size)):
        made = answers.SplitView(row.size, row.ours, row.theirs, row.time_ms)
        split.setdefault(row.origin, []).append(made)
    return answers.Witnessed(
        [
            answers.WitnessedLog(
                row.origin,
                row.size,
                row.note if row.line is None else with_lines(row.note, [row.line]),
                row.time_s,
                split.get(row.origin, []),
            )
            for row in rows
        ]
    )
