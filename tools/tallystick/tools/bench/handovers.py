"""What the validator's benches send: pairs of robots that hand things over, in signed batches.

Both of a pair decide all the time and claim now and then, each its half of the same handover, so
every claim finds its counterpart. Made before the clock runs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import zstandard

from tallystick.evidence import gatewaylog, segment
from tallystick.evidence.batch import Batch
from tallystick.evidence.claim import Claim
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.tree import Tree
from tallystick.gateway.limits import BATCH_BYTES, BATCH_SEGMENTS
from tallystick.hw.signer import Signer
from tallystick.tools.bench.load import Load, pool
from tallystick.tools.fleetdir import Fleet, Member, read_credential
from tallystick.verify import profiles
from tallystick.verify.profile_toml import parse_profile

NAMESPACE = "dock-3"
# As it comes with tallystick, but for its deadline: of a million interactions that are begun in
# minutes none may fall due, or it is their closing that is measured.
TEXT = profiles.text("handover").replace('deadline = "60 s"', 'deadline = "86400 s"')
PROFILE = parse_profile(TEXT)
ZSTD_LEVEL = 3
# (role, claim) of the two halves.
Parties = dict[str, list[bytes]]
GIVER, RECEIVER = ("giver", "released"), ("receiver", "acquired")


_POOL = pool()


def half(parties: Parties, side: tuple[str, str], task: str, uptime_ms: int) -> bytes:
    """One side's claim: about 220 bytes."""
    role, name = side
    fields = {"item": f"box {task}", "position_m": [1, 2]}
    return Claim(
        uptime_ms, NAMESPACE, task, PROFILE.digest, role, name, fields, {}, parties, None, []
    ).encode()


def records(first: int, count: int, claim_every: int) -> list[bytes]:
    """What one robot says, without a log around it: for the peers."""
    parties = {"giver": [bytes(32)], "receiver": [b"\1" * 32]}
    return [
        half(parties, GIVER, f"peer-{at}", at)
        if at % claim_every == claim_every - 1
        else _POOL[at % len(_POOL)]
        for at in range(first, first + count)
    ]


def _decisions(first: int, count: int) -> list[bytes]:
    return [_POOL[at % len(_POOL)] for at in range(first, first + count)]


@dataclass
class Pair:
    """Two robots that hand things over to each other's hands."""

    giver: Load
    receiver: Load
    handed: int = 0
    # So many decisions from a place of a log on; the same again and again unless told otherwise.
    decide: Callable[[int, int], list[bytes]] = _decisions

    def __post_init__(self) -> None:
        self.parties = {"giver": [self.giver.member.id], "receiver": [self.receiver.member.id]}

    def tasks(self, count: int) -> list[str]:
        """The next tasks; no two pairs have one in common."""
        begin = self.handed
        self.handed += count
        return [self.task(number) for number in range(begin, self.handed)]

    def task(self, number: int) -> str:
        """One task of this pair."""
        return f"{self.giver.member.label}-{number}"

    def extend(self, records: int, claim_every: int) -> None:
        """Both seal a stretch of so many records; one of `claim_every` is a claim."""
        first = self.giver.tree.size
        claims = (first + records) // claim_every - first // claim_every
        tasks = self.tasks(claims)
        for load, side in ((self.giver, GIVER), (self.receiver, RECEIVER)):
            decisions = self.decide(load.tree.size, records - claims)
            at_ms = load.tree.size
            halves = [half(self.parties, side, task, at_ms + n) for n, task in enumerate(tasks)]
            load.extend([*decisions, *halves])


def pairs(fleet: Fleet, members: Sequence[Member]) -> list[Pair]:
    """Of these devices, two by two."""
    loads = [Load(member, fleet) for member in members]
    return [Pair(loads[at], loads[at + 1]) for at in range(0, len(loads) - 1, 2)]


def logs(made: Sequence[Pair], records: int, each: int, claim_every: int) -> list[bytes]:
    """As many segments of `each` records as `records` fill, with a claim for each `claim_every`.

    In the order in which a gateway would get them: the pairs in turn.
    """
    found = []
    for number in range(max(1, records // (2 * each))):
        pair = made[number % len(made)]
        pair.extend(each, claim_every)
        found += [pair.giver.segments[-1], pair.receiver.segments[-1]]
    return found


@dataclass
class Gateway:
    """A gateway's own log, and the batches that it sends of it."""

    fleet: Fleet
    member: Member
    tree: Tree = field(default_factory=Tree)

    def __post_init__(self) -> None:
        self._signer = Signer.from_uri(f"file:{self.member.key_path}")
        self._zstd = zstandard.ZstdCompressor(level=ZSTD_LEVEL)

    def hello(self, members: Sequence[Member]) -> bytes:
        """A batch that brings credentials and nothing else."""
        credentials = [
            list(read_credential(one.credential_path).statements) for one in (*members, self.member)
        ]
        return self._zstd.compress(self._batch([], credentials))

    def batches(self, segments: Sequence[bytes]) -> Iterator[bytes]:
        """Compressed batches of these segments, closed where a gateway closes them."""
        part: list[bytes] = []
        size = 0
        for data in segments:
            if part and (len(part) >= BATCH_SEGMENTS or size + len(data) > BATCH_BYTES):
                yield self._zstd.compress(self._batch(part, []))
                part, size = [], 0
            part.append(data)
            size += len(data)
        if part:
            yield self._zstd.compress(self._batch(part, []))

    def _batch(self, segments: Sequence[bytes], credentials: list[list[bytes]]) -> bytes:
        first, edge = self.tree.size, list(self.tree.edge)
        for data in segments:
            self.tree.push(gatewaylog.leaf_of(segment.parse(data)).leaf_hash())
        name, id_ = self.fleet.name, self.member.id_text
        head = GatewayHead(self.tree.size, self.tree.root(), 0).sign(self._signer, name, id_)
        made = Batch(first, edge, [*segments], credentials, [], [], head)
        return made.sign(self._signer, name, id_)
