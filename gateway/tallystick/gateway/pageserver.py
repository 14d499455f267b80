"""Serves the page in a thread of its own: `start`, then `stop`."""

import threading
from importlib.metadata import version

import structlog

from tallystick.evidence.errors import TransportError
from tallystick.gateway import pagelimits
from tallystick.gateway.config import Config
from tallystick.gateway.pageconfig import PageConfig
from tallystick.gateway.pagedoor import Door
from tallystick.gateway.pagewatch import Live, Watch
from tallystick.gateway.store import Store
from tallystick.hw.httpdoor import Bounds, HttpDoor

_log = structlog.get_logger("tallystick.gateway.page")


class Page:
    """Two threads: one looks at the store, one answers."""

    def __init__(self, config: Config, page: PageConfig, store: Store, live: Live) -> None:
        self._config = page
        self._name = config.name
        program = version("tallystick")
        self.watch = Watch(config.roots, store.reader, live, program, page.thresholds)
        self.door = Door(page, self.watch, program)
        self.server = HttpDoor(_bounds(), f"{config.name}: page", page.cert, page.key)
        self.watch.told = self._told
        self._looks = threading.Thread(
            target=self.watch.run, name=f"{config.name}: page's looks", daemon=True
        )
        self._said = False

    @property
    def url(self) -> str:
        """Where it listens, with the port that was given where the configured one is 0."""
        return self.server.url

    @property
    def threads(self) -> list[threading.Thread]:
        """Those that were started."""
        return [one for one in (self.server.thread, self._looks) if one is not None and one.ident]

    def start(self) -> str:
        """Listen; TransportError where the address or the certificate cannot be used."""
        host, port = self._config.host, self._config.port
        try:
            self.server.listen(host, port)
            self._looks.start()
            self.server.serve(self.door.app)
        except (OSError, ValueError) as error:
            self.stop()
            raise TransportError("bad-value", f"page: {host}:{port}: {error}") from error
        except TransportError as error:
            self.stop()
            raise TransportError(error.reason, f"page: {error.message}") from error
        _log.info("page", gateway=self._name, url=self.url)
        return self.url

    def reconfigure(self, page: PageConfig) -> None:
        """Another token, names, thresholds or certificate; the address stays."""
        if page.cert is not None and page.key is not None:
            self.server.renew(page.cert, page.key)
        self._config = page
        self.door.reconfigure(page)
        self.watch.reconfigure(page.thresholds)

    def look_after(self) -> None:
        """Say once when a thread of the page ended: custody goes on without a page."""
        dead = [thread.name for thread in self.threads if not thread.is_alive()]
        if dead and not self._said:
            self._said = True
            _log.error("the page ended by itself; records are taken as before", threads=dead)

    def _told(self) -> None:
        self.server.call(self.door.tell)

    def give_up(self) -> None:
        """Let its address go and wait for nothing: a thread of it hangs."""
        self.server.give_up()
        self.watch.stop()

    def stop(self) -> None:
        """End the streams, then the server, then the looks."""
        self.server.call(self.door.end)
        self.server.begin_stop()
        self.watch.stop()
        self.server.stop()
        if self._looks.ident:
            self._looks.join(pagelimits.STOP_S_MAX * 2)


def _bounds() -> Bounds:
    return Bounds(
        connections_max=pagelimits.CONNECTIONS_MAX,
        header_bytes_max=pagelimits.HEADER_BYTES_MAX,
        keep_alive_s=pagelimits.KEEP_ALIVE_S,
        backlog=pagelimits.BACKLOG,
        start_s_max=pagelimits.START_S_MAX,
        stop_s_max=pagelimits.STOP_S_MAX,
        header_s_max=pagelimits.HEADER_READ_S_MAX,
        unread_s_max=pagelimits.WRITE_S_MAX,
        # Nothing here takes a body; one that goes on after the answer would keep its place.
        body_rest_s_max=0,
        handshake_s_max=pagelimits.HANDSHAKE_S_MAX,
        buffer_bytes=pagelimits.STREAM_BUFFER_BYTES,
    )
