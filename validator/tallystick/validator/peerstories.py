"""What gateways told a peer, compared with what they told this validator (protocol.md, 8.2)."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor, credential
from tallystick.evidence.credential import Identity, verify_credential
from tallystick.evidence.enrolment import SUBJECT_GATEWAY
from tallystick.evidence.errors import TallyError, TransportError, Unverified
from tallystick.evidence.headproofs import TwoStories
from tallystick.evidence.keys import device_text, from_b64u
from tallystick.validator import follow, schema
from tallystick.validator.gateways import GatewayFork, Gateways
from tallystick.validator.limits import PEER_GATEWAYS_MAX, PEER_PARTS_COMPARED_MAX, WRITER_S_MAX
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.stories import GatewayHead, GatewayHeads
from tallystick.validator.work import Work
from tallystick.verify.stories import Told, contradiction

HASH_BYTES = 32


class PeerStories:
    """One peer, and how far each gateway's log there was compared with the one here."""

    def __init__(self, sequencer: Sequencer, client: PeerClient) -> None:
        self._sequencer = sequencer
        self._client = client
        self._after: dict[bytes, int] = {}

    def turn(self) -> int:
        """Ask of each gateway what is new there; returns how many told two stories."""
        return sum(self._gateway(id_, size) for id_, size in self._read(_gateways))

    def _read(self, query: Callable[[Connection], Any]) -> Any:
        with self._sequencer.store.read() as connection:
            return query(connection)

    def _gateway(self, id_: bytes, size: int) -> int:
        after = self._after.get(id_, 0)
        path = f"/v1/gateways/{device_text(id_)}/heads"
        try:
            page = self._client.get(path, GatewayHeads, after=after)
        except TransportError as error:
            if error.reason != "refused":
                raise
            return 0  # a peer of before this was asked
        for head in page.heads:
            try:
                proof = self._compare(id_, head)
            except TallyError as error:
                self._sequencer.refusals.count(error.reason)
                return 0
            if proof is not None and self._signed(id_, proof):
                return self._keep(id_, proof)
            # What goes beyond what is known here is asked for again, and compared then.
            if head.size <= size:
                self._after[id_] = head.size
        return 0

    def _compare(self, id_: bytes, head: GatewayHead) -> TwoStories | None:
        theirs = _told(head)
        ours = self._read(lambda c: _ours(c, id_, head.first, head.size))
        return contradiction([theirs], ours)

    def _signed(self, id_: bytes, proof: TwoStories) -> bool:
        # In this thread: a peer that lies must not keep the one writer busy.
        try:
            data = self._read(lambda c: follow.credential_of(c, id_))
            roots = self._sequencer.config.roots
            identity: Identity = verify_credential(credential.parse(data), roots, None)
            for head in (proof.first, proof.second):
                key = identity.own_key_of(head)
                head.verify(key)
                if identity.period(key.thumbprint()).reason == "compromised":
                    return False
        except Unverified as error:
            self._sequencer.refusals.count(error.reason)
            return False
        except TallyError:
            return False
        return True

    def _keep(self, id_: bytes, proof: TwoStories) -> int:
        found = GatewayFork(
            id_, proof.first.size, proof.first.encode(), proof.second.encode(), proof.encode()
        )

        def inside(work: Work) -> None:
            Gateways(self._sequencer.ingest.identities).keep_fork(work, found)

        def job() -> bool:
            self._sequencer.ingest.transaction(inside)
            return True

        self._sequencer.hand_in("stories of a gateway", job).result(WRITER_S_MAX)
        return 1


def _gateways(connection: Connection) -> list[tuple[bytes, int]]:
    """Gateways that are heard here and of which nothing is proven yet, with their logs' sizes."""
    table, who = schema.gateway_logs, schema.identities
    rows = connection.execute(
        sa.select(table.c.gateway, table.c.size)
        .join(who, who.c.id == table.c.gateway)
        .where(who.c.subject == SUBJECT_GATEWAY, who.c.suspect.is_(None))
        .order_by(who.c.heard_ms.desc(), table.c.gateway)
        .limit(PEER_GATEWAYS_MAX)
    )
    return [(row.gateway, row.size) for row in rows]


def _ours(connection: Connection, id_: bytes, first: int, size: int) -> list[Told]:
    """What this gateway told here about the same stretch of its log."""
    table = schema.gateway_heads
    rows = connection.execute(
        sa.select(table.c.size, table.c.head, table.c.part)
        .where(table.c.gateway == id_, table.c.size > first, table.c.part.is_not(None))
        .order_by(table.c.size)
        .limit(PEER_PARTS_COMPARED_MAX)
    )
    found: list[Told] = []
    for row in rows:
        first, edge, items = cbor.decode(row.part)
        found.append(Told(row.head, first, edge, [(level, node) for level, node in items]))
        if row.size >= size:
            break
    return found


def _told(head: GatewayHead) -> Told:
    return Told(
        from_b64u(head.statement, len(head.statement) * 3 // 4),
        head.first,
        [from_b64u(node, HASH_BYTES) for node in head.edge],
        [(item.level, from_b64u(item.hash, HASH_BYTES)) for item in head.items],
    )
