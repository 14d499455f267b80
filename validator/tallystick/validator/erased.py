"""What was erased here, and stays so: a body that is sent again is taken as its hash."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import accepted, checkpoint, half, leaf, segment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.kinds import ACCEPTED_HALF
from tallystick.evidence.segment import Segment, Stretch
from tallystick.validator import schema
from tallystick.validator.devicelog import DeviceLog, Held, pack
from tallystick.validator.elide import bodies, kind_of_body, without
from tallystick.validator.limits import FORK_SEGMENT_BYTES_MAX
from tallystick.validator.rows import Prepared
from tallystick.validator.work import Work

_TABLE = schema.erasures
_OF_LOG = Prepared(
    sa.select(_TABLE.c.first, _TABLE.c.to, _TABLE.c.kinds, _TABLE.c.entry)
    .where(_TABLE.c.log == sa.bindparam("log"), _TABLE.c.to > sa.bindparam("first"))
    .order_by(_TABLE.c.entry)
)


class Range(NamedTuple):
    """Records of these kinds (bit n: kind n) in [first, to) of a log, by the erasure at `entry`."""

    first: int
    to: int
    kinds: int
    entry: int

    def has(self, index: int, kind: int) -> bool:
        """Whether it covers this record."""
        return self.first <= index < self.to and bool(self.kinds >> kind & 1)


def covering(connection: Connection, log: int, first: int, to: int) -> list[Range]:
    """What was erased of a log between two indexes."""
    rows = _OF_LOG.rows(connection, log=log, first=first)
    return [Range(*row) for row in rows if row[0] < to]


def by_erasure(ranges: Iterable[Range], index: int, kind: int) -> Range | None:
    """The first erasure that covers a record."""
    return next((one for one in ranges if one.has(index, kind)), None)


def stripped(stretch: Stretch, ranges: Sequence[Range]) -> Stretch:
    """The stretch without what these cover; the same one where that is nothing."""
    gone = {
        at for at, body in bodies(stretch) if by_erasure(ranges, at, kind_of_body(body)) is not None
    }
    # What covers one of its hashes forbids its seed too: that gives the erased record's salt.
    seed = isinstance(stretch.secret, bytes)
    if not gone and not (seed and any(_meets(one, stretch) for one in ranges)):
        return stretch
    return without(stretch, gone)


def _meets(one: Range, stretch: Stretch) -> bool:
    return one.first < stretch.to and stretch.first < one.to


def of_log(work: Work, log: DeviceLog, first: int, to: int) -> list[Range]:
    """What was erased of a log between two indexes; without a query where a log only grows."""
    if log.erased_to is None:
        query = sa.select(sa.func.max(_TABLE.c.to)).where(_TABLE.c.log == log.log)
        log.erased_to = work.written(_TABLE).execute(query).scalar_one() or 0
    if first >= log.erased_to:
        return []
    return covering(work.written(_TABLE), log.log, first, to)


def strip(work: Work, log: DeviceLog, held: Held) -> None:
    """Before a stretch is stored or looked at: what was erased is not taken again."""
    ranges = of_log(work, log, held.first, held.to)
    if ranges:
        made = stripped(held.stretch, ranges)
        if made is not held.stretch:
            held.replace(made)


def strip_stored(work: Work, log: int, ranges: Sequence[Range]) -> tuple[int, set[int]]:
    """Erase from the stretches that are stored; (bodies, the indexes of those)."""
    table = schema.stretches
    connection = work.written(table)
    first, to = min(one.first for one in ranges), max(one.to for one in ranges)
    rows = connection.execute(
        sa.select(table)
        .where(table.c.log == log, table.c.first < to, table.c.to > first, table.c.records > 0)
        .order_by(table.c.first)
    ).all()
    gone: set[int] = set()
    for row in rows:
        stored = segment.parse(row.items)
        stretch = stored.stretches[0]
        made = stripped(stretch, ranges)
        if made is stretch:
            continue
        gone |= {at for at, _ in bodies(stretch)} - {at for at, _ in bodies(made)}
        connection.execute(
            sa.update(table)
            .where(table.c.log == log, table.c.first == row.first)
            .values(
                items=pack(stored.device, stored.epoch, made),
                records=len(made.items) - made.elided,
            )
        )
    return len(gone), gone


def strip_branches(work: Work, log: int, device: bytes, epoch: bytes) -> None:
    """Erase from what is kept of a log's other branches."""
    table = schema.forks
    connection = work.written(table)
    rows = connection.execute(
        sa.select(table.c.fork, table.c.segment).where(
            table.c.device == device, table.c.epoch == epoch, table.c.segment.is_not(None)
        )
    ).all()
    for row in rows:
        data: bytes | None = None
        try:
            kept = segment.parse(row.segment)
            ranges = covering(connection, log, kept.first, kept.to)
            made = [stripped(stretch, ranges) for stretch in kept.stretches]
            if made == kept.stretches:
                continue
            data = Segment(kept.device, kept.epoch, kept.first, kept.edge, made).encode()
        except TallyError:
            pass  # it cannot be read, so it cannot be erased from: its heads are the proof
        if data is not None and len(data) > FORK_SEGMENT_BYTES_MAX:
            data = None
        connection.execute(sa.update(table).where(table.c.fork == row.fork).values(segment=data))


# --- copies ----------------------------------------------------------------------------------


def note_copy(work: Work, claim: bytes, log: int, at: int, *, unseen: bool) -> None:
    """Remember that an accepted half of a claim lies at this place."""
    table = schema.copies
    if not unseen:
        known = work.written(table).execute(
            sa.select(table.c.at).where(
                table.c.claim == claim, table.c.log == log, table.c.at == at
            )
        )
        if known.first() is not None:
            return
    work.insert(table, claim=claim, log=log, at=at)


def forget_copy(work: Work, log: int, at: int, entry: int) -> None:
    """Erase the accepted half at this place, and remember it by the erasure at `entry`."""
    one = Range(at, at + 1, 1 << ACCEPTED_HALF, entry)
    remember(work, log, [one])
    strip_stored(work, log, [one])
    row = work.connection.execute(
        sa.select(schema.logs.c.device, schema.logs.c.epoch).where(schema.logs.c.log == log)
    ).one_or_none()
    if row is not None:
        strip_branches(work, log, row.device, row.epoch)


def remember(work: Work, log: int, ranges: Iterable[Range]) -> None:
    """Keep what was erased, each once."""
    for one in ranges:
        given = {"log": log, **one._asdict()}
        known = work.written(_TABLE).execute(sa.select(_TABLE.c.log).filter_by(**given))
        if known.first() is None:
            work.insert(_TABLE, **given)
    work.written(_TABLE)
    for opened in work.logs.values():
        if opened.log == log:
            opened.erased_to = None


def index_copies(work: Work) -> None:
    """Of a store from before copies were noted: look for them once."""
    table = schema.stretches
    rows = work.connection.execute(
        sa.select(table.c.log, table.c["items"]).where(table.c.records > 0)
    ).yield_per(64)
    found: set[tuple[bytes, int, int]] = set()
    for row in rows:
        for at, record in bodies(segment.parse(row.items).stretches[0]):
            if kind_of_body(record) == ACCEPTED_HALF:
                reference = _claim_in(record)
                if reference is not None:
                    found.add((reference, row.log, at))
    for claim, log, at in sorted(found):
        note_copy(work, claim, log, at, unseen=False)


def _claim_in(record: bytes) -> bytes | None:
    try:
        got = half.parse(accepted.parse(record).half)
        head = checkpoint.parse(got.checkpoint)
    except TallyError:
        return None
    made: Any = leaf.leaf(got.salt, got.record)
    return claim_reference(head.device, head.epoch, got.index, made)
