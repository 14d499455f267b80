"""Where a log is read from: a URL that serves tiles, or a folder of them (protocol, 8.3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tallystick.evidence import note as notes
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX
from tallystick.evidence.note import Note
from tallystick.tools.api import ValidatorApi

READ_S_MAX = 20.0
CONNECT_S_MAX = 5.0
TRIES_MAX = 3
JSON_BYTES_MAX = 1 << 20
NOT_FOUND = 404


class LogSource:
    """One log; a context manager. `fetch` raises TransportError("missing") for no such path."""

    def __init__(self, where: str) -> None:
        self.where = where.rstrip("/")
        self._folder: Path | None = None
        self._client: httpx2.Client | None = None
        if self.where.startswith(("http://", "https://")):
            # The address is checked as other commands check it.
            ValidatorApi(self.where).__exit__()
            timeout = httpx2.Timeout(READ_S_MAX, connect=CONNECT_S_MAX)
            self._client = httpx2.Client(timeout=timeout, follow_redirects=False)
        else:
            self._folder = Path(where)

    def __enter__(self) -> LogSource:
        return self

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()

    @property
    def is_server(self) -> bool:
        """Whether it answers questions, too."""
        return self._client is not None

    def checkpoint(self) -> Note:
        """The checkpoint that it shows now; nothing of it is verified."""
        try:
            return notes.parse(self.fetch("checkpoint", LOG_CHECKPOINT_BYTES_MAX).decode())
        except (Malformed, UnicodeDecodeError) as error:
            raise TransportError(
                "bad-value", f"{self.where}/checkpoint is no log checkpoint: {error}"
            ) from error

    def fetch(self, path: str, bytes_max: int) -> bytes:
        """The bytes of a path below the log's prefix."""
        if self._folder is not None:
            return self._read(self._folder / path, bytes_max)
        for left in range(TRIES_MAX - 1, -1, -1):
            try:
                status, data = self._get(path, bytes_max)
            except TransportError:
                # Another try may find it: tiles never change.
                if not left:
                    raise
                continue
            if status == httpx2.codes.OK:
                return data
            if status < 500 or not left:
                reason = "missing" if status == NOT_FOUND else "refused"
                raise TransportError(reason, f"{self.where}/{path}: answered {status}")
        raise TransportError("no-answer", f"{self.where}/{path}: no answer")

    def _read(self, path: Path, bytes_max: int) -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(bytes_max + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise TransportError("missing", f"{path} is not there") from None
        if len(data) > bytes_max:
            raise TransportError("too-large", f"{path} is over {bytes_max:,} bytes")
        return data

    def _get(self, path: str, bytes_max: int, **query: Any) -> tuple[int, bytes]:
        if self._client is None:
            raise TransportError("refused", f"{self.where} is a folder: it answers no questions")
        data = bytearray()
        try:
            with self._client.stream("GET", f"{self.where}/{path}", params=query) as answer:
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > bytes_max:
                        raise TransportError(
                            "too-large", f"{self.where}/{path}: over {bytes_max:,} bytes"
                        )
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            what = str(error) or type(error).__name__
            raise TransportError(
                "no-answer", f"{self.where} does not answer ({what}); is the validator running?"
            ) from error
        return answer.status_code, bytes(data)

    def consistency(
        self, device: bytes, epoch: bytes, size1: int, size2: int
    ) -> tuple[bytes, list[bytes]]:
        """A device's log by this validator: its root at the smaller size, and the path."""
        path = f"v1/devices/{b64u(device)}/consistency"
        asked = {"epoch": b64u(epoch), "from": size1, "to": size2}
        status, data = self._get(path, JSON_BYTES_MAX, **asked)
        if status != httpx2.codes.OK:
            reason = "missing" if status == NOT_FOUND else "refused"
            raise TransportError(reason, f"{self.where}/{path}: answered {status}")
        try:
            body = json.loads(data)
            return from_b64u(body["root1"], 32), [from_b64u(one, 32) for one in body["path"]]
        except (ValueError, KeyError, TypeError, RecursionError, Malformed) as error:
            raise TransportError(
                "bad-value", f"{self.where}/{path}: not what a validator answers"
            ) from error
