"""The thread that looks into the peers folder, and asks the validators that it brings."""

import threading

import structlog
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import device_text
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.validator.config import PeerConfig
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
        if plan is None:
            return False
        job = self._sequencer.hand_in("peer files", lambda: circle.apply(plan))
        job.result(WRITER_S_MAX)
        self._follow()
        return True

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
        # Who is configured by hand stays as configured.
        taken: set[object] = {peer.url for peer in config.peers}
        taken |= {peer.note_key for peer in config.peers if peer.note_key is not None}
        found: dict[str, PeerConfig] = {}
        for file in self._sequencer.circle.in_force():
            for (url, _), identity in zip(file.validators, file.validator_ids, strict=True):
                note_key = _note_key(identity.enrolment.details.get("note_key"))
                if identity.id == self._sequencer.keys.id or {url, note_key} & taken:
                    continue
                name = f"{file.iss}.{device_text(identity.id)[:ID_CHARS]}"
                if len(found) + len(config.peers) < PEERS_MAX:
                    found[name] = PeerConfig(name=name, url=url, note_key=note_key)
        return found

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


def _note_key(text: object) -> NoteKey | None:
    try:
        return parse_key(text) if isinstance(text, str) else None
    except Malformed:
        return None
