"""The running service: `run(config, stop)`, in a thread or as a process."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import h11
import structlog
import uvicorn
from sqlalchemy.exc import OperationalError
from uvicorn.protocols.http.h11_impl import H11Protocol

from tallystick.evidence.errors import TransportError
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
_LOG = structlog.get_logger("tallystick.validator")


class _PatientProtocol(H11Protocol):
    """Closes a connection whose headers do not come, or whose answer is not read, in time (A21)."""

    _headers_due: asyncio.TimerHandle | None = None
    _answer_due: asyncio.TimerHandle | None = None
    _body_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is not h11.SEND_BODY:
            self._ended()
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._wait()
        else:
            self._unset()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unset()
        self._answered()
        self._ended()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        # Not moved by what is read meanwhile, for the same reason as below.
        if self._answer_due is None:
            self._answer_due = self.loop.call_later(ANSWER_WRITE_S_MAX, self._unread)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.cycle.response_complete:
            self._answered()

    def on_response_complete(self) -> None:
        self._answered()
        if self.conn.their_state is h11.SEND_BODY and self._body_due is None:
            # Nobody reads the rest. A client may finish, and read its answer; not go on for ever.
            self._body_due = self.loop.call_later(BODY_REST_S_MAX, self.transport.abort)
        if self.flow.write_paused:
            # It is written as far as we are concerned; its end, and the next answer, must be read.
            self.pause_writing()
        super().on_response_complete()

    def _answered(self) -> None:
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None

    def _ended(self) -> None:
        if self._body_due is not None:
            self._body_due.cancel()
            self._body_due = None

    def _unread(self) -> None:
        self._answer_due = None
        self.transport.abort()

    def _wait(self) -> None:
        # Not moved by each byte: a client that trickles has no more time than one that is silent.
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(HEADER_READ_S_MAX, self._late)

    def _unset(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _late(self) -> None:
        self._headers_due = None
        if not self.transport.is_closing():
            self.transport.close()


class Service:
    """A validator that is open: `start` serves, `stop` ends it; both may be called once."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sequencer = Sequencer(config)
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self.followers = [Follower(self.sequencer, peer, self._ending) for peer in config.peers]
        self.peering = Peering(self.sequencer, self._ending)
        tiles = self.sequencer.tiles
        self._tiles = None if tiles is None else TileWriter(tiles, self._ending)

    @property
    def url(self) -> str:
        """Where it listens; the port is the one that was given when the configured one is 0."""
        if self._socket is None:
            return ""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> str:
        """Listen and work; returns the URL. TransportError when the address cannot be had."""
        try:
            self._socket = _listen(self.config.host, self.config.port)
        except OSError as error:
            self.sequencer.stop()
            raise TransportError(
                "bad-value",
                f"bind {self.config.host}:{self.config.port}: {error.strerror or error}",
            ) from error
        self.sequencer.start()
        app = make_app(self.sequencer, version("tallystick"), self._ending)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=_PatientProtocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                # Whose loopback it is decides who may read (app.py): no header changes that.
                proxy_headers=False,
                date_header=True,
                limit_concurrency=CONNECTIONS_MAX,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=SHUTDOWN_S_MAX,
                h11_max_incomplete_event_size=HEADER_BYTES_MAX,
                backlog=BACKLOG,
            )
        )
        self._thread = threading.Thread(
            target=self._serve, name=f"validator {self.config.name}", daemon=True
        )
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_S_MAX / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            self.stop()
            raise TransportError("bad-value", "the HTTP server did not start")
        for follower in self.followers:
            follower.start()
        self.peering.start()
        if self._tiles is not None:
            self._tiles.start()
        return self.url

    def _serve(self) -> None:
        if self._server is not None and self._socket is not None:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """Answer what is being answered, then close."""
        self._ending.set()
        if self._tiles is not None:
            self._tiles.join(SHUTDOWN_S_MAX)
        if self._server is not None:
            self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(SHUTDOWN_S_MAX * 2)
        if self._socket is not None:
            self._socket.close()
        for follower in self.followers:
            follower.join(SHUTDOWN_S_MAX)
        self.peering.join(SHUTDOWN_S_MAX)
        self.sequencer.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off: 44 ms an answer without.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


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
            if not began:
                raise
            _LOG.error("store-away", validator=config.name, error=type(error).__name__)
            alive()
            stop.wait(RETRY_S)
            continue
        began = True
        _serve_until(service, stop, url, ready, alive)


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
