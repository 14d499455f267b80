"""The running service: `run(config, stop)`, in a thread or as a process."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version

import structlog
from sqlalchemy.exc import OperationalError

from tallystick.evidence.errors import TransportError
from tallystick.hw.httpdoor import Bounds, HttpDoor
from tallystick.validator._postgresql import is_free
from tallystick.validator.app import make_app
from tallystick.validator.config import Config
from tallystick.validator.limits import (
    ANSWER_WRITE_S_MAX,
    BODY_REST_S_MAX,
    CONNECTIONS_MAX,
    HEADER_BYTES_MAX,
    HEADER_READ_S_MAX,
    KEEP_ALIVE_S,
    RETRY_S,
    SHUTDOWN_S_MAX,
)
from tallystick.validator.peering import Peering
from tallystick.validator.peers import Follower
from tallystick.validator.place import Server
from tallystick.validator.sequencer import Sequencer
from tallystick.validator.storefaults import StoreAway, StoreBusy, StoreLost
from tallystick.validator.tilefiles import TileWriter

START_S_MAX = 30.0
BACKLOG = 128
WATCH_S = 0.5
# An opening that takes longer hangs.
OPENING_S_MAX = 3600.0
STAND_BY_S = 0.5
# As SQLite says it: SQLITE_IOERR, SQLITE_FULL.
_DISK_FAULTS = ("disk I/O error", "database or disk is full")
_LOG = structlog.get_logger("tallystick.validator")


class Service:
    """A validator that is open: `start` serves, `stop` ends it; both may be called once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sequencer = Sequencer(config)
        self.door = HttpDoor(_bounds(), f"validator {config.name}")
        self._ending = threading.Event()
        self.followers = [Follower(self.sequencer, peer, self._ending) for peer in config.peers]
        self.peering = Peering(self.sequencer, self._ending)
        tiles = self.sequencer.tiles
        self._tiles = None if tiles is None else TileWriter(tiles, self._ending)

    @property
    def url(self) -> str:
        """Where it listens; the port is the one that was given when the configured one is 0."""
        return self.door.url

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self.door.running

    def start(self) -> str:
        """Listen and work; returns the URL. TransportError when the address cannot be had."""
        try:
            self.door.listen(self.config.host, self.config.port)
        except OSError as error:
            self.sequencer.stop()
            raise TransportError(
                "bad-value",
                f"bind {self.config.host}:{self.config.port}: {error.strerror or error}",
            ) from error
        self.sequencer.start()
        try:
            self.door.serve(make_app(self.sequencer, version("tallystick"), self._ending))
        except TransportError:
            self.stop()
            raise
        for follower in self.followers:
            follower.start()
        self.peering.start()
        if self._tiles is not None:
            self._tiles.start()
        return self.url

    def stop(self) -> None:
        """Answer what is being answered, then close."""
        self._ending.set()
        if self._tiles is not None:
            self._tiles.join(SHUTDOWN_S_MAX)
        self.door.stop()
        for follower in self.followers:
            follower.join(SHUTDOWN_S_MAX)
        self.peering.join(SHUTDOWN_S_MAX)
        self.sequencer.stop()


def _bounds() -> Bounds:
    return Bounds(
        connections_max=CONNECTIONS_MAX,
        header_bytes_max=HEADER_BYTES_MAX,
        keep_alive_s=KEEP_ALIVE_S,
        backlog=BACKLOG,
        start_s_max=START_S_MAX,
        stop_s_max=SHUTDOWN_S_MAX,
        header_s_max=HEADER_READ_S_MAX,
        answer_s_max=ANSWER_WRITE_S_MAX,
        body_rest_s_max=BODY_REST_S_MAX,
    )


def _nothing() -> None:
    pass


def run(
    config: Config,
    stop: threading.Event,
    ready: Callable[[str], None] | None = None,
    *,
    stands_by: Callable[[], None] = _nothing,
    alive: Callable[[], None] = _nothing,
) -> None:
    """Serve until `stop` is set; `ready` is called with the URL. Errors raise TallyError.

    On a PostgreSQL server it stands by while another process sequences the log, takes over when
    that one dies, and begins anew, from the store alone, when its own session is lost.
    `stands_by` is called when it begins to wait, `alive` while all that must run runs.
    """
    began = False
    while not stop.is_set():
        try:
            if isinstance(config.store, Server) and not is_free(config.store):
                # From here on a server that goes away is waited for, as by one that serves.
                began = True
                stands_by()
                _stand_by(config.store, stop, alive)
                if stop.is_set():
                    return
            with _opening(alive):
                service = Service(config)
                url = service.start()
        except StoreBusy:
            # Two stood by, and the other was quicker.
            if not isinstance(config.store, Server):
                raise
            stop.wait(STAND_BY_S)
            continue
        except (StoreAway, StoreLost, OperationalError) as error:
            if not began and not _passes(error):
                raise
            _LOG.error("store-away", validator=config.name, error=type(error).__name__)
            alive()
            stop.wait(RETRY_S)
            continue
        began = True
        _serve_until(service, stop, url, ready, alive)


def _passes(error: Exception) -> bool:
    # A disk that is full, or fails: it says nothing of the store, and whoever starts waits.
    return isinstance(error, OperationalError) and str(error.orig) in _DISK_FAULTS


@contextmanager
def _opening(alive: Callable[[], None]) -> Iterator[None]:
    """Say that it lives while a store is opened: a large one, or an older one, takes its time."""
    opened = threading.Event()

    def say() -> None:
        for _ in range(int(OPENING_S_MAX / WATCH_S)):
            alive()
            if opened.wait(WATCH_S):
                return

    thread = threading.Thread(target=say, name="opening", daemon=True)
    thread.start()
    try:
        yield
    finally:
        opened.set()
        thread.join()


def _serve_until(
    service: Service,
    stop: threading.Event,
    url: str,
    ready: Callable[[str], None] | None,
    alive: Callable[[], None],
) -> None:
    """Until it shall stop, or is no sequencer any more."""
    try:
        if ready is not None:
            ready(url)
        while not stop.wait(WATCH_S):
            if not service.running:
                raise TransportError("bad-value", "the HTTP server ended by itself")
            if not service.sequencer.store.holds_lock():
                _LOG.error("sequencer-lost", validator=service.config.name)
                return
            if service.sequencer.lives:
                alive()
    finally:
        service.stop()


def _stand_by(server: Server, stop: threading.Event, alive: Callable[[], None]) -> None:
    _LOG.info("stands-by", store=str(server))
    while not stop.wait(STAND_BY_S):
        alive()
        if is_free(server):
            _LOG.info("takes-over", store=str(server))
            return
