"""The one writer: a thread that takes batches in turn and works on findings between them."""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence import cose, enrolment
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.errors import KeyDriverError, Malformed, TallyError
from tallystick.evidence.kinds import PROFILE
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.evidence.note import NoteKey
from tallystick.evidence.peerfile import VerifiedPeerFile
from tallystick.evidence.profile import Profile, SignedProfile
from tallystick.evidence.vouched import vouched
from tallystick.validator import body, publication, putback
from tallystick.validator.answers import Erased, PeerState, Published
from tallystick.validator.candidate import Candidate
from tallystick.validator.circle import Circle
from tallystick.validator.config import Config
from tallystick.validator.defects import OF_CONTENT, described
from tallystick.validator.door import Door
from tallystick.validator.identities import Identities
from tallystick.validator.imported import witnesses_of
from tallystick.validator.inbox import NOTHING, Copy, Inbox
from tallystick.validator.ingest import Ingest
from tallystick.validator.lanes import STRANGERS, Lanes
from tallystick.validator.limits import (
    BATCHES_WAITING_MAX,
    COSIGN_EVERY_S,
    LANE_WAITING_MAX,
    RETRY_S,
    TURN_S_MAX,
)
from tallystick.validator.log import Log
from tallystick.validator.ownkeys import close_keys, own_keys
from tallystick.validator.partysets import PartySets
from tallystick.validator.place import Server
from tallystick.validator.policies import Policies
from tallystick.validator.portions import Portions
from tallystick.validator.privacy import Privacy
from tallystick.validator.problem import Problem
from tallystick.validator.quotas import Quotas
from tallystick.validator.reconciler import Reconciler
from tallystick.validator.refusals import Refusals
from tallystick.validator.store import Store, StoreLost
from tallystick.validator.tilefiles import TileFolder
from tallystick.validator.work import Work
from tallystick.verify.profile_toml import parse_profile

Clock = Callable[[], int]
# Signed to see whether a key is back; no statement and no note begins so.
PROBE = b"tallystick: is this key back?"
T = TypeVar("T")


def wall_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def read_profiles(config: Config) -> dict[bytes, Profile]:
    """The configured profiles by digest; Malformed names the file."""
    found: dict[bytes, Profile] = {}
    for path, text in config.profiles:
        try:
            profile = parse_profile(text)
        except Malformed as error:
            raise Malformed(error.reason, f"{path}: {error.message}") from error
        found[profile.digest] = profile
    return found


def _refuse(future: "Future[Any]", error: Exception) -> None:
    # Who asked may have gone: a request that is cancelled cancels what it waits for.
    if future.set_running_or_notify_cancel():
        future.set_exception(error)


def _too_many() -> Problem:
    return Problem("over-quota", "too many batches wait; send again later", status=503)


class Sequencer:
    """Opens the store and the log; `start` begins to work on what is handed in."""

    def __init__(self, config: Config, clock: Clock = wall_ms) -> None:
        # Its roots are live: imported peers add to them while it runs (circle.py).
        config = replace(config, roots=dict(config.roots))
        self.config = config
        self.profiles = read_profiles(config)
        self.keys = own_keys(config)
        self.failure: str | None = None
        self._key_away = False
        self._log_line = structlog.get_logger("tallystick.validator").bind(validator=config.name)
        self._jobs: Lanes[tuple[str, Callable[[], Any], Future[Any]]] = Lanes(
            LANE_WAITING_MAX, BATCHES_WAITING_MAX
        )
        self._pace = publication.Pace()
        # Logs that are witnessed, by origin; and why nothing is taken any more (protocol, 8.5).
        self.witnessed_logs: dict[str, NoteKey] = {
            peer.note_key.name: peer.note_key for peer in config.peers if peer.note_key is not None
        }
        self.put_back: str | None = None
        self.peers: dict[str, PeerState] = dict.fromkeys(
            (peer.name for peer in config.peers), "not-asked"
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._turned_s = time.monotonic()
        self._busy = False
        self.store = Store(config.store)
        # What waits is looked at by workers meanwhile (inbox.py), where several processes may be.
        self.inbox = Inbox(config.store) if isinstance(config.store, Server) else None
        try:
            self.log = Log(self.store, self.keys, clock)
            polls_s = [peer.poll_s for peer in config.peers]
            self.candidate = Candidate(self.store, min([COSIGN_EVERY_S, *polls_s]))
            self.published = putback.Published(self.store, self.keys)
            # Before anything is added: what is signed now must not contradict what was signed.
            self.published.ask_all(config.peers)
            self.tiles: TileFolder | None = None
            if config.tiles is not None:
                self.tiles = TileFolder(config.tiles, self.store, self.published)
                self.tiles.open()
            identities = Identities(config.roots)
            sets = PartySets(self.profiles)
            self.refusals = Refusals(self.store)
            quotas = Quotas(config.quotas)
            self.ingest = Ingest(self.store, self.log, identities, sets, self.refusals, quotas)
            policies = Policies(self.keys, self.profiles, config.quotas)
            self.circle = Circle(config.peer_files, self.store, self.ingest, policies, clock)
            self.door = Door(self.store, config)
            shared = isinstance(config.store, Server)
            portions = Portions(config.roots, self.profiles) if shared else None
            self.reconciler = Reconciler(self.store, self.log, self.ingest, self.profiles, portions)
            self.privacy = Privacy(self.store, self.log, self.ingest, config.retention, clock)
            self._prepare()
        except BaseException:
            self.store.close()
            close_keys(self.keys.signer, self.keys.notes)
            raise

    def _prepare(self) -> None:
        own = self.config.credential
        if own is not None and enrolment.parse(own[0]).iss not in self.config.roots:
            own = None
        known = [*self.config.gateways, *([own] if own is not None else [])]
        # First of all, and with its policy: nothing is admitted but under one.
        self.circle.open(self._ask_imported)
        self.ingest.learn(known)
        self.ingest.transaction(self._log_profiles)
        self.reconciler.start()
        self.privacy.start()

    def _ask_imported(self, files: list[VerifiedPeerFile]) -> None:
        self.published.ask_all(witnesses_of(files, self.keys.id))

    def _log_profiles(self, work: Work) -> None:
        for digest in sorted(self.profiles):
            signed = SignedProfile(self.profiles[digest])
            data = signed.sign(self.keys.signer, self.keys.name, signed.subject())
            sign1 = cose.parse(data, STATEMENT_BYTES_MAX)
            work.statement(PROFILE, sign1, sign1.digest())

    # --- from other threads ----------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Batches that wait."""
        return self._jobs.qsize()

    def submit(self, compressed: bytes, lane: str = STRANGERS) -> "Future[bytes]":
        """Hand in a batch as it came; Problem("over-quota") when too many wait.

        lane: its fleet, as `door` found it.
        """
        copy = None
        if self.inbox is not None and (self._busy or self.waiting):
            # Only then: who comes first is answered sooner than anybody could look at it.
            copy = self.inbox.offer(compressed, lane)
        try:
            future = self.hand_in("batch", partial(self._batch, compressed, copy), f"fleet {lane}")
        except BaseException:
            self._forget(copy)
            raise
        # Whatever becomes of it: answered, given up for another one, or nobody waits any more.
        future.add_done_callback(lambda _: self._forget(copy))
        return future

    def _batch(self, compressed: bytes, copy: Copy | None) -> bytes:
        facts = NOTHING if self.inbox is None or copy is None else self.inbox.take(copy)
        with vouched(facts):
            return self.ingest.batch(body.decompress(compressed))

    def _forget(self, copy: Copy | None) -> None:
        if self.inbox is not None and copy is not None:
            self.inbox.drop(copy)

    def publish(self, data: bytes, address: str) -> "Future[Published]":
        """Hand in a publication; Malformed, or Problem("over-quota"), before any work is done.

        address: who hands it in.
        """
        received = publication.parse(data)
        self._pace.take(address)
        return self.hand_in("publication", lambda: self.ingest.publish(received))

    def erase(self, made: Erasure, address: str) -> "Future[Erased]":
        """Hand in a fleet root's order; Problem("over-quota") where there are too many."""
        self._pace.take(address)
        return self.hand_in("erasure", lambda: self.privacy.order(made))

    def in_turn(self, what: str, do: Callable[[Connection], T]) -> "Future[T]":
        """Have the one writer do something to the store that adds nothing to the log."""

        def job() -> T:
            with self.store.write() as connection:
                return do(connection)

        return self.hand_in(what, job)

    def hand_in(self, what: str, job: Callable[[], T], lane: str | None = None) -> "Future[T]":
        """Have the one writer do something in its turn; the future has its result or its error.

        lane: whose turn that is; else each kind of work has its own (lanes.py).
        """
        self._refuse_put_back()
        future: Future[T] = Future()
        try:
            given_up = self._jobs.put_nowait((what, job, future), lane or what)
        except queue.Full:
            raise _too_many() from None
        if given_up is not None:
            # Of whoever had most waiting, for one who had less.
            _refuse(given_up[2], _too_many())
        return future

    def stop_put_back(self, why: str) -> None:
        """Sign nothing any more: this store is older than what this validator published."""
        self.put_back = self.failure = why
        self._log_line.error("log-put-back", message=why)

    def _refuse_put_back(self) -> None:
        if self.put_back is not None:
            raise Problem("put-back", "this validator's store was put back; it takes nothing")

    def start(self) -> None:
        """Begin to work."""
        if self.inbox is not None:
            self.inbox.start()
        self._thread = threading.Thread(
            target=self._run, name=f"sequencer {self.config.name}", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish what is being done, refuse what waits, close the store."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        while not self._jobs.empty():
            _, _, future = self._jobs.get_nowait()
            _refuse(future, Problem("not-ready", "the validator is stopping", status=503))
        if self.inbox is not None:
            self.inbox.stop()
        if not self.store.lost:
            self.refusals.save()
        self.store.close()
        close_keys(self.keys.signer, self.keys.notes)

    # --- the thread ------------------------------------------------------------------------

    @property
    def lives(self) -> bool:
        """Whether its thread works: a manager starts a process anew whose thread hangs."""
        thread = self._thread
        recent = time.monotonic() - self._turned_s < TURN_S_MAX
        return recent and thread is not None and thread.is_alive()

    def _run(self) -> None:
        busy = False
        while not self._stopping.is_set():
            self._turned_s = time.monotonic()
            busy = self.turn(0.0001 if busy else self.reconciler.patience_s)

    def turn(self, wait_s: float) -> bool:
        """One job, where one comes within `wait_s`, and a piece of the work between; if more waits.

        The thread's, or of whoever never called `start`.
        """
        try:
            job = self._jobs.get(timeout=wait_s)
        except queue.Empty:
            pass
        else:
            self._busy = True
            self._do(*job)
        self._busy = self._tick()
        return self._busy

    def _do(self, what: str, job: Callable[[], Any], future: "Future[Any]") -> None:
        if not future.set_running_or_notify_cancel():
            # Who asked has gone, and nothing was promised.
            return
        try:
            self._refuse_put_back()
            answer = job()
        except KeyDriverError as error:
            # Nobody's fault but ours, and what was sent is good: it is asked for again.
            self._key_failed(what, error)
            future.set_exception(
                Problem("not-ready", "the validator's key does not answer; send again later")
            )
        except StoreLost as error:
            # Another sequencer's turn: what was sent is good and is taken there, or here later.
            self._failed(what, error)
            future.set_exception(
                Problem("not-ready", "another sequencer takes over; send again later", status=503)
            )
        except TallyError as error:
            if what == "batch":
                self.refusals.count(error.reason)
            future.set_exception(error)
        except OF_CONTENT as error:
            self._log_line.error("job-failed", what=what, **described(error))
            self._defect(what, future)
        except (SQLAlchemyError, OSError) as error:
            self._failed(what, error)
            future.set_exception(
                Problem("store-full", "the store does not take it now; send again later")
            )
        except Exception:  # noqa: BLE001 - a defect of ours is counted, logged and answered as one
            self._log_line.exception("job-failed", what=what)
            self._defect(what, future)
        else:
            self.failure = None
            future.set_result(answer)

    def _defect(self, what: str, future: "Future[Any]") -> None:
        # The next batch is taken all the same; its gateway finds out which segment it is.
        self.refusals.count("internal-error")
        future.set_exception(Problem("internal-error", f"this {what} made the validator fail"))

    def _tick(self) -> bool:
        if self.put_back is not None:
            self._stopping.wait(RETRY_S)
            return False
        try:
            # What was logged while a key was away is signed when it is back.
            self._look_for_keys()
            self.log.publish()
            done = self.reconciler.tick() or self.privacy.tick()
            self.privacy.scrub()
            self.refusals.save()
        except KeyDriverError as error:
            self._key_failed("tick", error)
            self._stopping.wait(RETRY_S)
            return False
        except (SQLAlchemyError, OSError, TallyError) as error:
            self._failed("tick", error)
            self._stopping.wait(RETRY_S)
            return False
        except Exception as error:  # noqa: BLE001 - the service goes on, and says so
            self._log_line.exception("tick-failed")
            self.failure = f"tick: {type(error).__name__}"
            self._stopping.wait(RETRY_S)
            return False
        if self.failure is not None and self.failure.startswith("tick"):
            self.failure = None
        return bool(done)

    def _failed(self, what: str, error: Exception) -> None:
        self.failure = f"{what}: {type(error).__name__}"
        self._log_line.error("store-failed", what=what, error=type(error).__name__)

    def _look_for_keys(self) -> None:
        # Not by the next batch only: nobody sends one to whom /readyz says no.
        if not self._key_away:
            return
        for key in (self.keys.signer, self.keys.notes):
            key.sign(PROBE)
        self._key_away = False
        self.failure = None

    def _key_failed(self, what: str, error: KeyDriverError) -> None:
        self._key_away = True
        # The reason only: /readyz is open to everybody, and a message may name a path.
        self.failure = f"{what}: the key does not answer ({error.reason})"
        self._log_line.error("key-failed", what=what, reason=error.reason, message=error.message)
