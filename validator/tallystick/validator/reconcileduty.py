"""What a worker does of reconciliation: it takes a portion of party sets and computes findings."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from tallystick.evidence import cbor, credential
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.validator import basis, proposal, schema, steps
from tallystick.validator.findings import Computed, Findings
from tallystick.validator.identities import Known
from tallystick.validator.limits import IDENTITIES_CACHED_MAX
from tallystick.validator.portions import RECONCILE
from tallystick.validator.reads import Snapshot
from tallystick.validator.work import CHUNK, Recent

Row = Any  # a row of a query

_SETS, _PORTIONS = schema.party_sets, schema.portions
# The oldest that nobody has: whoever is stopped with one keeps nobody from the next.
_FREE = (
    sa.select(_PORTIONS).order_by(_PORTIONS.c.portion).limit(1).with_for_update(skip_locked=True)
)


class ReconcileDuty:
    """Takes one portion a turn, in one transaction: it is proposed for, or as it was."""

    name = RECONCILE

    def __init__(self) -> None:
        self._under: Under | None = None
        self._digest = b""

    def turn(self, engine: Engine) -> int:
        """How many party sets were in it; 0: nothing waits."""
        with engine.begin() as connection:
            row = connection.execute(_FREE).one_or_none()
            if row is None:
                return 0
            steps.passed(steps.TAKEN)
            numbers = cbor.decode(row.sets)
            under = self._known(connection, row.basis)
            # Where its basis is gone, its sets are due again since, and given away anew.
            found = (
                {} if under is None else under.compute(connection, _left(row, numbers), row.now_ms)
            )
            steps.passed(steps.COMPUTED)
            connection.execute(
                sa.insert(schema.proposals),
                {"portion": row.portion, "found": proposal.pack(found)},
            )
            connection.execute(sa.delete(_PORTIONS).where(_PORTIONS.c.portion == row.portion))
            steps.passed(steps.PROPOSED)
        return len(numbers)

    def _known(self, connection: Connection, digest: bytes) -> "Under | None":
        if self._under is None or self._digest != digest:
            table = schema.bases
            data = connection.execute(
                sa.select(table.c.data).where(table.c.basis == digest)
            ).scalar_one_or_none()
            if data is None:
                return None
            self._under = Under(basis.read(digest, data))
            self._digest = digest
        return self._under


class Under:
    """What is known under one basis."""

    def __init__(self, rests_on: basis.Basis) -> None:
        self._findings = Findings(rests_on.profiles)
        self._roots = rests_on.roots
        # By id and length: a credential that changes becomes longer, and agrees with what it was.
        self._verified: Recent[tuple[bytes, int], tuple[Identity | None]] = Recent(
            IDENTITIES_CACHED_MAX
        )

    def compute(
        self, connection: Connection, sets: "sa.Select[Any]", now_ms: int
    ) -> dict[int, Computed]:
        """What these party sets come to; now_ms as in `Findings.compute`."""
        rows = connection.execute(sets).all()
        if not rows:
            return {}
        who = _Who(connection, self._roots, self._verified)
        who.meet([row.party_set for row in rows])
        return self._findings.compute(Snapshot(connection), who, rows, now_ms)


def _left(portion: Row, numbers: list[int]) -> "sa.Select[Any]":
    """The sets of a portion, but for those that became due again since."""
    return sa.select(_SETS).where(
        _SETS.c.party_set.in_(numbers), _SETS.c.portion == portion.portion, ~_SETS.c.dirty
    )


class _Who:
    """Devices as they stand in one snapshot."""

    def __init__(
        self,
        connection: Connection,
        roots: dict[str, PublicKey],
        verified: "Recent[tuple[bytes, int], tuple[Identity | None]]",
    ) -> None:
        self._connection = connection
        self._roots = roots
        self._verified = verified
        self._met: dict[bytes, Known | None] = {}

    def meet(self, numbers: list[int]) -> None:
        """Those that made claims of these sets, at one go."""
        claims = schema.claims
        for at in range(0, len(numbers), CHUNK):
            made = sa.select(claims.c.device).where(
                claims.c.party_set.in_(numbers[at : at + CHUNK])
            )
            self._read(schema.identities.c.id.in_(made))

    def __call__(self, id_: bytes) -> Known | None:
        """One device; None where nobody vouches for it."""
        if id_ not in self._met:
            self._met[id_] = None
            self._read(schema.identities.c.id == id_)
        return self._met[id_]

    def _read(self, where: Any) -> None:
        table = schema.identities
        size = sa.func.length(table.c.credential).label("size")
        for row in self._connection.execute(
            sa.select(table.c.id, table.c.suspect, size).where(where)
        ):
            kept = self._verified.get((row.id, row.size))
            if kept is None:
                kept = (self._verify(row.id),)
                self._verified.put((row.id, row.size), kept)
            identity = kept[0]
            self._met[row.id] = None if identity is None else Known(identity, row.suspect)

    def _verify(self, id_: bytes) -> Identity | None:
        table = schema.identities
        data = self._connection.execute(
            sa.select(table.c.credential).where(table.c.id == id_)
        ).scalar_one()
        try:
            return credential.verify_credential(credential.parse(data), self._roots, None)
        except Unverified:
            # Its root is not accepted any more.
            return None
