"""Party sets that are due, given to workers in portions, and what they propose taken back.

A set that is given away is not dirty and knows its portion. Whatever changes an input of its
finding makes it dirty, in the same transaction, as it always did: then nobody's proposal for it
counts any more. So what is signed was found from exactly what the store holds when it is signed.

All of it is the sequencer's, in its own session: it inserts portions, and never waits for a row
that somebody else may have locked.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.profile import Profile
from tallystick.validator import proposal, schema, workers
from tallystick.validator.basis import Basis
from tallystick.validator.findings import Computed
from tallystick.validator.limits import (
    PORTION_SETS_MAX,
    PORTION_SETS_PER_WORKER_MAX,
    PORTION_WAIT_S,
    PORTIONS_ALONE_S,
    PROPOSALS_PER_TICK_MAX,
    WORKERS_LOOK_S,
)
from tallystick.validator.work import CHUNK, Work, recall

RECONCILE = "reconcile"
Row = Any  # a row of a query

_LOG = structlog.get_logger("tallystick.validator.portions")
_SETS, _PORTIONS, _PROPOSALS = schema.party_sets, schema.portions, schema.proposals
_DONE = sa.select(_PROPOSALS).order_by(_PROPOSALS.c.portion).limit(PROPOSALS_PER_TICK_MAX)


class Portions:
    """What is given away now; of one sequencer."""

    def __init__(
        self,
        roots: dict[str, PublicKey],
        profiles: dict[bytes, Profile],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._roots = roots
        self._profiles = profiles
        self.monotonic = monotonic
        self._basis: Basis | None = None
        # Whether what is remembered here is what the store says.
        self.sure = False
        self._next = 1
        # Number to when it was given, and how many sets are in it.
        self._out: dict[int, tuple[float, int]] = {}
        self._looked_s = float("-inf")
        self._alone_until_s = float("-inf")
        self.living = 0

    def start(self, work: Work) -> None:
        """Everything that was given away is due again: nobody remembers what it was found from."""
        connection = work.connection
        newest = [
            connection.execute(sa.select(sa.func.max(table.c.portion))).scalar_one() or 0
            for table in (_PORTIONS, _PROPOSALS)
        ]
        # Who holds the row of a portion may still propose for it: its number is not used again.
        self._next = max(newest) + 1
        self._out.clear()
        self._basis = None
        self._recall(connection)
        connection.execute(sa.delete(_PROPOSALS))
        workers.forget_silent(connection)
        self.sure = True

    # --- who works -------------------------------------------------------------------------

    @property
    def out(self) -> int:
        """Sets that are given away and of which nothing was heard yet."""
        # A list first: the status is asked for by other threads.
        return sum(count for _, count in list(self._out.values()))

    def waiting_s(self) -> float:
        """For how long the oldest portion is given away."""
        given_s = min((given_s for given_s, _ in self._out.values()), default=None)
        return 0.0 if given_s is None else self.monotonic() - given_s

    def look(self, connection: Connection) -> None:
        """See who lives, where that is not known from a moment ago."""
        now_s = self.monotonic()
        if now_s >= self._looked_s + WORKERS_LOOK_S:
            self._looked_s = now_s
            self.living = workers.living(connection, RECONCILE)

    @property
    def room(self) -> int:
        """How many sets may be given away now; None of them while the sequencer works alone."""
        if not self.giving:
            return 0
        return PORTION_SETS_PER_WORKER_MAX * self.living - self.out

    @property
    def giving(self) -> bool:
        """Whether workers do it: some live, and none of what they were given lies for too long."""
        return self.living > 0 and self.monotonic() >= self._alone_until_s

    def overdue(self) -> bool:
        """Whether something is given away that should be taken back."""
        return bool(self._out) and (self.living == 0 or self.waiting_s() > PORTION_WAIT_S)

    # --- give and take ---------------------------------------------------------------------

    def give(self, work: Work, rows: Sequence[Row]) -> None:
        """Give these sets away."""
        basis = self._current(work.connection)
        now_s = self.monotonic()
        for at in range(0, len(rows), PORTION_SETS_MAX):
            numbers = [row.party_set for row in rows[at : at + PORTION_SETS_MAX]]
            portion, self._next = self._next, self._next + 1
            work.connection.execute(
                sa.update(_SETS)
                .where(_SETS.c.party_set.in_(numbers))
                .values(dirty=False, portion=portion)
            )
            work.insert(
                _PORTIONS,
                portion=portion,
                basis=basis.digest,
                now_ms=work.group.time_ms,
                sets=cbor.encode(numbers),
            )
            self._out[portion] = (now_s, len(numbers))

    def take(self, work: Work) -> list[tuple[Row, Computed]]:
        """What workers propose and what still counts, with the set as it is now."""
        connection = work.connection
        # Of what was found under another one, no set knows its portion any more.
        self._current(connection)
        rows = connection.execute(_DONE).all()
        found: dict[int, dict[int, Computed]] = {}
        for row in rows:
            self._out.pop(row.portion, None)
            found[row.portion] = self._read(row)
        if not found:
            return []
        connection.execute(sa.delete(_PROPOSALS).where(_PROPOSALS.c.portion.in_(list(found))))
        sets = connection.execute(
            sa.select(_SETS)
            .where(_SETS.c.portion.in_(list(found)), ~_SETS.c.dirty)
            .order_by(_SETS.c.party_set)
        )
        good, left = [], []
        for one in sets:
            computed = found[one.portion].get(one.party_set)
            if computed is not None and proposal.fits(one, computed):
                good.append((one, computed))
                continue
            left.append(one.party_set)
            if computed is not None:
                self._alone("it is of another set", one.portion)
        _again(connection, left)
        return good

    def take_back(self, work: Work) -> None:
        """What waits for too long is due again, and for a while the sequencer works alone."""
        now_s = self.monotonic()
        late = [
            portion
            for portion, (given_s, _) in self._out.items()
            if self.living == 0 or now_s > given_s + PORTION_WAIT_S
        ]
        if not late:
            return
        _LOG.warning("portions-taken-back", portions=len(late), workers=self.living)
        self._alone_until_s = now_s + PORTIONS_ALONE_S
        for at in range(0, len(late), CHUNK):
            work.connection.execute(
                sa.update(_SETS)
                .where(_SETS.c.portion.in_(late[at : at + CHUNK]))
                .values(dirty=True, portion=None)
            )
        for portion in late:
            del self._out[portion]
        self._drop(work.connection, late)
        workers.forget_silent(work.connection)

    def _read(self, row: Row) -> dict[int, Computed]:
        try:
            return proposal.unpack(row.found)
        except Malformed as error:
            self._alone(error.message, row.portion)
            return {}

    def _alone(self, why: str, portion: int) -> None:
        """Whatever wrote that, this process can do the work."""
        _LOG.error("bad-proposal", portion=portion, why=why)
        self._alone_until_s = self.monotonic() + PORTIONS_ALONE_S

    def _current(self, connection: Connection) -> Basis:
        """The basis of now: imported organisations come and go while the sequencer runs."""
        basis = self._basis
        if basis is not None and basis.roots == self._roots:
            return basis
        basis = self._basis = Basis(self._roots, self._profiles)
        table = schema.bases
        connection.execute(sa.delete(table))
        connection.execute(sa.insert(table), {"basis": basis.digest, "data": basis.data})
        self._recall(connection)
        return basis

    def _recall(self, connection: Connection) -> None:
        recall(connection)
        self._drop(connection, None)

    @staticmethod
    def _drop(connection: Connection, portions: list[int] | None) -> None:
        """Portions that nobody should begin with; one that is locked goes with whoever holds it."""
        free = sa.select(_PORTIONS.c.portion).with_for_update(skip_locked=True)
        if portions is not None:
            free = free.where(_PORTIONS.c.portion.in_(portions[:CHUNK]))
        numbers = list(connection.execute(free).scalars())
        connection.execute(sa.delete(_PORTIONS).where(_PORTIONS.c.portion.in_(numbers)))


def _again(connection: Connection, numbers: list[int]) -> None:
    for at in range(0, len(numbers), CHUNK):
        connection.execute(
            sa.update(_SETS)
            .where(_SETS.c.party_set.in_(numbers[at : at + CHUNK]))
            .values(dirty=True, portion=None)
        )
