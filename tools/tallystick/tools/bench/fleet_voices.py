"""What one connected device says and hears: ours, and one that signs each record."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Protocol

import cbor2

from tallystick.evidence import custody, kinds
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import PublicKey
from tallystick.tools.bench import peer_gateway
from tallystick.tools.bench.load import POOL_RECORDS, Load, pool
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS
from tallystick.tools.bench.result import BenchFailed

SIGN1_TAG = b"\xd2"
OVER_QUOTA = "over-quota"


class Voice(Protocol):
    """One device; it says at most what it has prepared, and each message is 64 records."""

    up: str
    down: str
    name: str
    refused: int

    def hello(self) -> bytes | None:
        """What it says until it is welcome; None when it is."""

    def forget(self) -> None:
        """That it was welcome: there is another gateway."""

    def prepare(self) -> None:
        """Make one message more that `next` will say."""

    def next(self) -> bytes:
        """What it says now, made now unless it was prepared; it waits for its receipt."""

    def hear(self, data: bytes) -> int:
        """How many of what it said are covered by this, the oldest first."""

    def check(self) -> None:
        """BenchFailed unless its newest receipt covers everything that it said."""


class Robot:
    """A device of ours: its own log, signed with its own key."""

    def __init__(self, load: Load, gateway: PublicKey) -> None:
        self.up, self.down = f"{load.topic}/up", f"{load.topic}/down"
        self.name = load.member.id_text
        self.refused = 0
        self._load = load
        self._gateway = gateway
        self._welcome = False
        self._bodies = pool()
        self._prepared: deque[tuple[bytes, int]] = deque()
        self._waiting: deque[int] = deque()
        self._said = 0
        self._newest = b""

    def hello(self) -> bytes | None:
        """Its hello, with its credential."""
        return None if self._welcome else self._load.hello()

    def forget(self) -> None:
        """Say hello again."""
        self._welcome = False

    def prepare(self) -> None:
        """Seal the next 64 records."""
        at = self._load.tree.size % POOL_RECORDS
        self._load.extend(self._bodies[at : at + CHECKPOINT_RECORDS])
        self._prepared.append((self._load.segments.pop(), self._load.tree.size))

    def next(self) -> bytes:
        """The next segment of its log."""
        if not self._prepared:
            self.prepare()
        data, self._said = self._prepared.popleft()
        self._waiting.append(self._said)
        return data

    def hear(self, data: bytes) -> int:
        """Take a welcome or a custody receipt; anything else says that something is wrong."""
        if data[:1] != SIGN1_TAG:
            kind, *said = cbor2.loads(data)
            if kind == kinds.WELCOME:
                self._welcome = True
            elif (kind, said[0]) != (kinds.NOTICE, OVER_QUOTA):
                self.refused += 1
            # A gateway checks so many strangers' credentials a second, and answers so many hellos
            # of one device, that came while it started; it says so for the others. A segment that
            # it did not take stays without a receipt, which `check` finds.
            return 0
        to = custody.parse(data).to
        covered = 0
        while self._waiting and self._waiting[0] <= to:
            self._waiting.popleft()
            self._newest = data
            covered += 1
        return covered

    def check(self) -> None:
        """Verify its newest receipt, over its whole log."""
        if not self._said:
            return
        if not self._newest:
            message = f"device {self.name} got no custody receipt"
            raise BenchFailed("bench-failed", message)
        verified = custody.parse(self._newest).verify(self._gateway)
        whole = verified.bodies and not verified.from_ and verified.to == self._said
        if not whole or (not self._prepared and verified.root != self._load.tree.root()):
            message = (
                f"device {self.name}: its newest receipt covers {verified.to} of {self._said} "
                "records, or others than it sent"
            )
            raise BenchFailed("bench-failed", message)


class Signer:
    """A device that signs each record, as well as a peer's library can: signed beforehand."""

    def __init__(self, number: str, messages: Iterator[bytes]) -> None:
        self.up, self.down = f"bench/peer/{number}/up", f"bench/peer/{number}/down"
        self.name = f"peer-{number}"
        self.refused = 0
        self._messages = messages
        self._welcome = False
        self._waiting: deque[bytes] = deque()

    def hello(self) -> bytes | None:
        """An empty message, which is receipted as any other."""
        return None if self._welcome else peer_gateway.HELLO

    def forget(self) -> None:
        """As a robot."""
        self._welcome = False

    def prepare(self) -> None:
        """All are."""

    def next(self) -> bytes:
        """64 records."""
        data = next(self._messages)
        self._waiting.append(sha256(data))
        return data

    def hear(self, data: bytes) -> int:
        """Take a receipt: a signature and the digest of a message."""
        self._welcome = True
        digest = data[-32:]
        if self._waiting and self._waiting[0] == digest:
            self._waiting.popleft()
            return 1
        self.refused += digest != sha256(peer_gateway.HELLO)
        return 0

    def check(self) -> None:
        """Everything has its receipt."""
        if self._waiting:
            message = f"{self.name}: {len(self._waiting)} messages got no receipt"
            raise BenchFailed("bench-failed", message)


def endless(messages: Sequence[bytes]) -> Iterator[bytes]:
    """Again and again: what is in flight at once is different all the same."""
    while True:
        yield from messages
