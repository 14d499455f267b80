"""What the bench sends: devices' logs in segments of 64 records, made before the clock runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from tallystick.evidence import eventwriter, leaf
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.digest import sha256
from tallystick.evidence.hello import Hello
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import Tree
from tallystick.hw.signer import Signer
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS, record
from tallystick.tools.fleetdir import Fleet, Member, read_credential
from tallystick.tools.provision import topic_prefix

EPOCH_SIZE = 8
# So many different records, again and again: a gateway treats them as opaque. A power of two, so
# that whole segments fit.
POOL_RECORDS = 1_024


def pool() -> list[bytes]:
    """Different records of about 200 bytes."""
    return [record(number, number) for number in range(POOL_RECORDS)]


@dataclass
class Load:
    """One device and the segments of its log."""

    member: Member
    fleet: Fleet
    epoch: bytes = b""
    tree: Tree = field(default_factory=Tree)
    segments: list[bytes] = field(default_factory=list)
    claims: int = 0

    def __post_init__(self) -> None:
        self.epoch = sha256(b"epoch" + self.member.id)[:EPOCH_SIZE]
        self._signer = Signer.from_uri(f"file:{self.member.key_path}")

    @property
    def topic(self) -> str:
        """The device's own topic, without up or down."""
        return f"{topic_prefix(self.fleet)}/{self.member.id_text}"

    def hello(self) -> bytes:
        """What it says first: its credential makes it known."""
        statements = read_credential(self.member.credential_path).statements
        return Hello(self.member.id, self.epoch, 0, 0, statements).encode()

    def extend(self, records: list[bytes]) -> None:
        """Seal one stretch; the log begins with its epoch event."""
        first = self.tree.size
        if not first:
            records = [
                eventwriter.encode_event(0, "epoch", {"previous": None, "reason": "new"}),
                *records[1:],
            ]
        seed = sha256(b"seed" + self.epoch + first.to_bytes(8, "big"))
        self.tree.extend(leaf.leaves(seed, first, records))
        self.claims += sum(1 for made in records if made[1] == CLAIM)
        size = self.tree.size
        head = Checkpoint(
            self.epoch, size, self.tree.root(), self.claims, 1, size, None, None, None
        ).sign(self._signer, self.fleet.name, self.member.id_text)
        stretch = Stretch([*records], seed, head)
        self.segments.append(Segment(self.member.id, self.epoch, first, None, [stretch]).encode())


def make(
    fleet: Fleet, members: list[Member], records: int, each: int = CHECKPOINT_RECORDS
) -> list[Load]:
    """As many segments of `each` records as `records` fill, spread over the devices."""
    loads = [Load(member, fleet) for member in members]
    bodies = pool()
    for number in range(records // each):
        at = number * each % POOL_RECORDS
        loads[number % len(loads)].extend(bodies[at : at + each])
    return loads


def in_turn(loads: list[Load]) -> Iterator[tuple[str, bytes]]:
    """(topic, message) of all segments: each device's in order, the devices in turn."""
    for number in range(max(len(load.segments) for load in loads)):
        for load in loads:
            if number < len(load.segments):
                yield f"{load.topic}/up", load.segments[number]
