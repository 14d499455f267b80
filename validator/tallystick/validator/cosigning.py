"""Gets other validators' cosignatures on this log's checkpoints (docs/protocol.md, 8.4)."""

import random
import threading

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence import cosignature
from tallystick.evidence import note as notes
from tallystick.evidence.cosignature import CosignerKey, Signature
from tallystick.evidence.errors import (
    CouldNotCheck,
    Malformed,
    TallyError,
    TransportError,
    Unverified,
)
from tallystick.evidence.note import NoteKey
from tallystick.evidence.tree import consistency_from_nodes
from tallystick.validator import schema
from tallystick.validator.config import PeerConfig
from tallystick.validator.limits import (
    COSIGN_AGAIN_S,
    COSIGN_AHEAD_S_MAX,
    COSIGN_EVERY_S,
    COSIGN_TRIES_MAX,
    PEER_RETRY_S_MAX,
    WRITER_S_MAX,
)
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.receipts import Head, node_reader
from tallystick.validator.sequencer import Sequencer
from tallystick.verify import addcheckpoint
from tallystick.verify.addcheckpoint import SIZE_MEDIA, AddCheckpoint

_log = structlog.get_logger("tallystick.validator.cosigning")
_OK = 200
_CONFLICT = 409


class Submission:
    """One witness, and what it is known to have cosigned."""

    def __init__(self, sequencer: Sequencer, client: PeerClient, name: str, key: NoteKey) -> None:
        self._sequencer = sequencer
        self._client = client
        self._name = name
        self._cosigner = cosignature.cosigner_of(key)
        self._asked = False
        self._old: int | None = None
        self._again_s = 0

    def turn(self, head: Head) -> bool:
        """Send a checkpoint where it is due; whether a cosignature came.

        CouldNotCheck("put-back") when the witness shows that this log's store was put back.
        """
        if not self._asked:
            self._sequencer.published.ask(self._client, self._name)
            self._asked = True
            self._old, self._again_s = self._known()
        now_s = self._now_s()
        if self._old is not None and head.size <= self._old and now_s < self._again_s:
            return False
        for _ in range(COSIGN_TRIES_MAX):
            if head.size < (self._old or 0):
                return False  # it has cosigned a newer one than this candidate
            status, media, data = self._client.post("/add-checkpoint", self._request(head))
            if status == _OK:
                self._take(head, data, now_s)
                return True
            if status == _CONFLICT and media == SIZE_MEDIA:
                self._moved(addcheckpoint.parse_size(data))
                continue
            raise TransportError("refused", f"witness {self._name}: answered {status}")
        return False

    def _known(self) -> tuple[int | None, int]:
        table = schema.cosignatures
        with self._sequencer.store.read() as connection:
            row = connection.execute(
                sa.select(table.c.size, table.c.time_s)
                .where(table.c.name == self._cosigner.name)
                .order_by(table.c.size.desc())
                .limit(1)
            ).one_or_none()
        return (None, 0) if row is None else (row.size, row.time_s + COSIGN_AGAIN_S)

    def _now_s(self) -> int:
        return self._sequencer.log.now_ms() // 1000

    def _request(self, head: Head) -> bytes:
        old = self._old or 0
        path: list[bytes] = []
        if 0 < old < head.size:
            with self._sequencer.store.read() as connection:
                path = consistency_from_nodes(node_reader(connection), old, head.size)
        return AddCheckpoint(old, tuple(path), notes.parse(head.note)).encode()

    def _moved(self, size: int) -> None:
        """It cosigned another size last than was thought."""
        if size == (self._old or 0):
            raise TransportError("refused", f"witness {self._name}: says {size} against {size}")
        if size > self._sequencer.log.tree.size:
            # Believed when it shows the checkpoint, and then this does not return.
            self._sequencer.published.ask(self._client, self._name)
            raise TransportError(
                "refused", f"witness {self._name}: says {size}, and shows no checkpoint of it"
            )
        self._old = size

    def _take(self, head: Head, data: bytes, now_s: int) -> None:
        body = notes.parse(head.note).body()
        line, time_s = verified_line(self._cosigner, body, data)
        if time_s > now_s + COSIGN_AHEAD_S_MAX:
            raise Unverified("expired", f"witness {self._name}: its clock is at {time_s}")
        job = self._sequencer.hand_in("cosignature", lambda: self._store(head.size, line, time_s))
        job.result(WRITER_S_MAX)
        self._old = head.size
        self._again_s = now_s + COSIGN_AGAIN_S

    def _store(self, size: int, line: str, time_s: int) -> None:
        table = schema.cosignatures
        name = self._cosigner.name
        with self._sequencer.store.write() as connection:
            connection.execute(sa.delete(table).where(table.c.size == size, table.c.name == name))
            connection.execute(
                sa.insert(table), {"size": size, "name": name, "line": line, "time_s": time_s}
            )


def verified_line(cosigner: CosignerKey, body: str, data: bytes) -> tuple[str, int]:
    """The line of this cosigner in a witness's answer, verified, and its time; no other line."""
    try:
        signatures = cosignature.parse_lines(data.decode())
    except UnicodeDecodeError:
        raise Malformed("bad-utf8", "a witness's answer is not UTF-8") from None
    own: list[Signature] = [
        one for one in signatures if one[:2] == (cosigner.name, cosigner.key_id)
    ]
    return cosignature.lines(own), cosigner.verify(body, own)


class Cosigned:
    """A thread that keeps one witness's cosignatures coming until stopped."""

    def __init__(self, sequencer: Sequencer, peer: PeerConfig, stop: threading.Event) -> None:
        if peer.note_key is None:
            raise Malformed("wrong-key", f"peers.{peer.name}: no note_key is configured")
        self.name = peer.name
        self._sequencer = sequencer
        self._candidate = sequencer.candidate
        self._stop = stop
        self._every_s = min(COSIGN_EVERY_S, peer.poll_s)
        self._client = PeerClient(peer.url)
        self._submission = Submission(sequencer, self._client, peer.name, peer.note_key)
        self._thread = threading.Thread(target=self._run, name=f"witness {peer.name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end; a request to a slow witness is not waited for longer."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        wait_s = 0.0
        try:
            while not self._stop.wait(wait_s):
                wait_s = self._every_s if self._turn() else self._longer(wait_s)
                if self._sequencer.put_back is not None:
                    return
        finally:
            self._client.close()

    def _turn(self) -> bool:
        try:
            head = self._candidate.head()
            if head is not None:
                self._submission.turn(head)
        except CouldNotCheck as error:
            if error.reason == "put-back":
                self._sequencer.stop_put_back(error.message)
            return False
        except (TallyError, SQLAlchemyError, OSError, TimeoutError) as error:
            _log.warning("a witness did not cosign", witness=self.name, error=str(error))
            return False
        except Exception:  # noqa: BLE001 - one witness's trouble stays its own
            _log.exception("asking a witness failed", witness=self.name)
            return False
        return True

    def _longer(self, wait_s: float) -> float:
        # Waits that grow, and differ, so that validators do not all come back at once.
        most_s = min(PEER_RETRY_S_MAX, 2 * max(wait_s, self._every_s))
        return random.uniform(most_s / 2, most_s)  # noqa: S311 - no secret
