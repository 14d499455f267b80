"""The thread that looks into the peers folder, and asks the validators that it brings."""

import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence import credential
from tallystick.evidence import note as notes
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import device_text
from tallystick.evidence.note import Note, NoteKey
from tallystick.validator import follow, witness
from tallystick.validator.config import PeerConfig
from tallystick.validator.imported import note_key_of
from tallystick.validator.limits import PEER_FILES_LOOK_S, PEERS_MAX, WRITER_S_MAX
from tallystick.validator.peers import Follower
from tallystick.validator.sequencer import Sequencer

_log = structlog.get_logger("tallystick.validator.circle")
ID_CHARS = 8


class Peering:
    """Looks again and again until `ending`; follows the validators of imported peers."""

    def __init__(self, sequencer: Sequencer, ending: threading.Event) -> None:
        self._sequencer = sequencer
        self._ending = ending
        self._followed: dict[str, tuple[PeerConfig, Follower, threading.Event]] = {}
        self._passed: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._run, name="peers folder", daemon=True)

    def start(self) -> None:
        """Begin to look, where there is a folder."""
        if self._sequencer.config.peer_files is not None:
            self._follow()
            self._thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for its end and that of its followers."""
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        for name in list(self._followed):
            self._leave(name, timeout_s)

    def _run(self) -> None:
        while not self._ending.wait(PEER_FILES_LOOK_S):
            try:
                self.turn()
            except (TallyError, SQLAlchemyError, OSError) as error:
                _log.warning("the peers folder changes nothing now", error=str(error))
            except Exception:  # noqa: BLE001 - what is in force stays in force
                _log.exception("looking into the peers folder failed")

    def turn(self) -> bool:
        """One look; whether something changed."""
        self._prune()
        circle = self._sequencer.circle
        plan = circle.look()
        if plan is not None:
            job = self._sequencer.hand_in("peer files", lambda: circle.apply(plan))
            job.result(WRITER_S_MAX)
        # Also when no file changed: time ends an enrolment, and a revocation may have come.
        self._follow()
        return plan is not None

    def _follow(self) -> None:
        """Ask the validators that are in force now, and no others."""
        wanted = self._wanted()
        gone = [name for name, row in self._followed.items() if row[0] != wanted.get(name)]
        for name in gone:
            self._leave(name, 0.0)
        for name, peer in wanted.items():
            if name in self._followed:
                continue
            stop = threading.Event()
            self._sequencer.peers[name] = "not-asked"
            follower = Follower(self._sequencer, peer, stop)
            self._followed[name] = peer, follower, stop
            follower.start()

    def _wanted(self) -> dict[str, PeerConfig]:
        config = self._sequencer.config
        now_s = self._sequencer.log.now_ms() // 1000
        # Who is configured by hand stays as configured.
        taken: set[object] = {peer.url for peer in config.peers}
        taken |= {peer.note_key for peer in config.peers if peer.note_key is not None}
        found: dict[str, PeerConfig] = {}
        for file in self._sequencer.circle.in_force():
            for (url, _), shown in zip(file.validators, file.validator_ids, strict=True):
                identity = self._newest(shown)
                first, last = identity.enrolment.validity
                if identity.status != "active" or not first <= now_s <= last:
                    continue
                note_key = note_key_of(identity.enrolment.details.get("note_key"))
                if identity.id == self._sequencer.keys.id or {url, note_key} & taken:
                    continue
                name = f"{file.iss}.{device_text(identity.id)[:ID_CHARS]}"
                if len(found) + len(config.peers) < PEERS_MAX:
                    found[name] = PeerConfig(name=name, url=url, note_key=note_key)
        return self._named(found)

    def _newest(self, shown: Identity) -> Identity:
        """What is known here of an id that a file shows: a revocation may have come otherwise."""
        roots = self._sequencer.config.roots
        try:
            with self._sequencer.store.read() as connection:
                known = credential.parse(follow.credential_of(connection, shown.id))
            if len(known.statements) > len(shown.digests):
                return credential.verify_credential(known, roots)
        except TallyError:
            pass  # not known here, or not by a root that is accepted now
        return shown

    def _named(self, wanted: dict[str, PeerConfig]) -> dict[str, PeerConfig]:
        """These, each log under a name of its own; whoever has the name keeps it.

        An organisation writes the name of its log, its origin, itself: it could write another's,
        and have its own key stand in the other's place. Such a validator is asked for what it
        knows, and nothing is cosigned for it or by it.
        """
        sequencer = self._sequencer
        holders = {sequencer.keys.origin: ""}
        for peer in sequencer.config.peers:
            if peer.note_key is not None:
                holders[peer.note_key.name] = peer.name
        claims: dict[str, list[str]] = {}
        for name, peer in wanted.items():
            if peer.note_key is not None and peer.note_key.name not in holders:
                claims.setdefault(peer.note_key.name, []).append(name)
        for origin, names in claims.items():
            last = self._cosigned_last(origin) if len(names) > 1 else None
            # First whose key signed that, then who is followed, then by their names.
            holders[origin] = min(names, key=lambda name: self._rank(wanted[name], last))
        found, passed = {}, set()
        for name, peer in wanted.items():
            if peer.note_key is not None and holders[peer.note_key.name] != name:
                passed.add((name, peer.note_key.name))
                peer = PeerConfig(name=name, url=peer.url)  # noqa: PLW2901 - in its place
            found[name] = peer
        for name, origin in sorted(passed - self._passed):
            _log.warning("a peer's log has the name of another", peer=name, origin=origin)
        self._passed = passed
        return found

    def _cosigned_last(self, origin: str) -> Note | None:
        with self._sequencer.store.read() as connection:
            row = witness.stored(connection, origin)
        return None if row is None else notes.parse(row.note)

    def _rank(self, peer: PeerConfig, last: Note | None) -> tuple[bool, bool]:
        row = self._followed.get(peer.name)
        followed = row is not None and row[0].note_key is not None
        return not _signed(last, peer.note_key), not followed

    def _leave(self, name: str, timeout_s: float) -> None:
        _, follower, stop = self._followed.pop(name)
        stop.set()
        # Its log is witnessed no more from here on, whether its thread has ended or not.
        follower.join(timeout_s)
        self._sequencer.peers.pop(name, None)

    def _prune(self) -> None:
        # A thread that was waiting for an answer when its peer was removed says so afterwards.
        known = {peer.name for peer in self._sequencer.config.peers} | set(self._followed)
        for name in [name for name in self._sequencer.peers if name not in known]:
            self._sequencer.peers.pop(name, None)


def _signed(note: Note | None, key: NoteKey | None) -> bool:
    if note is None or key is None:
        return False
    try:
        note.verify(key)
    except Unverified:
        return False
    return True
