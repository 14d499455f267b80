"""Requests to another validator, bounded whatever it answers (docs/protocol.md, 8.2, 8.4)."""

import ssl
import threading
from typing import Any, TypeVar

import httpx2
import msgspec

from tallystick.evidence.errors import TransportError
from tallystick.hw.answertime import AnswerTime
from tallystick.validator.limits import (
    PEER_ANSWER_BYTES_MAX,
    PEER_ANSWER_S_MAX,
    PEER_CONNECT_S_MAX,
    PEER_READ_S_MAX,
)

T = TypeVar("T")
# By type: msgspec makes one at a type's first use, and two threads at once end the process.
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}
_making = threading.Lock()


class PeerClient:
    """Requests to one peer: bounded answers, no redirects, every failure a TallyError."""

    def __init__(self, url: str, answer_s: float = PEER_ANSWER_S_MAX) -> None:
        """answer_s: for a whole answer, however it comes: seconds."""
        self._url = url
        self._line = AnswerTime(answer_s)
        read_s, connect_s = min(answer_s, PEER_READ_S_MAX), min(answer_s, PEER_CONNECT_S_MAX)
        timeout = httpx2.Timeout(read_s, connect=connect_s)
        self._client = httpx2.Client(timeout=timeout, follow_redirects=False)

    def get(self, path: str, shape: type[T], **query: object) -> T:
        """A JSON answer of this type."""
        try:
            return _decoder(shape).decode(self.bytes_of(path, **query))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise TransportError("bad-value", f"{self._url}{path}: {error}") from error

    def bytes_of(self, path: str, **query: Any) -> bytes:
        """The body of a 200 answer."""
        response, data = self._ask("GET", path, params=query)
        if response.status_code != httpx2.codes.OK:
            raise TransportError("refused", f"{self._url}{path}: answered {response.status_code}")
        return data

    def post(self, path: str, data: bytes) -> tuple[int, str, bytes]:
        """The status of the answer, its media type, its body."""
        response, body = self._ask("POST", path, content=data)
        return response.status_code, response.headers.get("content-type", ""), body

    def _ask(self, method: str, path: str, **given: Any) -> tuple[httpx2.Response, bytes]:
        parts, size = [], 0
        given["extensions"] = {"trace": self._line.trace}
        try:
            with self._line, self._client.stream(method, self._url + path, **given) as response:
                for part in response.iter_bytes():
                    size += len(part)
                    if size > PEER_ANSWER_BYTES_MAX:
                        raise TransportError("too-large", f"{self._url}: an answer without end")
                    parts.append(part)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError) as error:
            what = str(error) or type(error).__name__
            what = self._line.problem() or what
            raise TransportError("unreachable", f"{self._url}: {what}") from error
        # One that is cut off may look like one that ends.
        if self._line.problem() is not None:
            raise TransportError("unreachable", f"{self._url}: {self._line.problem()}")
        return response, b"".join(parts)

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _decoder(shape: type[T]) -> "msgspec.json.Decoder[T]":
    with _making:
        found = _decoders.get(shape)
        if found is None:
            found = _decoders[shape] = msgspec.json.Decoder(shape)
        return found
