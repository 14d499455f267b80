"""Serves the page in a thread of its own: `start`, then `stop`."""

import asyncio
import contextlib
import socket
import threading
import time
from importlib.metadata import version
from typing import Any

import h11
import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from tallystick.evidence.errors import TransportError
from tallystick.gateway import pagelimits
from tallystick.gateway.config import Config
from tallystick.gateway.listening import listen, url_of
from tallystick.gateway.pageconfig import PageConfig
from tallystick.gateway.pagedoor import Door
from tallystick.gateway.pagewatch import Live, Watch
from tallystick.gateway.store import Store

_log = structlog.get_logger("tallystick.gateway.page")


class _PatientProtocol(H11Protocol):
    """Drops who is slow (A21): headers that do not come, answers and events that are not read."""

    _headers_due: asyncio.TimerHandle | None = None
    _answer_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.set_write_buffer_limits(pagelimits.STREAM_BUFFER_BYTES)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.our_state is h11.IDLE:
            self._wait()
        else:
            self._come()

    def connection_lost(self, exc: Exception | None) -> None:
        self._come()
        self._read()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        # Nothing here takes a body; one that goes on after the answer would keep its place.
        unread = self.conn.their_state is h11.SEND_BODY
        super().on_response_complete()
        if unread and not self.transport.is_closing():
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._answer_due is None:
            self._answer_due = self.loop.call_later(pagelimits.WRITE_S_MAX, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._read()

    def _wait(self) -> None:
        # Not moved by each byte: who trickles has no more time than who is silent.
        if self._headers_due is None:
            self._headers_due = self.loop.call_later(
                pagelimits.HEADER_READ_S_MAX, self.transport.abort
            )

    def _come(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _read(self) -> None:
        if self._answer_due is not None:
            self._answer_due.cancel()
            self._answer_due = None


class _Loop(asyncio.SelectorEventLoop):
    """Ends who connects and does not shake hands: no protocol of ours is asked before (A21)."""

    async def create_server(self, *args: Any, **named: Any) -> asyncio.Server:
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = pagelimits.HANDSHAKE_S_MAX
        return await super().create_server(*args, **named)


class Page:
    """Two threads: one looks at the store, one answers."""

    def __init__(self, config: Config, page: PageConfig, store: Store, live: Live) -> None:
        self._config = page
        self._name = config.name
        program = version("tallystick")
        self.watch = Watch(config.roots, store.reader, live, program, page.thresholds)
        self.door = Door(page, self.watch, program)
        self.watch.told = self._told
        self.url = ""
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.threads: list[threading.Thread] = []
        self._said = False

    def start(self) -> str:
        """Listen; TransportError where the address or the certificate cannot be used."""
        config = self._config
        try:
            self._socket = listen(config.host, config.port, pagelimits.BACKLOG)
            self._server = uvicorn.Server(self._settings())
            self._server.config.load()
        except (OSError, ValueError) as error:
            if self._socket is not None:
                self._socket.close()
            what = f"page: {config.host}:{config.port}: {error}"
            raise TransportError("bad-value", what) from error
        # What the kernel takes for a reader that does not read counts, too; accepted ones inherit.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, pagelimits.STREAM_BUFFER_BYTES)
        for what, target in (("page", self._serve), ("page's looks", self.watch.run)):
            thread = threading.Thread(target=target, name=f"{self._name}: {what}", daemon=True)
            thread.start()
            self.threads.append(thread)
        until_s = time.monotonic() + pagelimits.START_S_MAX
        while not self._server.started and time.monotonic() < until_s:
            if not self.threads[0].is_alive():
                break
            time.sleep(0.01)
        if not self._server.started:
            self.stop()
            raise TransportError("bad-value", "page: the HTTP server did not start")
        self.url = url_of(self._socket, tls=config.cert is not None)
        _log.info("page", gateway=self._name, url=self.url)
        return self.url

    def _settings(self) -> uvicorn.Config:
        config = self._config
        return uvicorn.Config(
            self.door.app,
            http=_PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Who asks is who the connection comes from: no header changes that.
            proxy_headers=False,
            limit_concurrency=pagelimits.CONNECTIONS_MAX,
            timeout_keep_alive=pagelimits.KEEP_ALIVE_S,
            timeout_graceful_shutdown=pagelimits.STOP_S_MAX,
            h11_max_incomplete_event_size=pagelimits.HEADER_BYTES_MAX,
            backlog=pagelimits.BACKLOG,
            ssl_certfile=config.cert,
            ssl_keyfile=config.key,
        )

    def _serve(self) -> None:
        if self._server is None or self._socket is None:
            return
        self._loop = _Loop()
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._server.serve(sockets=[self._socket]))
        finally:
            self._loop.close()

    def look_after(self) -> None:
        """Say once when a thread of the page ended: custody goes on without a page."""
        dead = [thread.name for thread in self.threads if not thread.is_alive()]
        if dead and not self._said:
            self._said = True
            _log.error("the page ended by itself; records are taken as before", threads=dead)

    def _told(self) -> None:
        self._call(self.door.tell)

    def _call(self, what: Any) -> None:
        # The loop may end between a look and this.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(what)

    def stop(self) -> None:
        """End the streams, then the server, then the looks."""
        self._call(self.door.end)
        if self._server is not None:
            self._server.should_exit = True
        self.watch.stop()
        for thread in self.threads:
            thread.join(pagelimits.STOP_S_MAX * 2)
        if self._socket is not None:
            self._socket.close()
