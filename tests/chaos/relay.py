"""Links between processes on loopback, which can be cut and stalled; one thread for all of them."""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536
# What one direction of a connection may hold up.
HELD_BYTES_MAX = 1 << 22
TURN_S = 0.25
GOOD, CUT, STALLED = "good", "cut", "stalled"


@dataclass
class Link:
    """A door of ours, and where it leads."""

    name: str
    to: tuple[str, int]
    door: socket.socket
    # How long whatever is said takes to the other side.
    delay_s: float = 0.0
    how: str = GOOD
    ends: "set[End]" = field(default_factory=set)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.door.getsockname()[1])


class End:
    """One side of a connection; `waits` is to be written to it."""

    def __init__(self, link: Link, sock: socket.socket) -> None:
        self.link = link
        self.sock = sock
        self.waits = bytearray()
        self.other: End = self
        # What waits is on its way still.
        self.early = False
        # The other side said all that it had to say.
        self.ending = False

    def mask(self) -> int:
        """What the selector is to look for; 0: nothing."""
        if self.link.how == STALLED:
            return 0
        wants = selectors.EVENT_READ if len(self.other.waits) < HELD_BYTES_MAX else 0
        return wants | (selectors.EVENT_WRITE if self.waits and not self.early else 0)


class Relay:
    """All links. A stalled one holds what it was given, and gives it in order when it is good."""

    def __init__(self) -> None:
        self.links: dict[str, Link] = {}
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        # When what waits for an end arrives there; in this order, for all delays are alike.
        self._under_way: deque[tuple[float, End]] = deque()
        self._ended = False
        self._here, there = socket.socketpair()
        self._wakes = there
        self._selector.register(self._here, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)

    def add(self, name: str, port: int, delay_s: float = 0.0) -> int:
        """A link to a port of loopback; the port to use. All delays are alike, or none."""
        door = socket.create_server(("127.0.0.1", 0))
        door.setblocking(False)
        link = self.links[name] = Link(name, ("127.0.0.1", port), door, delay_s)
        self._selector.register(door, selectors.EVENT_READ, link)
        return link.port

    def start(self) -> None:
        """When all links are added."""
        self._thread.start()

    def set(self, name: str, how: str) -> None:
        """From now on a link is so."""
        with self._lock:
            link = self.links[name]
            link.how = how
            if how == CUT:
                for end in list(link.ends):
                    self._close(end)
            for end in link.ends:
                self._watch(end)
        self._wakes.send(b"x")

    def close(self) -> None:
        """Nobody listens any more."""
        self._ended = True
        self._wakes.send(b"x")
        self._thread.join(10)
        for link in self.links.values():
            for end in list(link.ends):
                self._close(end)
            link.door.close()
        self._selector.close()
        self._here.close()
        self._wakes.close()

    def _run(self) -> None:
        while not self._ended:
            left_s = self._under_way[0][0] - time.monotonic() if self._under_way else TURN_S
            found = self._selector.select(max(0.0, min(TURN_S, left_s)))
            with self._lock:
                self._arrive()
                for key, mask in found:
                    if key.data is None:
                        self._here.recv(CHUNK_BYTES)
                    elif isinstance(key.data, Link):
                        self._accept(key.data)
                    else:
                        self._turn(key.data, mask)

    def _arrive(self) -> None:
        while self._under_way and self._under_way[0][0] <= time.monotonic():
            _, end = self._under_way.popleft()
            end.early = False
            if end in end.link.ends:
                self._watch(end)

    def _accept(self, link: Link) -> None:
        try:
            near, _ = link.door.accept()
        except OSError:
            return
        if link.how == CUT:
            near.close()
            return
        try:
            # On loopback it is there at once, or there is nobody.
            far = socket.create_connection(link.to, timeout=1.0)
        except OSError:
            near.close()
            return
        ends = End(link, near), End(link, far)
        for end, other in (ends, ends[::-1]):
            end.other = other
            end.sock.setblocking(False)
            end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.ends.add(end)
        for end in ends:
            self._watch(end)

    def _turn(self, end: End, mask: int) -> None:
        if end not in end.link.ends or end.link.how == STALLED:
            return
        try:
            if mask & selectors.EVENT_READ:
                data = end.sock.recv(CHUNK_BYTES)
                if not data:
                    end.other.ending = True
                self._take(end.other, data)
                if not data:
                    if not end.other.waits:
                        self._close(end)
                        return
                    self._selector.unregister(end.sock)
            if mask & selectors.EVENT_WRITE:
                self._write(end)
                if end.ending and not end.waits:
                    self._close(end)
                    return
        except OSError:
            self._close(end)
            return
        self._watch(end)
        self._watch(end.other)

    def _take(self, end: End, data: bytes) -> None:
        if data and end.link.delay_s and not end.waits:
            end.early = True
            self._under_way.append((time.monotonic() + end.link.delay_s, end))
        end.waits += data
        self._write(end)

    def _write(self, end: End) -> None:
        if end.waits and not end.early:
            with contextlib.suppress(BlockingIOError):
                del end.waits[: end.sock.send(end.waits)]

    def _watch(self, end: End) -> None:
        # Where the other side has ended, only what waits for this one is of interest.
        mask = end.mask() if not end.other.ending else end.mask() & selectors.EVENT_WRITE
        known = end.sock in self._selector.get_map()
        if mask and known:
            self._selector.modify(end.sock, mask, end)
        elif mask:
            self._selector.register(end.sock, mask, end)
        elif known:
            self._selector.unregister(end.sock)

    def _close(self, end: End) -> None:
        for one in (end, end.other):
            if one in one.link.ends:
                one.link.ends.discard(one)
                if one.sock in self._selector.get_map():
                    self._selector.unregister(one.sock)
                one.sock.close()
