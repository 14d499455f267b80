"""The index of direct neighbours in the store (docs/reconciliation.md, sections 5.8 and 6).

Which claims of other interactions a finding may read, and which findings a new claim, or another
key status, makes due. Rows hold hashes and times; bodies are read where they lie.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import claim, verdict
from tallystick.evidence.claim import Claim
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.profile import Profile
from tallystick.validator import schema
from tallystick.validator.limits import (
    GRANTS_PER_DEVICE_MAX,
    INTERACTIONS_CACHED_MAX,
    RELEASES_PER_ACQUISITION_MAX,
)
from tallystick.validator.reads import Reads
from tallystick.validator.store import get_meta, set_meta
from tallystick.validator.work import CHUNK, Recent, Work
from tallystick.verify.checks import kin_of
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim
from tallystick.verify.neighbours import Granted, Kin
from tallystick.verify.plan import plan_of

Found = Any  # a row of a query
Known = Callable[[Found], KnownClaim]

_RELEASES, _GRANTS, _CLAIMS, _SETS = (
    schema.releases,
    schema.grants,
    schema.claims,
    schema.party_sets,
)
_INDEXED = "neighbours-"
ACQUISITION, OTHER = "acquisition", "other"
AT_MOST = 1  # the second of the two ways to see intervals


class Nearby:
    """The profiles that have such checks, and what is kept of their claims."""

    def __init__(self, profiles: dict[bytes, Profile]) -> None:
        self._profiles = profiles
        self._kin: dict[bytes, Kin | None] = {}
        # (scope, bucket, device) -> grants
        self._grants: Recent[tuple[bytes, int, bytes], int] = Recent(INTERACTIONS_CACHED_MAX)

    def _of(self, profile: bytes) -> Kin | None:
        if profile not in self._kin:
            known = self._profiles.get(profile)
            self._kin[profile] = None if known is None else kin_of(plan_of(known))
        return self._kin[profile]

    # --- claims that come ------------------------------------------------------------------

    def forget(self) -> None:
        """After a rollback."""
        self._grants.clear()

    def check(self, work: Work, made: Claim, device: bytes) -> None:
        """Unverified("over-quota") where a device crowds what its neighbours must read."""
        kin = self._of(made.profile)
        if kin is None:
            return
        if kin.cites(made) and made.relied:
            self._check_releases(work, kin, made, device)
        for granted, bucket in _buckets(kin, made, device):
            if self._count(work, granted, bucket, device) >= GRANTS_PER_DEVICE_MAX:
                raise Unverified(
                    "over-quota",
                    f"more than {GRANTS_PER_DEVICE_MAX} grants of a resource by a device at a time",
                )

    @staticmethod
    def _check_releases(work: Work, kin: Kin, made: Claim, device: bytes) -> None:
        table = _RELEASES
        connection = work.written(table, _CLAIMS)
        chain = kin.chain(made, device)
        for at in range(0, len(made.relied), CHUNK):
            crowded = connection.execute(
                sa.select(table.c.cited)
                .where(table.c.chain == chain, table.c.cited.in_(made.relied[at : at + CHUNK]))
                .group_by(table.c.cited)
                .having(sa.func.count() >= RELEASES_PER_ACQUISITION_MAX)
            ).scalars()
            # What is not known here may be anything, and what every release names is no item.
            if any(_what(connection, kin, cited) is ACQUISITION for cited in list(crowded)):
                raise Unverified(
                    "over-quota",
                    f"more than {RELEASES_PER_ACQUISITION_MAX} releases cite one acquisition",
                )

    def _count(self, work: Work, granted: Granted, bucket: int, device: bytes) -> int:
        key = (granted.scope, bucket, device)
        count = self._grants.get(key)
        if count is None:
            length_ms = granted.longest_ms
            count = (
                work.written(_GRANTS, _CLAIMS)
                .execute(
                    sa.select(sa.func.count())
                    .select_from(_GRANTS)
                    .join(_CLAIMS, _CLAIMS.c.claim == _GRANTS.c.claim)
                    .where(
                        _GRANTS.c.scope == granted.scope,
                        _GRANTS.c.way == AT_MOST,
                        _GRANTS.c.begin_ms >= bucket * length_ms,
                        _GRANTS.c.begin_ms < (bucket + 1) * length_ms,
                        _CLAIMS.c.device == device,
                    )
                )
                .scalar_one()
            )
            self._grants.put(key, count)
        return count

    def link(self, work: Work, made: Claim, reference: bytes, device: bytes, number: int) -> None:
        """A claim that was logged; findings that may read it are due."""
        kin = self._of(made.profile)
        if kin is None:
            return
        if kin.acquires(made):
            # Whoever cites it in this transaction is due by itself.
            self._due(work, sa.select(_RELEASES.c.party_set).where(_RELEASES.c.cited == reference))
        self._keep(work, kin, made, reference, device, number)
        for granted, bucket in _buckets(kin, made, device):
            counted = self._count(work, granted, bucket, device)
            self._grants.put((granted.scope, bucket, device), counted + 1)
        for granted, way, span in _spans(kin, made, device):
            # By buckets, once each: a flood of grants must not read itself again and again.
            bucket = span[0] // granted.longest_ms
            if self._first(work, (granted.scope, way, bucket)):
                query = sa.select(_GRANTS.c.party_set).where(
                    _GRANTS.c.scope == granted.scope,
                    _GRANTS.c.way == way,
                    _GRANTS.c.begin_ms > (bucket - 1) * granted.longest_ms,
                    _GRANTS.c.begin_ms < (bucket + 2) * granted.longest_ms,
                )
                self._due(work, query)

    @staticmethod
    def _first(work: Work, key: object) -> bool:
        # Rows of this transaction are of sets that are due already.
        if key in work.neighbourhoods:
            return False
        work.neighbourhoods.add(key)
        return True

    @staticmethod
    def _due(work: Work, query: Any) -> None:
        work.dirty.update(work.connection.execute(query.distinct()).scalars())

    def _keep(
        self, work: Work, kin: Kin, made: Claim, reference: bytes, device: bytes, number: int
    ) -> None:
        if kin.cites(made) and made.relied:
            connection = work.written(_CLAIMS)
            chain = kin.chain(made, device)
            for cited in made.relied:
                what = _what(connection, kin, cited)
                if what is OTHER:
                    continue
                if what is ACQUISITION and self._first(work, (chain, cited)):
                    # Rivals, if it has any; nobody is one by what is not known.
                    query = sa.select(_RELEASES.c.party_set).where(
                        _RELEASES.c.cited == cited, _RELEASES.c.chain == chain
                    )
                    self._due(work, query)
                row = {"cited": cited, "chain": chain, "claim": reference, "party_set": number}
                work.insert(_RELEASES, **row)
        for granted, way, span in _spans(kin, made, device):
            work.insert(
                _GRANTS,
                scope=granted.scope,
                way=way,
                begin_ms=span[0],
                end_ms=span[1],
                longest_ms=granted.longest_ms,
                claim=reference,
                party_set=number,
            )

    # --- what a finding may read -----------------------------------------------------------

    def others(
        self, reads: Reads, interaction: bytes, ours: Iterable[KnownClaim], known: Known
    ) -> list[KnownClaim]:
        """The direct neighbours of these claims of one set, each as `known` makes it of a row."""
        found: list[KnownClaim] = []
        for own in ours:
            made = own.claim
            kin = None if made is None else self._of(made.profile)
            if made is None or kin is None or own.status not in GOOD_STATUSES:
                continue
            reader = _Reader(reads, interaction, kin, known)
            if kin.cites(made):
                chain = kin.chain(made, own.device)
                for acquisition in reader.acquisitions(made.relied):
                    found.append(acquisition)
                    found += reader.rival(own.reference, chain, acquisition.reference)
            for granted, way, span in _spans(kin, made, own.device):
                found += reader.around(granted, way, span)
        return found

    # --- profiles --------------------------------------------------------------------------

    def index_known(self, work: Work) -> None:
        """After a start: claims that came while their profile was not known, or before this index.

        Their findings are due.
        """
        names = {_INDEXED + digest.hex(): digest for digest in self._profiles if self._of(digest)}
        for name in list(
            work.connection.execute(
                sa.select(schema.meta.c.name).where(schema.meta.c.name.startswith(_INDEXED))
            ).scalars()
        ):
            if name not in names:
                # Its claims are no longer followed; should it come back, all are looked at again.
                work.connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == name))
        for name, digest in names.items():
            if get_meta(work.connection, name) is None:
                self._index(work, digest)
                set_meta(work.connection, name, "1")

    def _index(self, work: Work, digest: bytes) -> None:
        kin = self._of(digest)
        last = b""
        while kin is not None:
            rows = list(
                work.connection.execute(
                    sa.select(
                        _CLAIMS.c.claim, _CLAIMS.c.device, _CLAIMS.c.record, _SETS.c.party_set
                    )
                    .join(_SETS, _SETS.c.party_set == _CLAIMS.c.party_set)
                    .where(_SETS.c.profile == digest, _CLAIMS.c.claim > last)
                    .order_by(_CLAIMS.c.claim)
                    .limit(CHUNK)
                )
            )
            if not rows:
                return
            last = rows[-1].claim
            forget(work, [row.claim for row in rows])
            for row in rows:
                if row.record:
                    made = claim.parse(row.record)
                    self._keep(work, kin, made, row.claim, row.device, row.party_set)
                work.dirty.add(row.party_set)
            work.written(_RELEASES, _GRANTS)


def _what(connection: Connection, kin: Kin, cited: bytes) -> str | None:
    record = connection.execute(
        sa.select(_CLAIMS.c.record).where(_CLAIMS.c.claim == cited)
    ).scalar_one_or_none()
    if not record:
        return None  # not known here, or erased
    return ACQUISITION if kin.acquires(claim.parse(record)) else OTHER


def _buckets(kin: Kin, made: Claim, device: bytes) -> list[tuple[Granted, int]]:
    return [
        (granted, span[0] // granted.longest_ms)
        for granted, way, span in _spans(kin, made, device)
        if way == AT_MOST
    ]


def _spans(kin: Kin, made: Claim, device: bytes) -> Iterator[tuple[Granted, int, tuple[int, int]]]:
    for granted in kin.granted(made, device):
        for way, span in enumerate(granted.spans):
            if span is not None:
                yield granted, way, span


class _Reader:
    # Reads candidates in the order of the specification until one counts.

    def __init__(self, reads: Reads, interaction: bytes, kin: Kin, known: Known) -> None:
        self._connection = reads.written(_CLAIMS, _SETS, _RELEASES, _GRANTS)
        self._interaction = interaction
        self._kin = kin
        self._known = known

    def acquisitions(self, relied: Sequence[bytes]) -> list[KnownClaim]:
        """What a release cites, as far as it is an acquisition of another interaction."""
        found = []
        for at in range(0, len(relied), CHUNK):
            for row in self._rows(_CLAIMS.c.claim.in_(relied[at : at + CHUNK])):
                known = self._known(row)
                if known.claim is not None and self._kin.acquires(known.claim):
                    found.append(known)
        return found

    def rival(self, own: bytes, chain: bytes, cited: bytes) -> list[KnownClaim]:
        """The next release of an acquisition that counts."""
        column = _RELEASES.c.claim
        query = sa.select(column).where(_RELEASES.c.cited == cited, _RELEASES.c.chain == chain)
        above = query.where(column > own).order_by(column)
        below = query.where(column < own).order_by(column.desc())
        return self._first_of(above) or self._first_of(below)

    def around(self, granted: Granted, way: int, span: tuple[int, int]) -> list[KnownClaim]:
        """Predecessor and successor of a grant, in one of the two ways to see intervals."""
        begin, end, reference = _GRANTS.c.begin_ms, _GRANTS.c.end_ms, _GRANTS.c.claim
        query = sa.select(reference).where(_GRANTS.c.scope == granted.scope, _GRANTS.c.way == way)
        longest_ms = granted.longest_ms
        before = query.where(begin <= span[0], begin > span[0] - longest_ms)
        after = query.where(begin > span[0], begin < span[0] + longest_ms)
        return [
            *self._first_of(before.order_by(end.desc(), reference)),
            *self._first_of(after.order_by(begin, reference)),
        ]

    def _first_of(self, query: Any) -> list[KnownClaim]:
        for reference in self._connection.execute(query).scalars():
            for row in self._rows(_CLAIMS.c.claim == reference):
                known = self._known(row)
                if (
                    known.claim is not None
                    and known.status in GOOD_STATUSES
                    and self._kin.fits(known.claim)
                ):
                    return [known]
        return []

    def _rows(self, where: Any) -> list[Found]:
        logs = schema.logs
        return list(
            self._connection.execute(
                sa.select(_CLAIMS, logs.c.epoch)
                .join(logs, logs.c.log == _CLAIMS.c.log)
                .join(_SETS, _SETS.c.party_set == _CLAIMS.c.party_set)
                .where(where, _SETS.c.interaction != self._interaction)
            )
        )


def touch(work: Work, device: bytes) -> None:
    """Findings that may read a claim of this device as a neighbour are due again."""
    connection = work.written(_CLAIMS, _SETS, _RELEASES, _GRANTS)
    made = sa.select(_CLAIMS.c.claim).where(_CLAIMS.c.device == device)
    cited = sa.select(_RELEASES.c.party_set).where(_RELEASES.c.cited.in_(made))
    theirs, near = _GRANTS.alias("theirs"), _GRANTS.alias("near")
    granted = (
        sa.select(near.c.party_set)
        .join(theirs, (theirs.c.scope == near.c.scope) & (theirs.c.way == near.c.way))
        .where(
            theirs.c.claim.in_(made),
            near.c.begin_ms > theirs.c.begin_ms - theirs.c.longest_ms,
            near.c.begin_ms < theirs.c.begin_ms + theirs.c.longest_ms,
        )
    )
    for found in (cited, granted):
        connection.execute(sa.update(_SETS).where(_SETS.c.party_set.in_(found)).values(dirty=True))


def forget(work: Work, references: Sequence[bytes]) -> None:
    """Nothing is kept of these claims: their bodies were erased."""
    connection = work.written(_RELEASES, _GRANTS)
    for table in (_RELEASES, _GRANTS):
        for at in range(0, len(references), CHUNK):
            chunk = references[at : at + CHUNK]
            connection.execute(sa.delete(table).where(table.c.claim.in_(chunk)))


def used_rows(connection: Connection, verdict_entry: int | None) -> list[tuple[Found, Found]]:
    """The claims of other interactions that a signed finding used, each with its party set."""
    data = connection.execute(
        sa.select(schema.entries.c.data).where(schema.entries.c.entry == verdict_entry)
    ).scalar_one_or_none()
    try:
        others = [] if data is None else verdict.parse(data).finding.others
    except TallyError:
        return []
    found = []
    for row in others:
        made = connection.execute(
            sa.select(_CLAIMS).where(_CLAIMS.c.claim == row.claim)
        ).one_or_none()
        if made is not None:
            of = sa.select(_SETS).where(_SETS.c.party_set == made.party_set)
            found.append((made, connection.execute(of).one()))
    return found


def used_erased(work: Work, verdict_entry: int) -> bool:
    """Whether a signed finding used a claim of another interaction whose body was erased since."""
    rows = used_rows(work.written(_CLAIMS, _SETS), verdict_entry)
    return any(not made.record for made, _ in rows)
