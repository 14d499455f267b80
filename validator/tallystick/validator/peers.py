"""Asks another validator for what it heard of the same devices, again and again (protocol, 8.2).

Two validators that each heard one branch of a cloned key find it out here. Nothing that a peer says
is believed: heads and credentials are verified with keys and roots known here, forks and paths by
themselves. A peer that is away, slow or lying costs its own thread some time, and nobody else.
"""

import random
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence import checkpoint, credential, forkproof
from tallystick.evidence.cbor import encode
from tallystick.evidence.checkpoint import Checkpoint, VerifiedCheckpoint
from tallystick.evidence.credential import Credential
from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.evidence.forkproof import ForkProof
from tallystick.evidence.keys import b64u, device_text, from_b64u
from tallystick.evidence.proof import verify_consistency
from tallystick.evidence.tree import Tree
from tallystick.validator import answers, follow, forks, keystatus, schema, settled
from tallystick.validator.config import PeerConfig
from tallystick.validator.cosigning import Cosigned
from tallystick.validator.devicelog import split, statement_of
from tallystick.validator.forks import Contradiction
from tallystick.validator.identities import Known
from tallystick.validator.limits import (
    FORKS_ANSWERED_MAX,
    PAGE_ROWS_MAX,
    PEER_CHANGES_WAITING_MAX,
    PEER_CREDENTIALS_PER_TURN_MAX,
    PEER_HEADS_AHEAD_MAX,
    PEER_PAGES_PER_TURN_MAX,
    PEER_RETRY_S_MAX,
    WRITER_S_MAX,
)
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.peerstories import PeerStories
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.work import CHUNK, Work
from tallystick.verify.standing import proves_nothing

_log = structlog.get_logger("tallystick.validator.peers")


class Exchange:
    """One peer and what was asked of it so far; `turn` is one exchange."""

    def __init__(self, sequencer: Sequencer, client: PeerClient) -> None:
        self._sequencer = sequencer
        self._client = client
        self._after = 0
        # Heads that are ahead of what is known here, with the size that was: compared again later.
        self._ahead: dict[tuple[bytes, bytes], tuple[Checkpoint, int]] = {}
        # Key changes that are not known here, by id, the newest of each. Of an id that nobody has
        # shown here they wait: whoever shows it first may leave out that its key was revoked.
        self._changes: dict[bytes, bytes] = {}
        self._stories = PeerStories(sequencer, client)

    def turn(self) -> int:
        """Ask for what is new, and act on it; returns how many contradictions came up."""
        found = self._fork_proofs()
        fetched = self._credentials(PEER_CREDENTIALS_PER_TURN_MAX)
        for _ in range(PEER_PAGES_PER_TURN_MAX):
            page = self._client.get(
                "/v1/heads", answers.Heads, after=self._after, limit=PAGE_ROWS_MAX
            )
            for change in page.changes:
                self._wait_for(from_b64u(change.id, 32), from_b64u(change.digest, 32))
            # Before the heads, which a new key may have signed.
            fetched += self._credentials(PEER_CREDENTIALS_PER_TURN_MAX - fetched)
            for head in page.heads:
                found += self._guarded(partial(self._head, head))
            if page.next <= self._after:
                break
            self._after = page.next
            if max(len(page.heads), len(page.changes)) < PAGE_ROWS_MAX:
                break
        return found + self._again() + self._stories.turn()

    def _read(self, query: Any) -> Any:
        with self._sequencer.store.read() as connection:
            return query(connection)

    # --- credentials -----------------------------------------------------------------------

    def _wait_for(self, id_: bytes, digest: bytes) -> None:
        self._changes.pop(id_, None)
        if self._read(lambda c: _is_entry(c, digest)):
            return
        if len(self._changes) >= PEER_CHANGES_WAITING_MAX:
            self._changes.pop(next(iter(self._changes)))
        self._changes[id_] = digest

    def _credentials(self, most: int) -> int:
        """Fetch the credentials of ids known here, of which a key change is not; how many."""
        if not self._changes or most <= 0:
            return 0
        known = self._read(lambda c: _known_of(c, list(self._changes)))[:most]
        for id_ in known:
            if self._read(lambda c, digest=self._changes[id_]: _is_entry(c, digest)):
                del self._changes[id_]
                continue
            try:
                data = self._client.bytes_of(f"/v1/devices/{device_text(id_)}/credential")
                received = credential.parse(data)
            except (Malformed, TransportError) as error:
                if error.reason == "unreachable":
                    raise
                # It lies, and would be asked for this again and again.
                _log.warning("a peer's credential is refused", error=error.message)
                self._sequencer.refusals.count(error.reason)
            else:
                learn = partial(self._sequencer.ingest.publish, [received])
                self._sequencer.hand_in("credential of a peer", learn).result(WRITER_S_MAX)
            del self._changes[id_]
        return len(known)

    # --- forks that it knows -----------------------------------------------------------------

    def _fork_proofs(self) -> int:
        page = self._client.get("/v1/forks", answers.ForkProofs)
        found = 0
        for one in page.forks[:FORKS_ANSWERED_MAX]:
            proof = forkproof.parse(_octets(one.proof))
            if self._read(lambda c, proof=proof: _is_kept(c, proof)) or not self._signed(proof):
                continue
            inside = None
            if proof.inside is not None:
                sizes = [proof.first.size, proof.second.size]
                inside = encode([*sizes, *proof.inside])
            found += self._record(Contradiction(proof.second, proof.first, inside))
        return found

    def _signed(self, proof: ForkProof) -> bool:
        # In this thread: a peer that lies must not keep the one writer busy.
        known = self._read(lambda c: _credential(c, proof.device))
        if known is None:
            return False
        try:
            # Its root may be one that is accepted no more, which is nothing against the peer.
            identity = credential.verify_credential(known, self._sequencer.config.roots, None)
            proof.verify(identity)
        except TallyError as error:
            self._sequencer.refusals.count(error.reason)
            return False
        return settled.counts(identity, "fork", proof.first, proof.second)

    # --- heads -----------------------------------------------------------------------------

    def _guarded(self, compare: Callable[[], int]) -> int:
        try:
            return compare()
        except TransportError:
            raise
        except TallyError as error:
            # One head that is wrong says nothing of the others.
            _log.warning("a peer's head is refused", reason=error.reason, error=error.message)
            self._sequencer.refusals.count(error.reason)
            return 0

    def _head(self, head: answers.Head) -> int:
        received = checkpoint.parse(_octets(head.statement))
        if self._read(lambda c: _is_logged(c, received.digest)):
            return 0
        return self._compare(received)

    def _again(self) -> int:
        # What is known here has grown since these were compared, or has only now begun.
        found = 0
        for head, size in list(self._ahead.values()):
            row = self._read(lambda c, head=head: follow.log_of(c, head.device, head.epoch))
            if row is not None and row.size != size:
                found += self._guarded(partial(self._compare, head))
        return found

    def _compare(self, received: Checkpoint) -> int:
        key = received.device, received.epoch
        row = self._read(lambda c: follow.log_of(c, *key))
        known = self._read(lambda c: _credential(c, received.device))
        if row is None or known is None or received.size > row.size:
            if len(self._ahead) >= PEER_HEADS_AHEAD_MAX:
                self._ahead.clear()
            self._ahead[key] = received, 0 if row is None else row.size
        else:
            self._ahead.pop(key, None)
        if row is None or known is None or not row.size:
            return 0
        identity = credential.verify_credential(known, self._sequencer.config.roots, None)
        theirs = received.verify(identity.own_key_of(received))
        if theirs.size <= row.size:
            return self._within_ours(theirs)
        ours = self._read(lambda c: _newest(c, row))
        if ours is None:
            return 0
        try:
            path = self._client.get(
                f"/v1/devices/{device_text(theirs.device)}/consistency",
                answers.Consistency,
                epoch=b64u(theirs.epoch),
                **{"from": ours.size, "to": theirs.size},
            )
        except TransportError as error:
            if error.reason == "refused":
                return 0  # it cannot show the path; what comes later may
            raise
        root, hashes = from_b64u(path.root1, 32), [from_b64u(one, 32) for one in path.path]
        verify_consistency(ours.size, root, theirs.size, theirs.root, hashes)
        if root == ours.root:
            return 0
        proof = encode([ours.size, theirs.size, root, hashes])
        return self._record(Contradiction(ours, theirs, proof))

    def _within_ours(self, theirs: VerifiedCheckpoint) -> int:
        return self._write(lambda work: self._compare_here(work, theirs))

    def _compare_here(self, work: Work, theirs: VerifiedCheckpoint) -> bool:
        log = self._sequencer.ingest.logs.get(work, theirs.device, theirs.epoch)
        if log is None:
            return False
        try:
            forks.compare(work, log, theirs)
        except Contradiction as found:
            return self._keep(work, found)
        return False

    # --- what contradicts --------------------------------------------------------------------

    def _record(self, found: Contradiction) -> int:
        return self._write(lambda work: self._keep(work, found))

    def _write(self, do: Callable[[Work], bool]) -> int:
        """Have the one writer do it; whether a device became suspect."""

        def job() -> bool:
            found = False

            def inside(work: Work) -> None:
                nonlocal found
                found = do(work)

            self._sequencer.ingest.transaction(inside)
            if found:
                self._sequencer.log.publish()
            return found

        return int(self._sequencer.hand_in("head of a peer", job).result(WRITER_S_MAX))

    def _keep(self, work: Work, found: Contradiction) -> bool:
        ingest = self._sequencer.ingest
        known = ingest.identities.get(work, found.theirs.device)
        if known is None or not _counts(work, known, found):
            return False
        log = ingest.logs.open(work, found.theirs.device, found.theirs.epoch)
        new = known.suspect is None
        forks.record(work, known, log, found, "fork", b"")
        if new:
            _log.error("a device contradicts itself", device=device_text(found.theirs.device))
        return new


def _counts(work: Work, known: Known, found: Contradiction) -> bool:
    """Whether both heads are signed by keys of the id that they could be signed with."""
    for head in (found.ours, found.theirs):
        try:
            head.verify(known.identity.own_key_of(head))
        except Unverified as error:
            work.refuse(error.reason)
            return False
        if proves_nothing(known.identity, head) or keystatus.is_beyond(work, known.identity, head):
            return False
    return True


def _octets(text: str) -> bytes:
    return from_b64u(text, len(text) * 3 // 4)


def _credential(connection: Connection, id_: bytes) -> Credential | None:
    try:
        return credential.parse(follow.credential_of(connection, id_))
    except TallyError:
        return None


def _known_of(connection: Connection, ids: list[bytes]) -> list[bytes]:
    table = schema.identities.c.id
    found: list[bytes] = []
    for at in range(0, len(ids), CHUNK):
        query = sa.select(table).where(table.in_(ids[at : at + CHUNK]))
        found += connection.execute(query).scalars()
    return found


def _is_logged(connection: Connection, digest: bytes) -> bool:
    table = schema.checkpoints
    row = connection.execute(table.select().where(table.c.digest == digest, table.c.inside))
    return row.first() is not None


def _is_entry(connection: Connection, digest: bytes) -> bool:
    table = schema.entries
    return connection.execute(table.select().where(table.c.digest == digest)).first() is not None


def _is_kept(connection: Connection, proof: ForkProof) -> bool:
    table = schema.forks
    heads = (proof.first.digest, proof.second.digest)
    ours = (table.c.device == proof.device) & (table.c.reason != schema.BEYOND)
    rows = connection.execute(table.select().where(ours, table.c.fork.in_(heads))).first()
    return rows is not None or forks.enough(connection, proof.first, proof.second)


def _newest(connection: Connection, row: Any) -> Checkpoint | None:
    """Our newest head, when it is the end of what is known."""
    head = None if row.checkpoint is None else statement_of(connection, row.checkpoint)
    tree = Tree(row.size, split(row.edge))
    return head if head is not None and head.size == row.size and head.root == tree.root() else None


class Follower:
    """A thread that asks one peer until stopped."""

    def __init__(self, sequencer: Sequencer, peer: PeerConfig, stop: threading.Event) -> None:
        self.name = peer.name
        self._sequencer = sequencer
        self._poll_s = peer.poll_s
        self._stop = stop
        self._client = PeerClient(peer.url)
        self._exchange = Exchange(sequencer, self._client)
        self._thread = threading.Thread(target=self._run, name=f"peer {peer.name}", daemon=True)
        self._note_key = peer.note_key
        self._cosigned = None if peer.note_key is None else Cosigned(sequencer, peer, stop)

    def start(self) -> None:
        """Begin to ask, and each to cosign the other's checkpoints."""
        if self._note_key is not None:
            # Whoever has the name keeps it: a peer names its log itself.
            self._sequencer.witnessed_logs.setdefault(self._note_key.name, self._note_key)
        self._thread.start()
        if self._cosigned is not None:
            self._cosigned.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end; a request to a slow peer is not waited for longer."""
        key, logs = self._note_key, self._sequencer.witnessed_logs
        if key is not None and logs.get(key.name) == key:
            del logs[key.name]
        self._thread.join(timeout_s)
        if self._cosigned is not None:
            self._cosigned.join(timeout_s)

    def _run(self) -> None:
        wait_s = 0.0
        try:
            while not self._stop.wait(wait_s):
                try:
                    self._exchange.turn()
                except (TallyError, SQLAlchemyError, OSError) as error:
                    _log.warning("a peer was not asked", peer=self.name, error=str(error))
                except Exception:  # noqa: BLE001 - one peer's trouble stays its own
                    _log.exception("asking a peer failed", peer=self.name)
                else:
                    self._sequencer.peers[self.name] = "answers"
                    wait_s = self._poll_s
                    continue
                self._sequencer.peers[self.name] = "away"
                # Waits that grow, and differ, so that validators do not all come back at once.
                most_s = min(PEER_RETRY_S_MAX, 2 * max(wait_s, self._poll_s))
                wait_s = random.uniform(most_s / 2, most_s)  # noqa: S311 - no secret
        finally:
            self._client.close()
