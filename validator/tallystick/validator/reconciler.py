"""Findings and verdicts: what is due is computed again, closed, signed, and only when it changed.

Work a tick is bounded. Sets are found by index (dirty, or past their deadline), so the cost of a
claim does not grow with the number of open interactions. Where workers live, they compute; only
this process closes and signs.
"""

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from tallystick.evidence import entry
from tallystick.evidence.profile import Profile
from tallystick.validator import schema, setreads
from tallystick.validator.answers import Index
from tallystick.validator.failing import Failing
from tallystick.validator.findings import Computed, Findings, due_ms
from tallystick.validator.ingest import Ingest
from tallystick.validator.limits import (
    PARTY_SETS_PER_TICK_MAX,
    PORTIONS_LOOK_S_MAX,
    PORTIONS_LOOK_S_MIN,
    TICK_S,
)
from tallystick.validator.log import Log
from tallystick.validator.portions import Portions
from tallystick.validator.rows import Prepared
from tallystick.validator.signing import Concluded, Signing
from tallystick.validator.store import Store
from tallystick.validator.work import CHUNK, Work

Row = Any  # a row of a query

_SETS = schema.party_sets
# What a tick begins with; both are found by index, whatever is open (a test reads the plans).
DIRTY = sa.select(_SETS).where(_SETS.c.dirty).order_by(_SETS.c.party_set)
LATE = (
    sa.select(_SETS)
    .where(_SETS.c.due_ms <= sa.bindparam("now_ms"))
    # What a worker has already is not given away twice, unless it became dirty since.
    .where(_SETS.c.portion.is_(None) | _SETS.c.dirty)
    .order_by(_SETS.c.due_ms)
)


def _any(left_out: Sequence[int]) -> sa.Select[bool, bool, bool]:
    return sa.select(
        sa.exists(sa.select(schema.proposals.c.portion)),
        sa.exists(_but(DIRTY, left_out).order_by(None)),
        sa.exists(_but(LATE, left_out).order_by(None)),
    )


def _but(query: sa.Select[Any], left_out: Sequence[int]) -> sa.Select[Any]:
    return query.where(_SETS.c.party_set.not_in(left_out)) if left_out else query


_ANY = Prepared(_any([]))
_ROOM = sa.bindparam("room", type_=sa.Integer)
_DIRTY = Prepared(DIRTY.limit(_ROOM))
_LATE = Prepared(LATE.limit(_ROOM))


class Reconciling(Struct):
    """Workers that compute findings now; sets that they have; since when something is due."""

    workers: Index
    given: Index
    due_for_ms: Index  # 0 when nothing is due; no set has been due for longer
    failing: Index  # sets over which the sequencer failed; they are tried again


class Reconciler:
    """What the sequencer does between batches; `portions` where workers may help."""

    def __init__(
        self,
        store: Store,
        log: Log,
        ingest: Ingest,
        profiles: dict[bytes, Profile],
        portions: Portions | None = None,
    ) -> None:
        self._store = store
        self._log = log
        self._ingest = ingest
        self._findings = Findings(profiles)
        self.portions = portions
        self._failing = Failing()
        # When nothing was due last, and whether something is since.
        self._clear_s = time.monotonic()
        self._behind = False
        self._patience_s = PORTIONS_LOOK_S_MIN

    def start(self) -> None:
        """After a start: profiles that came to be known make findings due, and so does silence."""
        table = schema.party_sets

        def do(work: Work) -> None:
            for digest, profile in self._findings.profiles.items():
                work.connection.execute(
                    sa.update(table)
                    .where(table.c.profile == digest, table.c.deadline_ms.is_(None))
                    .values(
                        deadline_ms=profile.deadline_ms,
                        due_ms=table.c.first_ms + profile.deadline_ms,
                        dirty=True,
                    )
                )
            self._findings.nearby.index_known(work)
            if self.portions is not None:
                self.portions.start(work)
            work.heard.update(
                work.connection.execute(sa.select(schema.unheard.c.device).distinct()).scalars()
            )

        self._ingest.transaction(do)
        self._log.publish()

    @property
    def hurried(self) -> bool:
        """Whether workers are at it, so that somebody should look soon."""
        return self.portions is not None and self.portions.out > 0

    @property
    def patience_s(self) -> float:
        """How long to wait for another look; longer while workers say nothing: each look costs."""
        return min(self._patience_s, PORTIONS_LOOK_S_MAX) if self.hurried else TICK_S

    def told(self) -> Reconciling:
        """For the status; asked by other threads."""
        portions = self.portions
        behind_s = time.monotonic() - self._clear_s if self._behind else 0.0
        workers, given = (0, 0) if portions is None else (portions.living, portions.out)
        return Reconciling(workers, given, int(behind_s * 1000), len(self._failing))

    def due(self) -> bool:
        """Whether a tick has something to do."""
        due = self._due()
        self._behind = due or self.hurried
        if not self._behind:
            self._clear_s = time.monotonic()
        return due

    def _due(self) -> bool:
        if self._ingest.heard:
            return True
        now = {"now_ms": self._log.now_ms()}
        with self._store.read() as connection:
            portions = self.portions
            if portions is not None:
                portions.look(connection)
            # One question instead of three: it is asked again and again.
            left_out = self._failing.left_out()
            if left_out:
                proposed, *due = connection.execute(_any(left_out), now).one()
            else:
                ((proposed, *due),) = _ANY.rows(connection, **now)
            if portions is not None:
                if not portions.sure or portions.overdue() or (proposed and portions.out):
                    return True
                if portions.giving and portions.room <= 0:
                    return False
            return any(due)

    def tick(self) -> int:
        """One bounded piece of work; returns how many party sets it looked at, or gave away."""
        if not self.due():
            self._patience_s = min(2 * self._patience_s, PORTIONS_LOOK_S_MAX)
            return 0
        self._patience_s = PORTIONS_LOOK_S_MIN
        tick = _Tick(self._log, self._ingest, self._findings, self.portions, self._failing)
        try:
            work = self._ingest.transaction(tick.run)
        except BaseException as error:
            if self.portions is not None:
                self.portions.sure = False
            if isinstance(error, Exception) and self._failing.failed(tick.tried, error):
                self._ingest.defect()
                return len(tick.tried)
            raise
        self._failing.passed()
        self._ingest.heard = (self._ingest.heard - tick.listened) | work.heard
        self._log.publish()
        return tick.looked_at


class _Tick:
    def __init__(
        self,
        log: Log,
        ingest: Ingest,
        findings: Findings,
        portions: Portions | None,
        failing: Failing,
    ) -> None:
        self._failing = failing
        self.tried: list[int] = []  # sets that it finds and signs by itself
        self._log = log
        self._ingest = ingest
        self._findings = findings
        self._portions = portions
        self.listened: set[bytes] = set()
        self.looked_at = 0

    def run(self, work: Work) -> None:
        self._listen(work)
        portions = self._portions
        if portions is None:
            self._find(work, self._due(work, self._failing.room))
            return
        if not portions.sure:
            # After a rollback nobody here knows who has what.
            portions.start(work)
        # What changed just now is dirty already: no proposal for it counts any more.
        self._take(work, portions)
        portions.take_back(work)
        if portions.giving:
            rows = self._due(work, min(PARTY_SETS_PER_TICK_MAX, portions.room))
            portions.give(work, rows)
            self.looked_at += len(rows)
        else:
            self._find(work, self._due(work, self._failing.room))

    def _due(self, work: Work, room: int) -> list[Row]:
        if room <= 0:
            return []
        now_ms = self._log.now_ms()
        left_out = self._failing.left_out()
        if not left_out:
            rows = _LATE.found(work.connection, now_ms=now_ms, room=room)
            have = {row.party_set for row in rows}
            more = _DIRTY.found(work.connection, room=room - len(rows)) if len(rows) < room else []
            return rows + [row for row in more if row.party_set not in have]
        now = {"now_ms": now_ms}
        rows = list(work.connection.execute(_but(LATE, left_out).limit(room), now))
        # What is late comes first, or a flood of claims would keep deadlines open.
        room -= len(rows)
        if room:
            have = {row.party_set for row in rows}
            dirty = work.connection.execute(_but(DIRTY, left_out).limit(room))
            rows += [row for row in dirty if row.party_set not in have]
        return rows

    # --- time evidence ---------------------------------------------------------------------

    def _listen(self, work: Work) -> None:
        """Closed sets that wait for a device whose log is complete past their deadline."""
        room = PARTY_SETS_PER_TICK_MAX
        table = schema.unheard
        for device in sorted(self._ingest.heard):
            if room <= 0:
                return
            newest = setreads.newest_evidence(work.connection, device)
            if newest is None or not self._complete(work, device):
                self.listened.add(device)
                continue
            rows = list(
                work.connection.execute(
                    sa.select(table.c.party_set, table.c.due_ms)
                    .where(table.c.device == device, table.c.due_ms < newest)
                    .order_by(table.c.due_ms)
                    .limit(room)
                )
            )
            for row in rows:
                if not setreads.keep_evidence(work, row.party_set, device, row.due_ms):
                    continue
                work.dirty.add(row.party_set)
                work.connection.execute(
                    sa.delete(table).where(
                        table.c.device == device, table.c.party_set == row.party_set
                    )
                )
            room -= len(rows)
            if room > 0:
                self.listened.add(device)
        mark = set(work.dirty)
        if mark:
            # Seen by this very tick.
            _mark(work, mark)

    def _complete(self, work: Work, device: bytes) -> bool:
        logs = self._ingest.logs.of(work, device)
        return bool(logs) and all(log.complete for log in logs if log.newest is not None)

    # --- findings --------------------------------------------------------------------------

    def _find(self, work: Work, rows: Sequence[Row]) -> None:
        self.looked_at += len(rows)
        if not rows:
            return
        self.tried = [row.party_set for row in rows]
        identities = self._ingest.identities
        found = self._findings.compute(
            work, lambda id_: identities.get(work, id_), rows, work.group.time_ms
        )
        self._conclude(work, [(row, found[row.party_set]) for row in rows])

    def _take(self, work: Work, portions: Portions) -> None:
        taken = portions.take(work)
        self.looked_at += len(taken)
        if not taken:
            return
        # Not by whoever computed it: another set of the interaction makes no finding due, and the
        # verdict names all that are there when it is signed.
        siblings = setreads.siblings_of(work.connection, [row.party_set for row, _ in taken])
        for row, computed in taken:
            others = siblings.get(row.party_set, [])
            computed.siblings = [other.parties_digest for other in others]
        self._conclude(work, taken)

    def _conclude(self, work: Work, found: Sequence[tuple[Row, Computed]]) -> None:
        concluded = [self._close(work, row, computed) for row, computed in found]
        # All closings are logged; what the verdicts read is below this size.
        size = work.group.tree.size
        signing = Signing(work, self._log, size)
        self._write(work, [signing.sign_if_changed(one) for one in concluded])

    @staticmethod
    def _close(work: Work, row: Row, computed: Computed) -> "Concluded":
        if computed.refused is not None:
            work.refuse(computed.refused)
        found, closing = computed.found, row.closing
        due = due_ms(row)
        if computed.closed is not None and due is not None and due <= work.group.time_ms:
            closing = work.group.add(
                entry.Closing(
                    row.namespace, row.interaction, row.parties_digest, row.first, row.deadline_ms
                )
            )
            found = computed.closed
        return Concluded(row, found, closing, computed)

    @staticmethod
    def _write(work: Work, changes: list[dict[str, Any]]) -> None:
        _CHANGED.run_all(work.connection, changes)


_CHANGED = Prepared(
    sa.update(_SETS)
    .where(_SETS.c.party_set == sa.bindparam("number"))
    .values(
        {
            **{
                column: sa.bindparam(name, type_=column.type)
                for name, column in (
                    ("to_state", _SETS.c.state),
                    ("to_closing", _SETS.c.closing),
                    ("to_due", _SETS.c.due_ms),
                    ("to_finding", _SETS.c.finding),
                    ("to_verdict", _SETS.c.verdict),
                    ("to_entry", _SETS.c.verdict_entry),
                )
            },
            _SETS.c.dirty: sa.false(),
            _SETS.c.portion: sa.null(),
        }
    )
)


def _mark(work: Work, numbers: set[int]) -> None:
    table = schema.party_sets
    waiting = sorted(numbers)
    for at in range(0, len(waiting), CHUNK):
        work.connection.execute(
            sa.update(table)
            .where(table.c.party_set.in_(waiting[at : at + CHUNK]))
            .values(dirty=True)
        )
    work.dirty -= numbers
