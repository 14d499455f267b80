"""Forks of devices' logs: two signed heads, and the proof that they contradict each other.

Of equal sizes the two heads are the proof. Of sizes m < n it is a consistency path within the tree
of n whose root at m is not the one that was signed at m: [m, n, root at m, path].
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import checkpoint, forkproof, gatewayhead, misbehaviour
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.errors import TallyError
from tallystick.evidence.forkproof import ForkProof
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.evidence.segment import Segment
from tallystick.evidence.tree import consistency_from_nodes
from tallystick.validator import keystatus, schema
from tallystick.validator.devicelog import DeviceLog, Held, NodeReader, held_over
from tallystick.validator.identities import Known
from tallystick.validator.limits import (
    APART_KEPT_PER_DEVICE_MAX,
    FORK_SEGMENT_BYTES_MAX,
    FORKS_KEPT_PER_DEVICE_MAX,
)
from tallystick.validator.schema import BEYOND
from tallystick.validator.settled import counts
from tallystick.validator.work import Work
from tallystick.verify import stories


class Contradiction(Exception):  # what it is called in docs/protocol.md
    """Found while a segment is compared; `ours` and `theirs` are heads, `proof` may be None."""

    def __init__(self, ours: Checkpoint, theirs: Checkpoint, proof: bytes | None) -> None:
        super().__init__("two signed heads of one log contradict each other")
        self.ours = ours
        self.theirs = theirs
        self.proof = proof


def proof_between(read: NodeReader, m: int, n: int, root_m: bytes) -> bytes | None:
    """That the tree behind `read` has this root at m, as its head at n shows."""
    try:
        return encode([m, n, root_m, consistency_from_nodes(read, m, n)])
    except KeyError:
        return None


def head_of_size(work: Work, log: DeviceLog, size: int) -> Checkpoint | None:
    """A logged checkpoint of exactly this size."""
    table = schema.checkpoints
    connection = work.written(table)
    work.group.flush()
    data = connection.execute(
        sa.select(schema.entries.c.data)
        .join(table, table.c.entry == schema.entries.c.entry)
        .where(table.c.log == log.log, table.c.size == size)
        .limit(1)
    ).scalar_one_or_none()
    return None if data is None else checkpoint.parse(data)


def compare(work: Work, log: DeviceLog, theirs: Checkpoint, *, doubted: bool = False) -> bool:
    """Whether a head of this log agrees with what is known; False when that cannot be told.

    doubted: heads of two branches may be known, so that one that is says nothing of what is held.
    Raises Contradiction when it does not agree.
    """
    ours = head_of_size(work, log, theirs.size)
    if ours is not None:
        if ours.root != theirs.root:
            raise Contradiction(ours, theirs, None)
        if not doubted:
            return True
    if theirs.size > log.size:
        return ours is not None
    connection = work.written(schema.stretches)
    held = held_over(connection, log.log, theirs.size - 1)
    tree = None if held is None else held.tree_at(theirs.size)
    if held is None or tree is None:
        return ours is not None
    if tree.root() == theirs.root:
        return True
    raise _inside(work, log, held, theirs, tree.root())


def _inside(
    work: Work, log: DeviceLog, held: Held, theirs: Checkpoint, root: bytes
) -> Contradiction:
    ours = head_of_size(work, log, held.to)
    if ours is None:
        ours = log.newest
    proof = proof_between(held.reader(), theirs.size, held.to, root)
    return Contradiction(ours or theirs, theirs, proof)


def record(
    work: Work, known: Known, log: DeviceLog, found: Contradiction, reason: str, segment: bytes
) -> None:
    """Keep both heads and what proves the contradiction; the key is suspect from now on.

    Unless it proves nothing.
    """
    if not counts(known.identity, reason, found.ours, found.theirs):
        return
    known.make_suspect(work, reason)
    table = schema.forks
    digest = found.theirs.digest
    connection = work.written(table)
    if _is_kept(connection, digest) or enough(connection, found.ours, found.theirs):
        return
    theirs = found.theirs.received()
    work.statement(CHECKPOINT, theirs.sign1, digest)
    work.insert(
        table,
        fork=digest,
        device=log.device,
        epoch=log.epoch,
        reason=reason,
        ours=found.ours.encode(),
        theirs=found.theirs.encode(),
        proof=found.proof,
        segment=segment if len(segment) <= FORK_SEGMENT_BYTES_MAX else None,
        time_ms=work.group.time_ms,
    )
    keystatus.touch_placed(work, known.identity, log.epoch)


def enough(connection: Connection, *heads: Checkpoint) -> bool:
    """Whether as many contradictions are kept as may be, of these keys of this device.

    By the keys that signed: a thief's many do not displace one that no revocation settles.
    """
    table = schema.forks
    kept = connection.execute(
        sa.select(table.c.ours, table.c.theirs).where(
            table.c.device == heads[0].device, table.c.reason != BEYOND
        )
    ).all()
    if len(kept) < FORKS_KEPT_PER_DEVICE_MAX:
        return False
    kids = {head.received().kid for head in heads}
    same = [
        row
        for row in kept
        if {checkpoint.parse(data).received().kid for data in (row.ours, row.theirs)} == kids
    ]
    return len(same) >= FORKS_KEPT_PER_DEVICE_MAX


def _is_kept(connection: Connection, digest: bytes) -> bool:
    table = schema.forks
    return (
        connection.execute(sa.select(table.c.fork).where(table.c.fork == digest)).first()
        is not None
    )


def keep_apart(work: Work, log: DeviceLog, received: Segment) -> bool:
    """Keep a segment that goes beyond the end of its key; False when enough of them are kept.

    It contradicts nobody. Whoever has an old key must not fill the store with what it signs.
    """
    table = schema.forks
    head = checkpoint.parse(received.stretches[-1].checkpoint)
    connection = work.written(table)
    ours = (table.c.device == log.device) & (table.c.reason == BEYOND)
    kept = set(connection.execute(sa.select(table.c.fork).where(ours)).scalars())
    if _is_kept(connection, head.digest):
        return True
    if len(kept) >= APART_KEPT_PER_DEVICE_MAX:
        return False
    data = received.encode()
    work.insert(
        table,
        fork=head.digest,
        device=log.device,
        epoch=log.epoch,
        reason=BEYOND,
        ours=None,
        theirs=head.encode(),
        proof=None,
        segment=data if len(data) <= FORK_SEGMENT_BYTES_MAX else None,
        time_ms=work.group.time_ms,
    )
    return True


def portable(row: Any) -> ForkProof | None:
    """The portable proof of a kept contradiction; None where it is none between two heads."""
    if row.reason != "fork" or row.ours is None:
        return None
    try:
        inside = None
        if row.proof is not None:
            _, _, root, path = decode(row.proof)
            inside = [root, path]
        return forkproof.between(checkpoint.parse(row.ours), checkpoint.parse(row.theirs), inside)
    except TallyError:
        return None


WHOLE_PROOF = b"\x85"  # an array of five (docs/protocol.md, 9)


def story(row: Any) -> TwoStories | None:
    """The portable proof of a gateway that told two stories; None where it is none."""
    if row.reason != "gateway-fork" or row.ours is None:
        return None
    try:
        if row.proof is not None and row.proof[:1] == WHOLE_PROOF:
            # Found with a peer: it is kept as it is; of a batch an array of three is kept.
            made = misbehaviour.parse(row.proof)
            return made if isinstance(made, TwoStories) else None
        ours, theirs = gatewayhead.parse(row.ours), gatewayhead.parse(row.theirs)
        inside = None
        if ours.size != theirs.size:
            read = stories.nodes_of(*decode(row.proof or b""))
            inside = stories.inside(read, ours.size, theirs.size)
        return TwoStories(ours.encode(), theirs.encode(), inside)
    except (KeyError, TallyError):
        return None
