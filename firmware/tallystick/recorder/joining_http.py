# One HTTP/1.1 request over a socket that never waits, in bounded steps: what joining needs, and not
# more.  Only the look-up of a name (DNS) may wait.  Loaded when a device joins.

import select
import socket

from tallystick.evidence.errors import Malformed, TransportError
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAD_BYTES_MAX = 4096
BODY_BYTES_MAX = 32768
SLICE_BYTES = 1024
EINPROGRESS = (11, 36, 115, 119)
CONNECTING, LOOKING, SENDING, HEARING = range(4)


def parse_url(url: str) -> "tuple[str, str, int]":
    """(scheme, host, port) of http[s]://host[:port]; Malformed for anything else."""
    wrong = Malformed("bad-config", "url must be http://host:port or https://host:port")
    scheme, _, rest = url.partition("://")
    if rest.endswith("/"):
        rest = rest[:-1]
    if scheme not in ("http", "https") or not rest:
        raise wrong
    for char in rest:
        # Neither a path nor a user, and nothing that would end a line of the request.
        if char in "/@?#" or not "!" <= char <= "~":
            raise wrong
    host, colon, port = rest.rpartition(":")
    if not colon or rest.endswith("]"):
        return scheme, rest.strip("[]"), 443 if scheme == "https" else 80
    for char in port:
        if not "0" <= char <= "9":
            raise wrong
    if not host or not port or len(port) > 5 or not 0 < int(port) < 65536:
        raise wrong
    return scheme, host.strip("[]"), int(port)


def parse_head(head: bytes) -> "tuple[int, dict[str, str], int]":
    """(status, headers, bytes of the body) of an answer's head; OSError for what is none."""
    lines = head.split(b"\r\n")
    first = lines[0].split(b" ")
    if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not _is_number(first[1], 3, 3):
        raise OSError("no HTTP")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if colon:
            try:
                headers[name.decode().lower()] = value.decode().strip()
            except UnicodeError:
                raise OSError("no HTTP")
    length = headers.get("content-length", "")
    if "transfer-encoding" in headers or not _is_number(length.encode(), 1, 6):
        raise OSError("no length")
    if int(length) > BODY_BYTES_MAX:
        raise OSError("too long")
    return int(first[1]), headers, int(length)


def _is_number(text: bytes, least: int, most: int) -> bool:
    for byte in text:
        if not 48 <= byte <= 57:
            return False
    return least <= len(text) <= most


class Exchange:
    """step() until it says True; then status, headers (names in lower case) and body."""

    # `number` of the attempt: a name with several addresses has each tried in turn.
    def __init__(
        self, place: "tuple[str, str, int]", secure: "Any", request: bytes, number: int = 0
    ) -> None:
        self._host = place[1]
        self._secure = secure
        self._request = request
        self._sent = 0
        # What TLS was offered and did not take: it wants the same again.
        self._offered = 0
        self._head = bytearray()
        self._body = bytearray()
        self._body_at = -1
        self._length = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self._sock: "Any" = None
        self._raw: "Any" = None
        try:
            self._connect(place, number)
        except (OSError, ZeroDivisionError) as error:
            raise self._lost(error)

    @property
    def body(self) -> bytes:
        """All of it."""
        return bytes(self._body)

    def _connect(self, place: "tuple[str, str, int]", number: int) -> None:
        addresses = socket.getaddrinfo(place[1], place[2], 0, socket.SOCK_STREAM)
        found = addresses[number % len(addresses)]
        self._raw = raw = socket.socket(found[0], socket.SOCK_STREAM)
        raw.setblocking(False)  # noqa: FBT003  # MicroPython's form
        try:
            raw.connect(found[-1])
        except OSError as error:
            if error.args[0] not in EINPROGRESS:
                raise
        self._state = CONNECTING

    def step(self) -> bool:
        """A bounded piece of it; TransportError when it fails."""
        try:
            return self._step()
        except TransportError:
            self.close()
            raise
        except (OSError, ValueError) as error:
            raise self._lost(error)

    def _step(self) -> bool:
        if self._state == CONNECTING:
            poll = select.poll()
            poll.register(self._raw, select.POLLOUT)
            if poll.poll(0):
                self._open()
        elif self._state == LOOKING:
            self._secure.look(self._sock)
        elif self._state == SENDING:
            self._send()
        elif self._hear():
            if self._secure is not None and MICROPYTHON:
                # Where this device knows no time: dates are the one thing that was not checked.
                self._secure.established(self._sock)
            self.close()
            return True
        return False

    def _open(self) -> None:
        # CPython tells why here; MicroPython with the first use.
        failed = self._raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if not MICROPYTHON else 0
        if failed:
            raise OSError(failed, "not connected")
        self._sock = self._raw
        self._state = SENDING
        if self._secure is not None:
            self._sock = self._secure.wrap(self._raw)
            if self._secure.looks:
                self._state = LOOKING

    def _send(self) -> None:
        size = self._offered or min(SLICE_BYTES, len(self._request) - self._sent)
        piece = memoryview(self._request)[self._sent : self._sent + size]
        count = self._moved(self._sock.write if MICROPYTHON else self._sock.send, piece)
        if not count:
            self._offered = size
            return
        self._offered = 0
        self._sent += count
        if self._sent == len(self._request):
            self._state = HEARING

    def _moved(self, move: "Any", view: "Any") -> "int | None":
        # None: not now.
        try:
            return move(view)  # type: ignore[no-any-return]  # a socket's
        except OSError as error:
            # CPython's words for it, plain and with TLS.
            if not MICROPYTHON and (
                isinstance(error, BlockingIOError) or error.__class__.__name__.startswith("SSLWant")
            ):
                return None
            raise

    def _hear(self) -> bool:
        into = self._sock.readinto if MICROPYTHON else self._sock.recv_into
        if self._body_at < 0:
            # Byte by byte, so that nothing of the body is taken with the head.
            one = bytearray(1)
            for _ in range(SLICE_BYTES):
                count = self._moved(into, one)
                if count is None:
                    return False
                if not count or len(self._head) >= HEAD_BYTES_MAX:
                    raise OSError("closed" if not count else "no end of the head")
                self._head += one
                if one == b"\n" and self._head.endswith(b"\r\n\r\n"):
                    self._read_head()
                    break
            else:
                return False
        if self._body_at < len(self._body):
            count = self._moved(into, memoryview(self._body)[self._body_at :][:SLICE_BYTES])
            if count is None:
                return False
            if not count:
                raise OSError("closed")
            self._body_at += count
        return self._body_at == len(self._body)

    def _read_head(self) -> None:
        self.status, self.headers, length = parse_head(bytes(self._head))
        self._body = bytearray(length)
        self._body_at = 0

    def _lost(self, error: Exception) -> TransportError:
        shaking = self._secure is not None and not self._sent
        self.close()
        from tallystick.recorder import mqtt_reasons  # noqa: PLC0415  # rarely

        phase = mqtt_reasons.SHAKING if shaking else mqtt_reasons.UP
        return mqtt_reasons.of_error(error, self._host, phase)

    def close(self) -> None:
        """Give the socket back."""
        for sock in (self._sock, self._raw):
            if sock is not None:
                try:
                    sock.close()
                except OSError:
                    pass
        self._sock = self._raw = None
        if self._secure is not None:
            self._secure.ended()
