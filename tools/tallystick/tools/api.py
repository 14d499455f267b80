"""A client of a validator's read interface (docs/protocol.md, section 8).

What it returns is what the validator says: it helps to count, to wait and to fetch. Trust comes
from checking an evidence file, not from this answer.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx2

from tallystick.evidence.errors import TransportError
from tallystick.evidence.keys import b64u, from_b64u
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, RECEIPT_BYTES_MAX

TIMEOUT_S = 20.0
PAGES_MAX = 100_000
JSON_BYTES_MAX = 16_777_216
ID_BYTES = 16
EPOCH_BYTES = 8


@dataclass(frozen=True)
class Counts:
    """What a validator holds: records and the newest finding of each party set, by state."""

    decisions: int
    claims: int
    states: dict[str, int] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Party sets that still wait."""
        return self.states.get("pending", 0)

    @property
    def closed(self) -> int:
        """Party sets with a verdict."""
        return sum(self.states.values()) - self.pending


class ValidatorApi:
    """One validator; a context manager. Raises TransportError with what to do."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise TransportError(
                "no-answer", f"{url} is no address: write it like http://127.0.0.1:8470"
            )
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            self._client = httpx2.Client(base_url=self.url, headers=headers, timeout=TIMEOUT_S)
        except (httpx2.InvalidURL, ValueError) as error:
            raise TransportError("no-answer", f"{url} is no address: {error}") from error

    def __enter__(self) -> "ValidatorApi":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def ready(self) -> bool:
        """Whether it answers and is ready; an address where nobody listens is not ready."""
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def counts(self) -> Counts:
        """How much it holds."""
        status = self._json("/v1/status")
        with self._understood():
            return Counts(int(status["decisions"]), int(status["claims"]), dict(status["states"]))

    def cosigners(self) -> dict[str, int]:
        """The validator's witnesses, each with the newest size that it cosigned; 0 for none."""
        rows = self._json("/v1/status")["cosignatures"]["witnesses"]
        return {row["name"]: row["size"] or 0 for row in rows}

    def sets(self, namespace: str, state: str | None = None) -> Iterator[dict[str, Any]]:
        """The party sets of a namespace, page by page."""
        after: int | None = None
        for _ in range(PAGES_MAX):
            wanted = {"namespace": namespace, "state": state, "after": after}
            given = {name: value for name, value in wanted.items() if value is not None}
            page = self._json("/v1/interactions", **given)
            with self._understood():
                rows, after = list(page["interactions"]), page["next"]
            yield from rows
            if after is None:
                return

    def states(self, namespace: str) -> dict[bytes, str]:
        """Interaction id to the state of its newest finding."""
        with self._understood():
            return {
                from_b64u(found["interaction"], ID_BYTES): str(found["state"])
                for found in self.sets(namespace)
            }

    def interactions(self, namespace: str, state: str) -> list[bytes]:
        """The ids of the interactions that are in a state."""
        with self._understood():
            found = [one["interaction"] for one in self.sets(namespace, state)]
            return [from_b64u(text, ID_BYTES) for text in dict.fromkeys(found)]

    def interaction_evidence(self, namespace: str, interaction: bytes) -> bytes:
        """The evidence file of an interaction."""
        # A slash or question mark of a namespace must not choose another path.
        return self._get(f"/v1/evidence/{quote(namespace, safe='')}/{b64u(interaction)}")

    def receipt(self, digest: bytes) -> bytes | None:
        """The receipt of a statement; None where it is not logged there."""
        try:
            return self._get(f"/v1/receipts/{b64u(digest)}", RECEIPT_BYTES_MAX)
        except TransportError as error:
            if error.reason == "no-answer":
                raise
            return None

    def record_evidence(self, device: bytes, epoch: bytes, index: int) -> bytes:
        """The evidence file that discloses one record."""
        return self._get(f"/v1/evidence/records/{b64u(device)}/{b64u(epoch)}/{index}")

    def current_epochs(self, device: bytes) -> list[bytes]:
        """The epochs of a device that it has not left, as far as this validator heard."""
        return list(self.current_logs(device))

    def current_logs(self, device: bytes) -> dict[bytes, int]:
        """The same epochs, each with the number of records that this validator has verified."""
        known = self._json(f"/v1/devices/{b64u(device)}")
        with self._understood():
            logs = [log for log in known["logs"] if log["lost_at"] is None and log["size"]]
            return {from_b64u(log["epoch"], EPOCH_BYTES): int(log["size"]) for log in logs}

    def logs(self, device: bytes) -> dict[bytes, int]:
        """Every epoch of a device that is known there, with its size."""
        known = self._json(f"/v1/devices/{b64u(device)}")
        with self._understood():
            return {from_b64u(log["epoch"], EPOCH_BYTES): int(log["size"]) for log in known["logs"]}

    def newest_heads(self, device: bytes) -> list[bytes]:
        """The newest signed head of each log of a device."""
        page = self._json("/v1/heads", device=b64u(device))
        with self._understood():
            return [octets(head["statement"]) for head in page["heads"]]

    def publish(self, data: bytes) -> list[dict[str, Any]]:
        """Hand in credentials (docs/protocol.md, 8.1); what became of each, in order."""
        answer = self._send("POST", "/v1/credentials", "application/cbor", data)
        with self._understood():
            rows = [dict(row) for row in json.loads(answer)["credentials"]]
            if not all({"id", "entry", "reason"} <= row.keys() for row in rows):
                raise KeyError
            return rows

    def erase(self, order: bytes) -> dict[str, Any]:
        """Hand in an erasure (docs/protocol.md, 6.6): `digest`, `entry`, how many `bodies` went."""
        answer = self._send("POST", "/v1/erasures", "application/cose", order)
        with self._understood():
            done = dict(json.loads(answer))
            if not {"digest", "entry", "bodies"} <= done.keys():
                raise KeyError
            return done

    def holds(self) -> list[dict[str, Any]]:
        """What is on hold; for operators."""
        page = self._json("/v1/holds")
        with self._understood():
            return [dict(row) for row in page["holds"]]

    def hold(self, name: str, wanted: dict[str, str]) -> None:
        """Put bodies on hold; for operators."""
        data = json.dumps(wanted).encode()
        self._send("PUT", f"/v1/holds/{quote(name, safe='')}", "application/json", data)

    def lift(self, name: str) -> None:
        """End a hold; for operators."""
        self._send("DELETE", f"/v1/holds/{quote(name, safe='')}", None, b"")

    def _send(self, method: str, path: str, media: str | None, data: bytes) -> bytes:
        headers = {} if media is None else {"Content-Type": media}
        try:
            answer = self._client.request(method, path, content=data, headers=headers)
        except httpx2.HTTPError as error:
            message = f"{self.url} does not answer ({error}); is the validator running?"
            raise TransportError("no-answer", message) from error
        if answer.status_code not in {200, 204}:
            where = self.url + path
            raise TransportError(*_problem(answer.status_code, answer.content, where))
        return answer.content

    def _json(self, path: str, **parameters: str | int) -> Any:
        data = self._get(path, JSON_BYTES_MAX, **parameters)
        with self._understood():
            return json.loads(data)

    def _get(
        self, path: str, bytes_max: int = EVIDENCE_BYTES_MAX, **parameters: str | int
    ) -> bytes:
        data = bytearray()
        try:
            with self._client.stream("GET", path, params=parameters) as answer:
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > bytes_max:
                        message = f"{self.url}{path}: the answer is over {bytes_max:,} bytes"
                        raise TransportError("too-large", message)
        except httpx2.HTTPError as error:
            message = f"{self.url} does not answer ({error}); is the validator running?"
            raise TransportError("no-answer", message) from error
        if answer.status_code != 200:
            raise TransportError(*_problem(answer.status_code, bytes(data), self.url + path))
        return bytes(data)

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """What is not shaped like a validator's answer is one sentence, whoever answered."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = f"{self.url} answers, but not as a validator does; is the address right?"
            raise TransportError("no-answer", message) from error


def octets(text: str) -> bytes:
    """Bytes of any length from base64url without padding."""
    return from_b64u(text, len(text) * 3 // 4)


def _problem(status: int, data: bytes, where: str) -> tuple[str, str]:
    try:
        body = json.loads(data)
        return str(body["reason"]), f"{where}: {body['title']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return "no-answer", f"{where}: answered {status}"
