"""Server-sent events as they come, each with the time at which it was read."""

import http.client
import json
import queue
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tallystick.tools.bench.result import BenchFailed

READ_S_MAX = 60.0
LINE_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Event:
    """One event's data, and when it was there: on the monotonic and on the wall clock."""

    at_s: float
    wall_s: float
    data: dict[str, Any]


class Stream:
    """One connection that listens, in a thread of its own; a context manager."""

    def __init__(self, url: str, path: str) -> None:
        split = urlsplit(url)
        self._url = url
        self._connection = http.client.HTTPConnection(
            split.hostname or "", split.port, timeout=READ_S_MAX
        )
        self._path = path
        self._events: queue.Queue[Event | Exception] = queue.Queue()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"listens to {url}", daemon=True)

    def __enter__(self) -> "Stream":
        """Connect; from its first line on nothing is missed."""
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request("GET", self._path)
        self._answer = self._connection.getresponse()
        if self._answer.status != http.client.OK:
            message = f"{self._url}{self._path} answered {self._answer.status}"
            raise BenchFailed("bench-failed", message)
        self._answer.readline(LINE_BYTES_MAX)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Go."""
        self._closing = True
        with suppress(OSError):
            # Before it is closed: whoever reads of it would hold up the closing.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        try:
            while line := self._answer.readline(LINE_BYTES_MAX):
                if line.startswith(b"data:"):
                    at_s, wall_s = time.monotonic(), time.time()
                    self._events.put(Event(at_s, wall_s, json.loads(line[5:])))
            self._events.put(BenchFailed("bench-failed", f"{self._url} ended its stream"))
        except (OSError, ValueError, http.client.HTTPException, AttributeError) as error:
            if not self._closing:
                self._events.put(error)

    def next(self, wait_s: float) -> Event:
        """The next one; BenchFailed where none comes in time."""
        try:
            found = self._events.get(timeout=wait_s)
        except queue.Empty:
            message = f"{self._url} told nothing for {wait_s:.0f} s"
            raise BenchFailed("bench-failed", message) from None
        if isinstance(found, Exception):
            raise BenchFailed("bench-failed", f"{self._url}: {found}") from found
        return found
