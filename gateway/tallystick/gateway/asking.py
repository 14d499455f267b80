"""A damaged segment that its device has not sent again: validators that receipted it are asked.

Nothing of an answer is believed (docs/protocol.md, 8.8): it goes the way of what comes from the
device, whose checkpoints, tree and place in the gateway's log decide whether it repairs anything.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog

from tallystick.evidence import cbor
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import device_text
from tallystick.evidence.limits import SEGMENT_STRETCHES_MAX
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.gateway import limits
from tallystick.gateway.http import COSE, Http
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.peers import Peer
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store, meta, set_meta

_log = structlog.get_logger("tallystick.gateway.asking")
_COUNT = "repaired by validators"


class Lost(NamedTuple):
    """A stored segment whose bytes are wrong."""

    at: int
    device: bytes
    epoch: bytes
    first: int
    until: int
    checkpoint: bytes


class Asker:
    """Asks one validator after the other, in the scrubber's thread."""

    def __init__(
        self,
        store: Store,
        signing: Signing,
        inbox: Inbox,
        prefix: str,
        peers: Callable[[], list[Peer]],
        stop: threading.Event,
    ) -> None:
        self._store = store
        self._signing = signing
        self._inbox = inbox
        self._prefix = prefix
        self._peers = peers
        self._stop = stop

    def ask(self, lost: Lost) -> bool:
        """Whether some validator gave back what repaired it."""
        for peer in self._peers():
            if self._stop.is_set() or not self._has(peer.config.name, lost):
                continue
            try:
                found = self._from(peer, lost)
            except TallyError as error:
                _log.warning(
                    "a validator does not give a damaged segment back",
                    validator=peer.config.name,
                    at=lost.at,
                    reason=error.reason,
                    error=error.message,
                )
                continue
            if self._repaired(found, lost):
                _log.info("a damaged segment was repaired", at=lost.at, by=peer.config.name)
                with self._store.write_aside() as connection:
                    set_meta(connection, _COUNT, str(repaired(connection) + 1).encode())
                return True
        return False

    def _has(self, name: str, lost: Lost) -> bool:
        # Receipted, and sent with all bodies.
        reader = self._store.reader()
        try:
            receipted = reader.execute(
                "SELECT 1 FROM receipts WHERE validator = ? AND statement = ?",
                (name, lost.checkpoint),
            ).fetchone()
            sent = reader.execute(
                "SELECT send FROM sent_as WHERE validator = ? AND from_at <= ? "
                "ORDER BY from_at DESC LIMIT 1",
                (name, lost.at),
            ).fetchone()
        finally:
            reader.close()
        return receipted is not None and sent is not None and sent[0] == "full"

    def _from(self, peer: Peer, lost: Lost) -> list[bytes]:
        asked = SegmentRequest(
            peer.key.thumbprint(),
            self._signing.gateway,
            lost.epoch,
            lost.first,
            lost.until,
            time.time_ns() // 1_000_000,
        )
        data, _ = self._signing.sign(asked, lost.device)
        http = Http(peer.config.url, peer.config.tls)
        try:
            answer = http.post("/v1/segments", data, {"Content-Type": COSE})
        finally:
            http.close()
        found = cbor.decode(answer)
        if not isinstance(found, list) or len(found) > SEGMENT_STRETCHES_MAX:
            raise Malformed("bad-type", "a segment answer is an array of segments")
        for one in found:
            got = segments.parse(one)
            if (got.device, got.epoch) != (lost.device, lost.epoch):
                raise Malformed("wrong-device", "a segment of another log than was asked for")
        return found

    def _repaired(self, found: list[bytes], lost: Lost) -> bool:
        # By the one way in, of which no acknowledgement is due to anybody.
        topic = f"{self._prefix}/{device_text(lost.device)}/up"
        if not all(self._inbox.offer(Delivery(Message(topic, data), 0, 0, 0)) for data in found):
            return False
        until_s = time.monotonic() + limits.REPAIR_WAIT_S
        while found and time.monotonic() < until_s and not self._stop.wait(limits.REPAIR_LOOK_S):
            reader = self._store.reader()
            try:
                damaged = reader.execute(
                    "SELECT 1 FROM damaged WHERE at = ?", (lost.at,)
                ).fetchone()
            finally:
                reader.close()
            if damaged is None:
                return True
        return False


def repaired(connection: sqlite3.Connection) -> int:
    """How many damaged segments came back from validators."""
    return int(meta(connection, _COUNT) or b"0")
