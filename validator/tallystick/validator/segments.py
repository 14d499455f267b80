"""One segment: verified by itself, compared with what is known, then taken over.

Everything that can refuse a segment happens before anything is changed, so that one bad item
affects no other.
"""

import sqlalchemy as sa

from tallystick.evidence import checkpoint, event, segment
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import CHECKPOINT, EVENT
from tallystick.evidence.record import kind_of
from tallystick.evidence.segment import Segment, verify_segment
from tallystick.evidence.tree import Tree, proof_from_nodes
from tallystick.validator import bodiless, erased, forks, keystatus, schema, settled
from tallystick.validator.checkpoints import Checkpoints
from tallystick.validator.cutting import cut_ours
from tallystick.validator.devicelog import (
    DeviceLog,
    DeviceLogs,
    Held,
    NodeReader,
    held_over,
    pack,
    split,
)
from tallystick.validator.forks import Contradiction
from tallystick.validator.identities import Identities, Known, touch
from tallystick.validator.merge import merge
from tallystick.validator.records import Placed, Records
from tallystick.validator.taken import Bodies, Taken, record_indexes
from tallystick.validator.work import Work


class Segments:
    """Takes segments into device logs."""

    def __init__(
        self, identities: Identities, logs: DeviceLogs, checkpoints: Checkpoints, records: Records
    ) -> None:
        self._identities = identities
        self._logs = logs
        self._checkpoints = checkpoints
        self._records = records

    def take(self, work: Work, data: bytes, received: Segment | None = None) -> bytes:
        """Verify and take over; returns the digest of its last checkpoint, or raises TallyError."""
        received = received or segment.parse(data)  # as whoever looked at it before has parsed it
        at_s = work.group.time_ms // 1000
        known = self._identities.require(work, received.device, SUBJECT_DEVICE, at_s)
        log = self._logs.get(work, received.device, received.epoch)
        good = keystatus.good_stretches(work, known.identity, received)
        if good < len(received.stretches):
            self._keep_apart(work, known, received, good)
        if log is None:
            taken = self._verify(known, received, None)
            log = self._logs.open(work, received.device, received.epoch)
            self._take_over(work, known, log, taken, set())
            return taken.verified.checkpoint.digest
        return self._continue(work, known, log, received, data)

    def _keep_apart(self, work: Work, known: Known, received: Segment, good: int) -> None:
        """Kept with its status, and no part of the log that the current key continues."""
        if good:
            one = received
            part = Segment(one.device, one.epoch, one.first, one.edge, one.stretches[:good])
            self.take(work, part.encode())
        log = self._logs.open(work, received.device, received.epoch)
        self._aside(work, known, log, received)
        raise Unverified("revoked", "beyond the head at which its key ended; kept as suspect")

    def _aside(self, work: Work, known: Known, log: DeviceLog, received: Segment) -> None:
        if forks.keep_apart(work, log, received):
            self._second_branch(work, known, log, received)

    def _continue(
        self,
        work: Work,
        known: Known,
        log: DeviceLog,
        received: Segment,
        data: bytes,
        *,
        again: bool = False,
    ) -> bytes:
        try:
            taken = self._verify_on(work, known, log, received)
            if log.frozen_at is not None and taken.to > log.frozen_at:
                self._grown_though_frozen(work, known, log, taken, data)
            seen = self._compare(work, known, log, taken)
        except Contradiction as found:
            if not again and cut_ours(work, known, log, found.ours):
                return self._continue(work, known, log, received, data, again=True)
            if not settled.counts(known.identity, "fork", found.ours, found.theirs):
                self._aside(work, known, log, received)
                raise Unverified("revoked", "of two histories one is by a stolen key") from None
            forks.record(work, known, log, found, "fork", data)
            self._second_branch(work, known, log, received)
            raise Unverified("fork", "it contradicts the device's own signed head") from None
        self._take_over(work, known, log, taken, seen)
        return taken.verified.checkpoint.digest

    # --- before anything is changed --------------------------------------------------------

    def _verify_on(self, work: Work, known: Known, log: DeviceLog, received: Segment) -> Taken:
        """On the known tree where there is one, else on the edge that it carries."""
        base = self._base(work, log, received)
        try:
            return self._verify(known, received, base)
        except Unverified as error:
            if error.reason == "fork":
                # Its carried edge is another history's; verified by itself it shows which.
                return self._verify(known, received, None)
            if error.reason == "bad-root":
                # The items are wrong, or the head is another history's: the head itself tells.
                for stretch in received.stretches:
                    head = checkpoint.parse(stretch.checkpoint)
                    if keystatus.is_beyond(work, known.identity, head):
                        continue
                    forks.compare(work, log, head.verify(known.identity.own_key_of(head)))
            raise

    @staticmethod
    def _verify(known: Known, received: Segment, base: Tree | None) -> Taken:
        return Taken(verify_segment(received, known.identity, base), base)

    @staticmethod
    def _base(work: Work, log: DeviceLog, received: Segment) -> Tree | None:
        """The known tree at the segment's begin; None where the segment must bring its own."""
        first = received.first
        if first == log.size:
            return log.tree
        if first == 0:
            return Tree()
        if first > log.size:
            return None
        held = held_over(work.written(schema.stretches), log.log, first - 1)
        return None if held is None else held.tree_at(first)

    def _grown_though_frozen(
        self, work: Work, known: Known, log: DeviceLog, taken: Taken, data: bytes
    ) -> None:
        if taken.to <= log.size:
            return
        others = self._logs.of(work, log.device)
        heads = [stretch.checkpoint for stretch in taken.verified.stretches]
        head = next((h for h in heads if keystatus.signed_after(work, log, h, others)), None)
        if head is None:
            # Signed before the device left, and held back by somebody: delay changes nothing.
            log.frozen_at = taken.to
            log.changed = True
            return
        found = Contradiction(log.newest or head, head, None)
        forks.record(work, known, log, found, "frozen-epoch", data)
        raise Unverified("frozen-epoch", "its device had left this epoch before this head")

    @staticmethod
    def _compare(work: Work, known: Known, log: DeviceLog, taken: Taken) -> set[int]:
        """Sizes of the segment's heads that were known before; Contradiction when one differs."""
        size = log.size
        if taken.first == size and not log.heads_ahead:
            if taken.to > size and log.newest is not None:
                checkpoint.follows(log.newest, taken.verified.stretches[0].checkpoint)
            return set()
        heads: list[checkpoint.Checkpoint] = [s.checkpoint for s in taken.verified.stretches]
        edge = taken.verified.segment.edge
        if edge is not None:
            # verify_segment has verified it.
            heads.insert(0, checkpoint.parse(edge.checkpoint))
        # Else what is of one branch would be answered, and dropped in favour of the other's.
        doubted = known.doubted
        seen = {head.size for head in heads if forks.compare(work, log, head, doubted=doubted)}
        if taken.first < size < taken.to and size not in seen:
            _crosses(log, taken)
        return seen

    # --- taking over -----------------------------------------------------------------------

    def _take_over(
        self, work: Work, known: Known, log: DeviceLog, taken: Taken, seen: set[int]
    ) -> None:
        # Nothing of it can be known: it begins where the log ends, and nobody was ahead of it.
        unseen = (
            taken.first >= log.size
            and not (seen or log.ahead or log.heads_ahead)
            # A log may have been cut back where a key ended: what lay beyond stays logged.
            and not known.doubted
        )
        self._place(log, taken)
        self._joined(work, known, log, taken)
        for held, checked in taken.stretches(log.log):
            new = unseen and bool(held.stretch.items)
            at = self._checkpoints.add(work, known, log, checked, inside=True, new=new)
            log.heard(checked)
            if not held.stretch.items:
                continue
            erased.strip(work, log, held)
            if new:
                self._store(work, log, held, checked)
            fresh = None if new else self._merge(work, log, held, checked)
            self._bodies(work, known, Bodies(held, checked, at, fresh, unseen=new), log)
        keystatus.touch_placed(work, known.identity, log.epoch)
        if log.heads_ahead:
            self._settle(work, known, log)

    @staticmethod
    def _place(log: DeviceLog, taken: Taken) -> None:
        """Move the log's end, or its begin, before its records are looked at."""
        if taken.to <= taken.first and log.size:
            return
        if log.size == 0:
            log.began = taken.first
            log.tree = taken.verified.tree.copy()
        elif taken.to > log.size:
            log.tree = taken.verified.tree.copy()
        else:
            log.began = min(log.began, taken.first)
        log.changed = True

    def _joined(self, work: Work, known: Known, log: DeviceLog, taken: Taken) -> None:
        # Knowledge begins at a head that the device signed: it is logged as any other.
        edge = taken.verified.segment.edge
        if edge is not None and taken.verified.began is not None:
            head = checkpoint.parse(edge.checkpoint)
            head = head.verify(known.identity.own_key_of(head))
            self._checkpoints.add(work, known, log, head, inside=True)
            log.heard(head)

    @staticmethod
    def _store(work: Work, log: DeviceLog, held: Held, head: VerifiedCheckpoint) -> None:
        stretch = held.stretch
        work.insert(
            schema.stretches,
            log=log.log,
            first=stretch.first,
            to=stretch.to,
            edge=b"".join(held.edge),
            items=held.packed or pack(log.device, log.epoch, stretch),
            checkpoint=head.digest,
            records=len(stretch.items) - stretch.elided,
        )
        log.covered += stretch.to - stretch.first
        if stretch.elided:
            bodiless.note(work, log, held, head)

    def _merge(self, work: Work, log: DeviceLog, held: Held, head: VerifiedCheckpoint) -> set[int]:
        """Store a stretch that may be known already; returns the indexes whose bodies are new."""
        table = schema.stretches
        connection = work.written(table, schema.claims)
        row = connection.execute(
            sa.select(table).where(table.c.log == log.log, table.c.first == held.first)
        ).one_or_none()
        if row is None:
            self._caught_up(work, log, held)
            self._store(work, log, held, head)
            return record_indexes(held.stretch)
        ours = Held(log.log, split(row.edge), segment.parse(row.items).stretches[0])
        if row.to != held.to or row.records == len(ours.stretch.items):
            return set()
        had = record_indexes(ours.stretch)
        both = merge(ours.stretch, held.stretch)
        new = record_indexes(both) - had
        if new:
            connection.execute(
                sa.update(table)
                .where(table.c.log == log.log, table.c.first == held.first)
                .values(
                    items=pack(log.device, log.epoch, both),
                    records=len(both.items) - both.elided,
                )
            )
            held.replace(both)
        return new

    @staticmethod
    def _caught_up(work: Work, log: DeviceLog, held: Held) -> None:
        # Claims that counterparts brought before the log itself came this far count now.
        if log.ahead:
            table = schema.claims
            count: int = work.connection.execute(
                sa.select(sa.func.count(sa.distinct(table.c.at))).where(
                    table.c.log == log.log, table.c.at >= held.first, table.c.at < held.to
                )
            ).scalar_one()
            caught = min(count, log.ahead)
            log.ahead -= caught
            log.claims += caught

    def _bodies(self, work: Work, known: Known, bodies: Bodies, log: DeviceLog) -> None:
        """Look at the bodies that are new."""
        held = bodies.held
        if bodies.fresh is not None and not bodies.fresh:
            return
        read: NodeReader | None = None
        decisions, others = bodies.read()
        for at, leaf, item, nth in others:
            path: list[bytes] = []
            salt = b""
            if item[1:2] == b"\x01":
                read = read or held.reader()
                path = proof_from_nodes(read, at, held.to)
                salt = bodies.salt(at, nth)
            placed = Placed(
                log, at, leaf, item, salt, path, bodies.head, bodies.entry, unseen=bodies.unseen
            )
            self._records.take(work, known, placed, branch=bodies.branch)
            if at == 0 and not bodies.branch:
                self._opened(work, known, log, item)
        if decisions and not bodies.branch:
            known.count("decisions", decisions)
        self._records.drop_unwanted(work)

    def _opened(self, work: Work, known: Known, log: DeviceLog, record: bytes) -> None:
        """An epoch's first record names the head that its device left: that epoch is frozen."""
        try:
            if kind_of(record) != EVENT:
                return
            previous = event.parse(record).details.get("previous")
        except Malformed:
            return
        if not isinstance(previous, list) or len(previous) != 3:
            return
        epoch, size, _ = previous
        if type(epoch) is not bytes or len(epoch) != 8 or type(size) is not int:
            return
        if epoch == log.epoch or not 0 <= size < 1 << 63:
            return
        left = self._logs.open(work, log.device, epoch)
        if left.frozen_at is None:
            left.frozen_at = max(size, left.size)
            left.changed = True
        if any(period.ended for period in known.identity.keys):
            # Heads of the left epoch may lie in a trusted prefix now.
            touch(work, log.device)
        head = left.newest
        if head is not None and head.size > size:
            others = self._logs.of(work, log.device)
            if keystatus.signed_after(work, left, head, others):
                found = Contradiction(head, head, None)
                forks.record(work, known, left, found, "frozen-epoch", b"")

    def _settle(self, work: Work, known: Known, log: DeviceLog) -> None:
        """Heads that counterparts brought, and that the log now reaches, are compared with it."""
        table = schema.checkpoints
        work.group.flush()
        connection = work.written(table, schema.stretches)
        rows = connection.execute(
            sa.select(table.c.digest, schema.entries.c.data)
            .join(schema.entries, schema.entries.c.entry == table.c.entry)
            .where(table.c.log == log.log, ~table.c.inside, table.c.size <= log.size)
        ).all()
        for row in rows:
            head = checkpoint.parse(row.data)
            held = held_over(connection, log.log, head.size - 1)
            tree = None if held is None else held.tree_at(head.size)
            if held is None or tree is None:
                continue
            connection.execute(
                sa.update(table).where(table.c.digest == row.digest).values(inside=True)
            )
            log.heads_ahead -= 1
            if tree.root() != head.root and not keystatus.is_beyond(work, known.identity, head):
                proof = forks.proof_between(held.reader(), head.size, held.to, tree.root())
                ours = forks.head_of_size(work, log, held.to) or log.newest or head
                found = Contradiction(ours, head, proof)
                forks.record(work, known, log, found, "fork", b"")

    def _second_branch(self, work: Work, known: Known, log: DeviceLog, received: Segment) -> None:
        """Both branches are kept: the second one's claims are logged too, with their proofs."""
        erased.strip_branches(work, log.log, log.device, log.epoch)
        try:
            taken = self._verify(known, received, None)
        except Unverified:
            base = self._base(work, log, received)
            try:
                taken = self._verify(known, received, base)
            except Unverified:
                return  # its heads are kept; its items prove nothing
        for held, checked in taken.stretches(log.log):
            entry = work.statement(CHECKPOINT, checked.received().sign1, checked.digest)
            erased.strip(work, log, held)
            self._bodies(work, known, Bodies(held, checked, entry, None, branch=True), log)


def _crosses(log: DeviceLog, taken: Taken) -> None:
    """A stretch across our end: either another history, or one that our own head forbids."""
    for held, head in taken.stretches(log.log):
        if not held.first < log.size < held.to:
            continue
        tree = held.tree_at(log.size)
        ours = log.newest
        if tree is not None and ours is not None and tree.root() != log.tree.root():
            proof = forks.proof_between(held.reader(), log.size, held.to, tree.root())
            raise Contradiction(ours, head, proof)
    raise Unverified("bad-stretch", "a stretch passes over a size that its device checkpointed")
