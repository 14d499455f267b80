"""A log that was put back: its store is older than what it published (docs/protocol.md, 8.5, F17).

Whoever says so must show a checkpoint that this log's own note key signed. Then the validator
stops: it would sign other entries under sizes that it has signed before.
"""

import queue
import threading
import time
from collections.abc import Iterable

import sqlalchemy as sa

from tallystick.evidence import note as notes
from tallystick.evidence.errors import CouldNotCheck, TallyError, Unverified
from tallystick.evidence.note import NoteKey, VerifiedNote
from tallystick.evidence.tree import Tree
from tallystick.validator import answers, schema
from tallystick.validator.config import PeerConfig
from tallystick.validator.limits import PUT_BACK_ASK_S_MAX, PUT_BACK_WAIT_S_MAX
from tallystick.validator.log import LogKeys
from tallystick.validator.peerclient import PeerClient
from tallystick.validator.receipts import edge_of, node_reader
from tallystick.validator.store import Store


class Published:
    """What was published, against what the store holds."""

    def __init__(self, store: Store, keys: LogKeys) -> None:
        self._store = store
        self.key = NoteKey(keys.origin, keys.notes.public_key())

    def compare(self, text: str, who: str) -> VerifiedNote:
        """A checkpoint that this log signed; CouldNotCheck("put-back") when the store lacks it.

        Unverified when this log's key did not sign it: then it proves nothing.
        """
        note = notes.parse(text).verify(self.key)
        what = f"{who} has a checkpoint of {note.origin} of size {note.size}, signed by its key,"
        with self._store.read() as connection:
            last = connection.execute(sa.select(sa.func.max(schema.entries.c.entry))).scalar_one()
            size = 0 if last is None else last + 1
            if note.size > size:
                raise CouldNotCheck(
                    "put-back",
                    f"{what} and the store has {size} entries: it was restored from an older copy. "
                    "Do not run it: a log never shrinks. Restore the newest copy, or begin a log "
                    "under another origin and with other keys",
                )
            root = Tree(note.size, edge_of(node_reader(connection), note.size)).root()
        if root != note.root:
            raise CouldNotCheck(
                "put-back",
                f"{what} and the entries of the store give another root: it was restored from an "
                "older copy and then written, or two validators run with one key. Do not run it",
            )
        return note

    def ask(self, client: PeerClient, name: str) -> None:
        """Compare with what a witness cosigned last; TransportError when it does not answer."""
        for one in client.get("/v1/witnessed", answers.Witnessed).logs:
            if one.origin == self.key.name:
                try:
                    self.compare(one.note, f"the witness {name}")
                except Unverified:
                    # It shows what anybody could have written.
                    continue

    def ask_all(self, peers: Iterable[PeerConfig]) -> None:
        """Ask every witness at once; those that are away, slow, or answer nonsense, say nothing."""
        witnesses = [peer for peer in peers if peer.note_key is not None]
        said: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        for peer in witnesses:
            # No pool: its end would wait for the slowest, and looking a name up has no time-out.
            name = f"put back {peer.name}"
            threading.Thread(target=self._asked, args=(peer, said), name=name, daemon=True).start()
        end_s = time.monotonic() + PUT_BACK_WAIT_S_MAX
        for _ in witnesses:
            try:
                error = said.get(timeout=max(0.0, end_s - time.monotonic()))
            except queue.Empty:
                return  # it is asked again before a checkpoint is sent to it (cosigning.py)
            if error is not None:
                raise error

    def _asked(self, peer: PeerConfig, said: "queue.SimpleQueue[Exception | None]") -> None:
        error: Exception | None = None
        try:
            client = PeerClient(peer.url, PUT_BACK_ASK_S_MAX)
            try:
                self.ask(client, peer.name)
            finally:
                client.close()
        except CouldNotCheck as proof:
            error = proof
        except TallyError:
            pass
        except Exception as defect:  # noqa: BLE001 - raised where it is waited for
            error = defect
        said.put(error)
