"""A gateway as the operator reaches it: by its door (HTTP), or by its folder on this machine."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import click
import msgspec

from tallystick.evidence import cbor, queueorder
from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.evidence.keys import device_from_text, from_b64u
from tallystick.evidence.limits import JOIN_REQUEST_BYTES_MAX
from tallystick.gateway import config as configs
from tallystick.gateway import joins, limits
from tallystick.gateway.joinconfig import INBOX_SUFFIX
from tallystick.gateway.store import open_reader
from tallystick.tools.fleetdir import Fleet

T = TypeVar("T")
TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 16 << 20
PAGES_MAX = 1_000
STATEMENTS_AT_ONCE = 16
CHALLENGE_SIZE = 32


@dataclass(frozen=True)
class Waiting:
    """A join request as the gateway has it; nothing of it is verified."""

    since_ms: int
    data: bytes


class Gate(Protocol):
    """What approving needs of a gateway."""

    def waiting(self) -> list[Waiting]:
        """Who waits, in the order in which they asked."""

    def hand_in(self, statements: Sequence[bytes]) -> list[str | None]:
        """Bring invitations or answers; of each the reason for which it was refused."""


@contextmanager
def open_gate(where: str, fleet: Fleet, ca: Path | None = None) -> Iterator[Gate]:
    """By URL or by folder; UsageError where it is neither."""
    if where.startswith(("http://", "https://")):
        try:
            import httpx2  # noqa: F401, PLC0415 - an extra, needed for a door only
        except ModuleNotFoundError as error:
            message = "a gateway's door needs httpx2: pip install 'tallystick[client]'"
            raise click.UsageError(message) from error
        with HttpGate(where, fleet, ca) as gate:
            yield gate
    elif (Path(where) / "gateway.toml").is_file():
        yield FolderGate(Path(where))
    else:
        message = f"--gateway {where}: neither http(s)://HOST:PORT nor a folder with gateway.toml"
        raise click.UsageError(message)


def only_gate(fleet: Fleet) -> str:
    """The folder of the fleet's only gateway with a door; UsageError where there is no such one."""
    found = [
        path.parent
        for path in sorted((fleet.path / "gateways").glob("*/gateway.toml"))
        if configs.load(path).join is not None
    ]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        message = f"--gateway: which one? With a join door in {fleet.path}: {names}"
        raise click.UsageError(message)
    return str(found[0])


class FolderGate:
    """Reads the gateway's store and writes into its inbox, also while it runs."""

    def __init__(self, folder: Path) -> None:
        config = configs.load(folder / "gateway.toml")
        if config.join is None:
            raise Malformed("bad-value", f"{folder / 'gateway.toml'}: has no [join] table")
        self._store = config.store
        self._inbox = config.join.inbox
        self._number = 0

    def waiting(self) -> list[Waiting]:
        """See Gate."""
        found: list[Waiting] = []
        connection = open_reader(self._store)
        try:
            after, more = 0, True
            while more and len(found) < limits.JOINS_QUEUED_MAX:
                rows, more = joins.page(connection, after)
                found += [Waiting(row.since_ms, row.data) for row in rows]
                after = rows[-1].number if rows else after
        finally:
            connection.close()
        return found

    def hand_in(self, statements: Sequence[bytes]) -> list[str | None]:
        """See Gate; the gateway takes them within seconds, or when it runs again."""
        self._inbox.mkdir(parents=True, exist_ok=True)
        self._number += 1
        path = self._inbox / f"{os.getpid()}-{os.urandom(4).hex()}-{self._number:04}{INBOX_SUFFIX}"
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(cbor.encode(list(statements)))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        return [None] * len(statements)


class _Challenge(msgspec.Struct):
    gateway: str
    challenge: str


class _Row(msgspec.Struct):
    number: int
    since_ms: int
    request: str


class _Page(msgspec.Struct):
    queued: list[_Row]
    more: bool


class _Taken(msgspec.Struct):
    taken: list[str | None]


class _Problem(msgspec.Struct):
    reason: str = "refused"
    title: str = ""


class HttpGate:
    """Asks with orders that the fleet root signs; a context manager."""

    def __init__(self, url: str, fleet: Fleet, ca: Path | None) -> None:
        import ssl  # noqa: PLC0415 - as below

        import httpx2  # noqa: PLC0415 - an extra

        self._errors = (httpx2.HTTPError, httpx2.InvalidURL, OSError, ssl.SSLError)
        self._fleet = fleet
        self.url = url.rstrip("/")
        try:
            verify = ssl.create_default_context(cafile=None if ca is None else str(ca))
            self._client = httpx2.Client(
                base_url=f"{self.url}/join/1", timeout=TIMEOUT_S, verify=verify
            )
        except self._errors as error:
            raise TransportError("no-link", f"{url}: {error}") from error

    def __enter__(self) -> "HttpGate":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def waiting(self) -> list[Waiting]:
        """See Gate."""
        gateways = {member.id for member in self._fleet.members() if member.kind == "gateway"}
        found: list[Waiting] = []
        after = 0
        for _ in range(PAGES_MAX):
            page = _decode(self._ask("POST", "/queue", self._order(gateways, after)), _Page)
            for row in page.queued:
                if len(row.request) > 2 * JOIN_REQUEST_BYTES_MAX:
                    raise Malformed("too-large", f"{self.url}: a request that is too long")
                size = len(row.request) * 3 // 4
                found.append(Waiting(row.since_ms, from_b64u(row.request, size)))
                after = max(after, row.number)
            if not page.more or not page.queued:
                return found
        raise Malformed("too-large", f"{self.url}: a queue without end")

    def _order(self, gateways: set[bytes], after: int) -> bytes:
        given = _decode(self._ask("GET", "/challenge", b""), _Challenge)
        gateway = device_from_text(given.gateway)
        # The root signs for its own gateways only, whoever answers there.
        if gateway not in gateways:
            what = f"{self.url} is no gateway that {self._fleet.name} enrolled"
            raise Unverified("not-enrolled", what)
        order = queueorder.QueueOrder(from_b64u(given.challenge, CHALLENGE_SIZE), after)
        return order.sign(self._fleet.signer, self._fleet.name, gateway)

    def hand_in(self, statements: Sequence[bytes]) -> list[str | None]:
        """See Gate."""
        found: list[str | None] = []
        for at in range(0, len(statements), STATEMENTS_AT_ONCE):
            some = list(statements[at : at + STATEMENTS_AT_ONCE])
            body = self._ask("POST", "/statements", cbor.encode(some))
            taken = _decode(body, _Taken).taken
            if len(taken) != len(some):
                raise TransportError("no-answer", f"{self.url}: an answer of another length")
            found += taken
        return found

    def _ask(self, method: str, path: str, body: bytes) -> bytes:
        media = "application/cose" if path == "/queue" else "application/cbor"
        headers = {"Content-Type": media} if body else {}
        try:
            with self._client.stream(method, path, content=body or None, headers=headers) as got:
                data = b""
                for part in got.iter_bytes():
                    data += part
                    if len(data) > ANSWER_BYTES_MAX:
                        raise TransportError("too-large", f"{self.url}: an answer without end")
        except self._errors as error:
            what = str(error) or type(error).__name__
            raise TransportError("no-link", f"{self.url}: {what}") from error
        if got.status_code != 200:
            try:
                said = msgspec.json.decode(data, type=_Problem)
            except (msgspec.DecodeError, UnicodeDecodeError):
                said = _Problem(title=f"answered {got.status_code}")
            raise TallyError(said.reason, f"{self.url}: {said.title}")
        return data


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TransportError("no-answer", f"an answer that is none of a gateway: {error}") from None
