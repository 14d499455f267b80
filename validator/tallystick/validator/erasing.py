"""Erasing bodies: chosen first, against every hold; then logged; then gone (docs/protocol.md, 6.6).

A claim's body lies in its maker's stretch, in the row that findings read, in accepted halves of
other devices, and in what is kept of a fork. It goes from all of them, with its salt.
"""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from tallystick.evidence import accepted, claim, half, segment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM
from tallystick.validator import erased, nearby, schema
from tallystick.validator.elide import bodies, kind_of_body
from tallystick.validator.erased import Range
from tallystick.validator.holds import Held, held
from tallystick.validator.limits import ERASED_STRETCHES_PER_ORDER_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.work import CHUNK, Work


class Place(NamedTuple):
    """A log, and whose it is."""

    log: int
    device: bytes
    epoch: bytes
    iss: str | None


def on_hold() -> Problem:
    """What must be kept is kept whole: nothing of the order is done."""
    return Problem(
        "on-hold",
        "some of it is on hold, or of a party set that has no verdict on it yet",
        status=409,
    )


class Chosen:
    """What will be erased of one log: ranges, kinds, and the claims among them with their copies.

    strict: Problem("on-hold") where anything is held, or belongs to a party set that is open or
    whose finding is due; else that is passed over.
    """

    def __init__(
        self, work: Work, place: Place, ranges: Iterable[list[int]], kinds: int, *, strict: bool
    ) -> None:
        self.place = place
        self.kinds = kinds
        self.ranges: list[list[int]] = []
        self._work = work
        self._strict = strict
        self._held = held(work.connection)
        self._claims: dict[int, list[bytes]] = {}
        self._stuck: set[int] = set()
        if self._held.of(place.device, place.iss):
            if strict:
                raise on_hold()
            return
        wanted = [list(one) for one in ranges]
        for first, to in wanted:
            self._look(first, to)
        if strict and self._stuck:
            raise on_hold()
        for first, to in wanted:
            self._split(first, to)

    def _look(self, first: int, to: int) -> None:
        if self.kinds >> CLAIM & 1:
            self._claims_of(first, to)
        if self.kinds >> ACCEPTED_HALF & 1 and self._held.claims:
            self._halves_of(first, to)

    def _claims_of(self, first: int, to: int) -> None:
        table, sets = schema.claims, schema.party_sets
        rows = self._work.written(table, sets).execute(
            sa.select(
                table.c.claim,
                table.c.at,
                sets.c.namespace,
                sets.c.interaction,
                sets.c.state,
                sets.c.dirty,
                sets.c.portion,
            )
            .join(sets, sets.c.party_set == table.c.party_set)
            .where(table.c.log == self.place.log, table.c.at >= first, table.c.at < to)
        )
        for row in rows:
            self._claims.setdefault(row.at, []).append(row.claim)
            # Who could take back what is not judged yet could say something else in its place.
            is_open = row.state == "pending" or row.dirty or row.portion is not None
            if is_open or self._held.about(row.namespace, row.interaction):
                self._stuck.add(row.at)
        references = {one: at for at, found in self._claims.items() for one in found}
        for copy in _copies(self._work, references):
            if self._held.of(copy.device, copy.iss):
                self._stuck.add(references[copy.claim])

    def _halves_of(self, first: int, to: int) -> None:
        table = schema.stretches
        rows = self._work.written(table).execute(
            sa.select(table.c["items"]).where(
                table.c.log == self.place.log, table.c.first < to, table.c.to > first
            )
        )
        for row in rows:
            for at, record in bodies(segment.parse(row.items).stretches[0]):
                accepted_here = first <= at < to and kind_of_body(record) == ACCEPTED_HALF
                if accepted_here and _about(self._held, record):
                    self._stuck.add(at)

    def _split(self, first: int, to: int) -> None:
        at = first
        for stuck in sorted(one for one in self._stuck if first <= one < to):
            if at < stuck:
                self.ranges.append([at, stuck])
            at = stuck + 1
        if at < to:
            self.ranges.append([at, to])

    def has_bodies(self) -> bool:
        """Whether anything of it is still there."""
        stretches, claims = schema.stretches, schema.claims
        log = self.place.log
        for first, to in self.ranges:
            if self.kinds >> CLAIM & 1:
                known = self._work.connection.execute(
                    sa.select(claims.c.at)
                    .where(claims.c.log == log, claims.c.at >= first, claims.c.at < to)
                    .where(claims.c.record != b"")
                    .limit(1)
                )
                if known.first() is not None:
                    return True
            rows = self._work.connection.execute(
                sa.select(stretches.c["items"])
                .where(stretches.c.log == log, stretches.c.first < to, stretches.c.to > first)
                .where(stretches.c.records > 0)
            )
            for row in rows:
                for at, record in bodies(segment.parse(row.items).stretches[0]):
                    if first <= at < to and self.kinds >> kind_of_body(record) & 1:
                        return True
        return False

    def erase(self, entry: int) -> int:
        """Erase it, by the erasure that is logged at `entry`; how many bodies went."""
        work, place = self._work, self.place
        ranges = [Range(first, to, self.kinds, entry) for first, to in self.ranges]
        if not ranges:
            return 0
        # Workers may have read it, here or as a neighbour; erasing itself makes nothing due.
        work.recall = True
        erased.remember(work, place.log, ranges)
        count, gone = erased.strip_stored(work, place.log, ranges)
        erased.strip_branches(work, place.log, place.device, place.epoch)
        if self.kinds >> CLAIM & 1:
            count += self._erase_claims(entry, gone)
        return count

    def _erase_claims(self, entry: int, gone: set[int]) -> int:
        work = self._work
        taken = {
            reference: at
            for at, found in self._claims.items()
            if at not in self._stuck
            for reference in found
        }
        table = schema.claims
        connection = work.written(table)
        references = list(taken)
        more = 0
        for at in range(0, len(references), CHUNK):
            chunk = references[at : at + CHUNK]
            rows = connection.execute(
                sa.select(table.c.at).where(table.c.claim.in_(chunk), table.c.record != b"")
            )
            more += len({row.at for row in rows} - gone)
            connection.execute(
                sa.update(table).where(table.c.claim.in_(chunk)).values(record=b"", salt=b"")
            )
        nearby.forget(work, references)
        for copy in _copies(work, taken):
            erased.forget_copy(work, copy.log, copy.at, entry)
        return more


class _Copy(NamedTuple):
    claim: bytes
    log: int
    at: int
    device: bytes
    iss: str | None


def _copies(work: Work, references: Iterable[bytes]) -> list[_Copy]:
    table, logs, known = schema.copies, schema.logs, schema.identities
    connection = work.written(table)
    wanted = list(references)
    found: list[_Copy] = []
    for at in range(0, len(wanted), CHUNK):
        rows = connection.execute(
            sa.select(table.c.claim, table.c.log, table.c.at, logs.c.device, known.c.iss)
            .join(logs, logs.c.log == table.c.log)
            .join(known, known.c.id == logs.c.device, isouter=True)
            .where(table.c.claim.in_(wanted[at : at + CHUNK]))
            .order_by(table.c.log, table.c.at)
        )
        found += [_Copy(*row) for row in rows]
    return found


def _about(kept: Held, record: bytes) -> bool:
    try:
        made = claim.parse(half.parse(accepted.parse(record).half).record)
    except TallyError:
        return False
    return kept.about(made.namespace, made.interaction_id())


def within_reach(work: Work, place: Place, ranges: Iterable[list[int]]) -> None:
    """Problem("too-large") for an order over more stretches than one transaction takes."""
    table = schema.stretches
    count = 0
    for first, to in ranges:
        count += work.connection.execute(
            sa.select(sa.func.count())
            .select_from(table)
            .where(table.c.log == place.log, table.c.first < to, table.c.to > first)
        ).scalar_one()
    if count > ERASED_STRETCHES_PER_ORDER_MAX:
        raise Problem(
            "too-large",
            f"the ranges reach over more than {ERASED_STRETCHES_PER_ORDER_MAX} stretches; "
            "ask in parts",
        )
