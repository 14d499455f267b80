# CPython only
# Needs an extra: gateway or validator
"""A door for HTTP: listens, serves an application in a thread of its own, and stops quietly.

Who is slow is dropped, and so is who opens connections and says nothing (A21). Here, because
gateways and validators have such doors, and neither imports the other.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tallystick.evidence.errors import TransportError

# How often a stopping door looks whether everybody has gone, and how long it waits for tasks that
# were told that nobody is there any more.
_STOP_LOOK_S = 0.02
_TASKS_END_S_MAX = 1.0

# Of a page: nothing inline, nothing foreign, in no frame; a token in memory must not leave with a
# link.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What one door bears. A time that is None is not bounded, or is by another one."""

    connections_max: int
    header_bytes_max: int
    keep_alive_s: int
    backlog: int
    start_s_max: float
    stop_s_max: int
    # For a whole connection, from its first byte to its last.
    connection_s_max: float | None = None
    # For a request's headers, counted from the connection or the last answer.
    header_s_max: float | None = None
    # Since something was written that nobody reads; begins anew when it is read.
    unread_s_max: float | None = None
    # The same for a whole answer: what is read of it meanwhile moves nothing.
    answer_s_max: float | None = None
    # For what goes on of a body whose answer is given; 0 ends the connection then.
    body_rest_s_max: float | None = None
    # For a TLS handshake.
    handshake_s_max: float | None = None
    # What is written and not read before a writer waits.
    buffer_bytes: int | None = None


class _Patient(H11Protocol):
    """A connection whose client has so much time and no more."""

    door: "HttpDoor"
    _ends: asyncio.TimerHandle | None = None
    _headers_due: asyncio.TimerHandle | None = None
    _answer_due: asyncio.TimerHandle | None = None
    _body_due: asyncio.TimerHandle | None = None

    @property
    def bounds(self) -> Bounds:
        return self.door.bounds

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.bounds.buffer_bytes is not None:
            transport.set_write_buffer_limits(self.bounds.buffer_bytes)
        self._ends = self._after(self.bounds.connection_s_max, transport.abort)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._too_large(data):
            self.send_400_response("headers are too large")
            self._closing()
            return
        super().data_received(data)
        if self.conn.their_state is not h11.SEND_BODY:
            self._body_due = _cancelled(self._body_due)
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._wait()
        else:
            self._headers_due = _cancelled(self._headers_due)
        self._closing()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._ends, self._headers_due, self._answer_due, self._body_due):
            _cancelled(timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.bounds.answer_s_max is None or self.cycle.response_complete:
            self._answer_due = _cancelled(self._answer_due)

    def on_response_complete(self) -> None:
        goes_on = self.conn.their_state is h11.SEND_BODY
        if self.bounds.answer_s_max is not None:
            self._answer_due = _cancelled(self._answer_due)
            if self.flow.write_paused:
                # It is written as far as we are concerned; its end must be read, too.
                self._unread()
        if goes_on and self.bounds.body_rest_s_max and self._body_due is None:
            # Nobody reads the rest. A client may finish, and read its answer; not go on for ever.
            self._body_due = self._after(self.bounds.body_rest_s_max, self.transport.abort)
        super().on_response_complete()
        if goes_on and self.bounds.body_rest_s_max == 0 and not self.transport.is_closing():
            self.transport.close()
        self._closing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._closing()

    def _too_large(self, data: bytes) -> bool:
        # h11 bounds headers that are not whole; what comes whole in one read may be larger.
        if self.conn.their_state is not h11.IDLE:
            return False
        end = data.find(b"\r\n\r\n")
        return (len(data) if end < 0 else end) > self.bounds.header_bytes_max

    def _wait(self) -> None:
        # Not moved by each byte: who trickles has no more time than who is silent.
        if self._headers_due is None:
            self._headers_due = self._after(self.bounds.header_s_max, self._late)

    def _unread(self) -> None:
        if self._answer_due is None:
            most_s = self.bounds.answer_s_max or self.bounds.unread_s_max
            self._answer_due = self._after(most_s, self.transport.abort)

    def _late(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.close()
            self._closing()
        else:
            self.transport.abort()

    def _closing(self) -> None:
        # A transport that is closed waits for its reader, for ever and without a pause.
        if self.transport.is_closing() and self.transport.get_write_buffer_size():
            self._unread()

    def _after(self, most_s: float | None, end: Callable[[], None]) -> asyncio.TimerHandle | None:
        return None if most_s is None else self.loop.call_later(most_s, end)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None


class _Server(uvicorn.Server):
    """Stops within a time, and without a word: a client that stays is no error."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for one in sockets or []:
            one.close()
        state = self.server_state
        told: set[Any] = set()
        end_s = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while (state.connections or state.tasks) and time.monotonic() < end_s:
            # Again and again: a connection may be made that was accepted before.
            for connection in set(state.connections) - told:
                told.add(connection)
                _leave(connection)
            await asyncio.sleep(_STOP_LOOK_S)
        for connection in list(state.connections):
            connection.transport.abort()
        tasks = list(state.tasks)
        if tasks:
            await asyncio.wait(tasks, timeout=_TASKS_END_S_MAX)
        for task in tasks:
            task.cancel()


def _leave(connection: Any) -> None:
    cycle, transport = connection.cycle, connection.transport
    if (cycle is None or cycle.response_complete) and not transport.get_write_buffer_size():
        # No answer is under way: nothing waits for what its client might still say.
        transport.abort()
    else:
        connection.shutdown()


class _Loop(asyncio.SelectorEventLoop):
    """Ends who connects and does not shake hands: no protocol of ours is asked before (A21)."""

    def __init__(self, handshake_s_max: float | None) -> None:
        super().__init__()
        self._handshake_s_max = handshake_s_max

    async def create_server(self, *args: Any, **named: Any) -> asyncio.Server:
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = self._handshake_s_max
        return await super().create_server(*args, **named)

    def end(self) -> None:
        """Close it, with what still waits there, such as for the end of a handshake."""
        tasks = asyncio.all_tasks(self)
        for task in tasks:
            task.cancel()
        if tasks:
            self.run_until_complete(asyncio.wait(tasks, timeout=_TASKS_END_S_MAX))
        self.close()


def listen(host: str, port: int, backlog: int) -> socket.socket:
    """A listening TCP socket; OSError where the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio turns Nagle's algorithm off: 44 ms an answer without.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


class HttpDoor:
    """`listen`, then `serve`, then `stop`, each once."""

    def __init__(
        self, bounds: Bounds, name: str, cert: Path | None = None, key: Path | None = None
    ) -> None:
        """name: of its thread; cert, key: files in PEM for TLS."""
        # A connection looks at them anew each time.
        self.bounds = bounds
        self._name = name
        self._cert = cert
        self._key = key
        self._socket: socket.socket | None = None
        self._server: _Server | None = None
        self._loop: _Loop | None = None
        self.thread: threading.Thread | None = None
        # Where it listens, with the port that was given where the configured one is 0.
        self.url = ""

    @property
    def connections(self) -> frozenset[Any]:
        """Those that are open."""
        return frozenset(() if self._server is None else self._server.server_state.connections)

    @property
    def running(self) -> bool:
        """Whether it still serves."""
        return self.thread is not None and self.thread.is_alive()

    def listen(self, host: str, port: int) -> str:
        """Take the address; OSError where it is taken or not ours."""
        listening = listen(host, port, self.bounds.backlog)
        if self.bounds.buffer_bytes is not None:
            # What the kernel takes for a reader that does not read counts, too; accepted ones
            # inherit it.
            size = self.bounds.buffer_bytes
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
        self._socket = listening
        host, port = listening.getsockname()[:2]
        scheme = "http" if self._cert is None else "https"
        self.url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
        return self.url

    def serve(self, app: Any) -> None:
        """Answer from now on. OSError, ValueError: the certificate; TransportError: no start."""
        if self._socket is None:
            raise TransportError("bad-value", "the HTTP server listens nowhere")
        self._server = _Server(self._settings(app))
        self._server.config.load()
        self.thread = threading.Thread(
            target=self._run, args=(self._server, self._socket), name=self._name, daemon=True
        )
        self.thread.start()
        until_s = time.monotonic() + self.bounds.start_s_max
        while not self._server.started and self.thread.is_alive() and time.monotonic() < until_s:
            time.sleep(0.01)
        if not self._server.started:
            raise TransportError("bad-value", "the HTTP server did not start")

    def _settings(self, app: Any) -> uvicorn.Config:
        class Patient(_Patient):
            door = self

        return uvicorn.Config(
            app,
            http=Patient,
            ws="none",
            lifespan="off",
            log_config=None,
            # Nonsense that strangers send is no line of a log each (A21).
            log_level="error",
            access_log=False,
            server_header=False,
            # Who asks is who the connection comes from: no header changes that.
            proxy_headers=False,
            limit_concurrency=self.bounds.connections_max,
            timeout_keep_alive=self.bounds.keep_alive_s,
            timeout_graceful_shutdown=self.bounds.stop_s_max,
            h11_max_incomplete_event_size=self.bounds.header_bytes_max,
            backlog=self.bounds.backlog,
            ssl_certfile=self._cert,
            ssl_keyfile=self._key,
        )

    def _run(self, server: _Server, listening: socket.socket) -> None:
        self._loop = _Loop(self.bounds.handshake_s_max)
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(server.serve(sockets=[listening]))
        finally:
            self._loop.end()

    def call(self, what: Callable[[], None]) -> None:
        """Do something in the server's thread, where it still runs."""
        # The loop may end between a look and this.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what)

    def renew(self, cert: Path, key: Path) -> None:
        """Show another certificate to who connects from now on. OSError, ssl.SSLError, ValueError.

        For a door that has one; connections that are open keep theirs.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(cert, key)
        self._cert, self._key = cert, key
        served = None if self._server is None else self._server.config.ssl
        if served is None:
            return

        def instead(one: Any, _name: str | None, _context: ssl.SSLContext) -> None:
            # Loaded into the context of before, a key of another type would stand beside the old.
            one.context = context

        served.sni_callback = instead

    def begin_stop(self) -> None:
        """Take nobody new; `stop` waits."""
        if self._server is not None:
            self._server.should_exit = True

    def give_up(self) -> None:
        """Let the address and all connections go and wait for nothing: the thread hangs."""
        self.begin_stop()
        open_now = [one.transport.get_extra_info("socket") for one in self.connections]
        for one in [self._socket, *open_now]:
            # Not closed: while the thread is in a call, its number may become another file's.
            with contextlib.suppress(OSError, AttributeError):
                one.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Answer what is being answered, within its time, then close."""
        self.begin_stop()
        if self.thread is not None:
            self.thread.join(self.bounds.stop_s_max * 2 + _TASKS_END_S_MAX)
        if self._socket is not None:
            self._socket.close()
