# CPython only
"""How long another service may take for a whole answer, however it comes.

The library's time-outs are for one read each. A service that gives a byte now and then, of its
headers or of nothing that can be unpacked yet, would hold a thread for as long as it likes. Here,
because gateways and validators ask validators, and neither imports the other.
"""

import contextlib
import socket
import threading
from typing import Any


class AnswerTime:
    """The connection of a client, cut when a request takes too long; one request at a time."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None
        self._cut = False
        self._closed = False

    def __enter__(self) -> None:
        self._cut = self._closed
        self._timer = threading.Timer(self._most_s, lambda: self._end(timer))
        timer = self._timer
        timer.daemon = True
        timer.start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """What the library tells while it works: here the socket that it works with."""
        # TLS makes another one of it. Its handshake has one time-out over all of it already.
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self._cut:
                    self._shut()

    def _end(self, timer: threading.Timer) -> None:
        with self._lock:
            # Not one whose request is over: the next one may have the connection.
            if timer is self._timer:
                self._cut = True
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the request that is under way, and every later one; called by another thread."""
        with self._lock:
            self._cut = self._closed = True
            self._shut()

    def problem(self) -> str | None:
        """Why the request was cut, where it was."""
        if self._closed:
            return "it is not waited for any more"
        return f"no whole answer within {self._most_s:g} s" if self._cut else None
