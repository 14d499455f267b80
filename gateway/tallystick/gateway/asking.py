"""A damaged segment that its device has not sent again: validators that receipted it are asked.

Nothing of an answer is believed (docs/protocol.md, 8.8): it goes the way of what comes from the
device, whose checkpoints, tree and place in the gateway's log decide whether it repairs anything.
"""

import sqlite3
import threading
import time
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

import structlog

from tallystick.evidence import cbor
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.evidence.keys import device_text
from tallystick.evidence.limits import SEGMENT_STRETCHES_MAX
from tallystick.evidence.segmentrequest import SegmentRequest
from tallystick.gateway import limits
from tallystick.gateway.http import COSE, Http, Refusal
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.peers import Peer
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store, meta, set_meta

_log = structlog.get_logger("tallystick.gateway.asking")
_COUNT = "repaired by validators"
BUSY_S_MIN = 5.0  # a validator that said 429 or 503 is left alone, or for as long as it said
SILENT_S = 60.0  # one that gave no answer
_BUSY = (429, 503)


class Lost(NamedTuple):
    """A stored segment whose bytes are wrong."""

    at: int
    device: bytes
    epoch: bytes
    first: int
    until: int
    checkpoint: bytes


class Asker:
    """Asks one validator after the other; for one thread (lostsegments.py), `cut` apart."""

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
        self._http: Http | None = None  # what is being asked
        self._rests: dict[str, float] = {}  # validators that are left alone: until when
        # Of the last `ask`: seconds until one that has it may be asked; None: all were.
        self.later_s: float | None = None

    def ask(self, lost: Lost) -> bool:
        """Whether it is whole now; who gave no answer, or was busy, is left alone for a while."""
        self.later_s = None
        if not self._damaged(lost):
            return True
        for peer in self._peers():
            name = peer.config.name
            if self._stop.is_set() or not self._has(name, lost):
                continue
            if self._left_alone(name):
                continue
            try:
                found = self._from(peer, lost)
            except TallyError as error:
                self._failed(name, lost, error)
                continue
            if self._repaired(found, lost):
                _log.info("a damaged segment was repaired", at=lost.at, by=name)
                with self._store.write_aside() as connection:
                    set_meta(connection, _COUNT, str(repaired(connection) + 1).encode())
                return True
        return False

    def cut(self) -> None:
        """End what is being asked, once the gateway stops; called by another thread."""
        http = self._http
        if http is not None:
            http.cut()

    def _left_alone(self, name: str) -> bool:
        left_s = self._rests.get(name, 0.0) - monotonic()
        if left_s <= 0:
            return False
        self.later_s = left_s if self.later_s is None else min(self.later_s, left_s)
        return True

    def _failed(self, name: str, lost: Lost, error: TallyError) -> None:
        _log.warning(
            "a validator does not give a damaged segment back",
            validator=name,
            at=lost.at,
            reason=error.reason,
            error=error.message,
        )
        if isinstance(error, TransportError):
            rest_s = SILENT_S
        elif isinstance(error, Refusal) and error.status in _BUSY:
            rest_s = min(max(BUSY_S_MIN, error.retry_after_s), limits.RETRY_AFTER_S_MAX)
        else:
            return
        self._rests[name] = monotonic() + rest_s
        self._left_alone(name)

    def _damaged(self, lost: Lost) -> bool:
        reader = self._store.reader()
        try:
            row = reader.execute("SELECT 1 FROM damaged WHERE at = ?", (lost.at,)).fetchone()
        finally:
            reader.close()
        return row is not None

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
        http = self._http = Http(peer.config.url, peer.config.tls)
        try:
            # After it is there to be cut: who stops sets this first.
            if self._stop.is_set():
                raise TransportError("unreachable", "the gateway stops")
            answer = http.post("/v1/segments", data, {"Content-Type": COSE})
        finally:
            self._http = None
            http.close()
        found = cbor.decode(answer)
        if not isinstance(found, list) or len(found) > SEGMENT_STRETCHES_MAX:
            raise Malformed("bad-type", "a segment answer is an array of segments")
        asked_for = []
        for one in found:
            got = segments.parse(one)
            if (got.device, got.epoch) != (lost.device, lost.epoch):
                raise Malformed("wrong-device", "a segment of another log than was asked for")
            # Others repair nothing, and would count as repetitions by the device.
            if lost.first <= got.first and got.to <= lost.until:
                asked_for.append(one)
        return asked_for

    def _repaired(self, found: list[bytes], lost: Lost) -> bool:
        # By the one way in, of which no acknowledgement is due to anybody.
        topic = f"{self._prefix}/{device_text(lost.device)}/up"
        if not all(self._inbox.offer(Delivery(Message(topic, data), 0, 0, 0)) for data in found):
            return False
        until_s = monotonic() + limits.REPAIR_WAIT_S
        while found and monotonic() < until_s and not self._stop.wait(limits.REPAIR_LOOK_S):
            if not self._damaged(lost):
                return True
        return False


def repaired(connection: sqlite3.Connection) -> int:
    """How many damaged segments came back from validators."""
    return int(meta(connection, _COUNT) or b"0")
