"""The running service: a thread a connection, each line done and answered before the next one.

There is no queue of ours. A client that writes faster than the journal takes it, or does not read
its answers, waits in the kernel's buffers of its own socket, and nobody else does.
"""

import socket
import sys
import threading
import time

from tallystick.evidence.errors import TallyError
from tallystick.recorder import Recorder
from tallystick.tools.serve import work
from tallystick.tools.serve.doors import Allowed, peer_of
from tallystick.tools.serve.lines import LineBuffer, parse

CONNECTIONS_MAX = 64
# A line must end so long after it began, and its answer be read.
LINE_S_MAX = 30.0
ANSWER_S_MAX = 10.0
# Where all connections are taken, the one that has been silent longest gives way, after so long.
SILENT_S_MIN = 60.0
READ_BYTES = 65_536
ANSWERS_BYTES_MAX = 65_536
LOOK_S = 0.2
STOP_S_MAX = 15.0


class Connection:
    """One client."""

    def __init__(self, link: socket.socket, tally: Recorder) -> None:
        self._link = link
        self._tally = tally
        self._stopping = False
        self._answers = bytearray()
        self.silent_since_s = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Serve in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Read nothing more; what is being done is done and answered."""
        self._stopping = True
        try:
            self._link.shutdown(socket.SHUT_RD)
        except OSError:
            return  # it is gone already

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            with self._link:
                self._serve()
        except OSError:
            return  # the client went away, or reads nothing

    def _serve(self) -> None:
        buffer = LineBuffer()
        until_s: float | None = None
        while not self._stopping:
            if not buffer.partial:
                until_s = None
            elif until_s is None:
                until_s = time.monotonic() + LINE_S_MAX
            try:
                self._link.settimeout(None if until_s is None else _left(until_s))
                data = self._link.recv(READ_BYTES)
            except TimeoutError:
                message = f"a line did not end within {LINE_S_MAX:.0f} s; goodbye"
                self._answers += work.failed(TallyError("too-late", message))
                break
            self.silent_since_s = time.monotonic()
            for line in buffer.feed(data) if data else buffer.last():
                if self._stopping:
                    break
                self._answer(line)
            self._send()
            if not data:
                return
        self._send()

    def _answer(self, line: bytes | None) -> None:
        try:
            if line is None:
                raise work.TOO_LONG
            request = parse(line)
        except TallyError as error:
            self._answers += work.failed(error)
        else:
            if request.waits:
                self._send()
            self._answers += work.done(self._tally, request)
        if len(self._answers) > ANSWERS_BYTES_MAX:
            self._send()

    def _send(self) -> None:
        if self._answers:
            self._link.settimeout(ANSWER_S_MAX)
            self._link.sendall(self._answers)
            self._answers.clear()


def _left(until_s: float) -> float:
    # Zero would mean not to wait at all, which raises something else.
    return max(until_s - time.monotonic(), 0.001)


class Service:
    """Takes connections until it is stopped."""

    def __init__(self, listening: socket.socket, tally: Recorder, allowed: Allowed) -> None:
        self._listening = listening
        self._tally = tally
        self._allowed = allowed
        self._connections: list[Connection] = []
        self._faults = 0

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop`; returns when every client is answered, or after STOP_S_MAX."""
        self._listening.settimeout(LOOK_S)
        while not stop.is_set():
            self._say_faults()
            try:
                link, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError as error:
                # Out of descriptors: those that are there go on.
                print(f"no new connection: {error}", file=sys.stderr)  # noqa: T201 - to the journal of the system
                stop.wait(LOOK_S)
                continue
            self._take(link)
        for connection in self._connections:
            connection.stop()
        until_s = time.monotonic() + STOP_S_MAX
        for connection in self._connections:
            connection.join(_left(until_s))

    def _take(self, link: socket.socket) -> None:
        try:
            self._allowed.check(peer_of(link))
            self._make_room()
        except TallyError as error:
            link.settimeout(LOOK_S)
            try:
                with link:
                    link.sendall(work.failed(error))
            except OSError:
                return  # it did not wait for the answer
            return
        connection = Connection(link, self._tally)
        self._connections.append(connection)
        connection.start()

    def _make_room(self) -> None:
        self._connections = [one for one in self._connections if one.alive]
        if len(self._connections) < CONNECTIONS_MAX:
            return
        silent = min(self._connections, key=lambda one: one.silent_since_s)
        if time.monotonic() - silent.silent_since_s < SILENT_S_MIN:
            message = f"{CONNECTIONS_MAX} programs are connected; try again, or close one"
            raise TallyError("over-quota", message)
        silent.stop()
        silent.join(LOOK_S)
        self._connections.remove(silent)

    def _say_faults(self) -> None:
        health = self._tally.health
        faults = sum(health.faults.values())
        if faults != self._faults:
            self._faults = faults
            print(f"fault: {health.last_fault}", file=sys.stderr)  # noqa: T201 - as above
