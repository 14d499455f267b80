"""Gateways' own logs: each batch must extend what is known, and a contradiction is kept."""

import sqlalchemy as sa

from tallystick.evidence import cbor, enrolment, gatewayhead, gatewaylog, segment
from tallystick.evidence.batch import Batch, VerifiedBatch, verify_batch
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.tree import Tree
from tallystick.validator import schema
from tallystick.validator.identities import Identities, Known
from tallystick.validator.limits import GATEWAY_FORKS_KEPT_MAX
from tallystick.validator.problem import Problem
from tallystick.validator.rows import Prepared
from tallystick.validator.work import Work


class GatewayFork(Exception):  # what it is called in docs/protocol.md
    """A batch contradicts the gateway's log; the evidence waits to be stored."""

    def __init__(self, gateway: bytes, size: int, ours: bytes, theirs: bytes, proof: bytes) -> None:
        super().__init__("the batch contradicts the gateway's log as it was known")
        self.gateway = gateway
        self.size = size
        self.ours = ours
        self.theirs = theirs
        self.proof = proof


class Gateways:
    """Checks who sends, and that it tells one story."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def sender(self, work: Work, received: Batch) -> Known:
        """The enrolled gateway that a batch names, known before or vouched for by a root in it."""
        known = self._identities.get(work, received.device)
        kid = received.received().kid
        if known is None or all(period.key.kid() != kid for period in known.identity.keys):
            # Cheap first: one comparison a credential, and only the gateway's own is verified.
            for statements in received.credentials:
                if _speaks_of(statements, received.device):
                    self._identities.learn(work, statements)
                    break
        at_s = work.group.time_ms // 1000
        return self._identities.require(work, received.device, SUBJECT_GATEWAY, at_s)

    def check(self, work: Work, received: Batch, known: Known) -> tuple[VerifiedBatch, int]:
        """The verified batch, and the size of the gateway's log after it.

        Problem("gateway-gap") with the known size; GatewayFork when it tells another story.
        """
        key = known.identity.own_key_of(received)
        reason = known.identity.period(key.thumbprint()).reason
        if reason is not None:
            raise Unverified("revoked", f"the gateway's key is {reason}")
        if key != known.identity.key:
            raise Unverified("revoked", "the gateway's key was rotated; this one is the old one")
        rows = _LOG.found(work.connection, gateway=known.identity.id)
        if not rows:
            return verify_batch(received, key, None), 0
        (row,) = rows
        try:
            verified = verify_batch(received, key, (row.size, row.root))
        except Unverified as error:
            if error.reason == "gateway-gap":
                raise Problem(
                    "gateway-gap",
                    f"the batch begins at {received.first} and this gateway's log is known up to "
                    f"{row.size}; send from there",
                    size=row.size,
                ) from error
            if error.reason == "gateway-fork":
                raise self._fork(work, received, known, row.size) from error
            raise
        if received.first < row.size < verified.tree.size and not _passes(received, row.size):
            raise Problem(
                "gateway-gap", f"the batch passes over {row.size}; send from there", size=row.size
            )
        if verified.tree.size < row.size:
            self._compare_old(work, verified, known, row.size)
        return verified, row.size

    def _compare_old(self, work: Work, verified: VerifiedBatch, known: Known, size: int) -> None:
        # A batch of the past is compared with the head that was signed at its end, if there is one.
        head = self._head(work, known.identity.id, verified.tree.size)
        if head is not None and gatewayhead.parse(head).root != verified.tree.root():
            raise GatewayFork(known.identity.id, size, head, verified.head.encode(), b"")

    @staticmethod
    def _head(work: Work, gateway: bytes, size: int) -> bytes | None:
        table = schema.gateway_heads
        head: bytes | None = work.connection.execute(
            sa.select(table.c.head).where(table.c.gateway == gateway, table.c.size == size)
        ).scalar_one_or_none()
        return head

    def _fork(self, work: Work, received: Batch, known: Known, size: int) -> GatewayFork:
        ours = self._head(work, known.identity.id, size) or b""
        return GatewayFork(known.identity.id, size, ours, received.head, _proof(received))

    def accept(self, work: Work, verified: VerifiedBatch, known: Known, size: int) -> int:
        """Keep the newest head; returns the size that is known now."""
        gateway = known.identity.id
        after = verified.tree.size
        known.heard_ms = work.group.time_ms
        if after <= size:
            return size
        row = {"size": after, "root": verified.tree.root()}
        if size:
            work.update(_GREW, of=gateway, **row)
        else:
            # Nothing is known of it: a log that is, has something in it.
            work.insert(schema.gateway_logs, gateway=gateway, began=verified.first, forks=0, **row)
        work.insert(
            schema.gateway_heads,
            gateway=gateway,
            head=verified.head.encode(),
            # Whoever compares what this gateway told others needs its log, by hashes.
            part=cbor.encode(
                [verified.first, verified.edge, [list(item) for item in verified.leaves]]
            ),
            **row,
        )
        return after

    def keep_fork(self, work: Work, found: GatewayFork) -> None:
        """Both heads, and the items between, are the proof of a gateway that tells two stories."""
        table = schema.gateway_logs
        work.connection.execute(
            sa.update(table).where(table.c.gateway == found.gateway).values(forks=table.c.forks + 1)
        )
        known = self._identities.get(work, found.gateway)
        if known is not None:
            known.make_suspect(work, "gateway-fork")
        forks = schema.forks
        kept = list(
            work.connection.execute(
                sa.select(forks.c.fork).where(forks.c.device == found.gateway)
            ).scalars()
        )
        digest = sha256(found.theirs)
        if digest not in kept and len(kept) < GATEWAY_FORKS_KEPT_MAX:
            work.insert(
                forks,
                fork=digest,
                device=found.gateway,
                epoch=b"",
                reason="gateway-fork",
                ours=found.ours or None,
                theirs=found.theirs,
                proof=found.proof or None,
                segment=None,
                time_ms=work.group.time_ms,
            )


_LOG = Prepared(
    sa.select(schema.gateway_logs).where(schema.gateway_logs.c.gateway == sa.bindparam("gateway"))
)

_GREW = Prepared(
    sa.update(schema.gateway_logs)
    .where(schema.gateway_logs.c.gateway == sa.bindparam("of"))
    .values({name: sa.bindparam(name) for name in ("size", "root")})
)


def _speaks_of(statements: list[bytes], gateway: bytes) -> bool:
    try:
        return enrolment.parse(statements[0]).device == gateway
    except Malformed:
        return False


def _passes(received: Batch, size: int) -> bool:
    at = received.first
    for item in received.items:
        at += 1 if isinstance(item, bytes) else 1 << item[0]
        if at == size:
            return True
    return False


def _proof(received: Batch) -> bytes:
    """[first, edge, [[level, hash], ...]]: folded, it passes another root at the known size."""
    tree = Tree(received.first, received.edge)
    items: list[list[object]] = []
    for item in received.items:
        if isinstance(item, bytes):
            leaf = gatewaylog.leaf_of(segment.parse(item)).leaf_hash()
            items.append([0, leaf])
        else:
            items.append([item[0], item[1]])
    return cbor.encode([received.first, tree.edge, items])
