"""What a board's power cut cannot change: the gateway, the chip, and what was promised or signed.

A world is copied at each moment of a script, so that a life after a cut meets the world as it was
then. `judge` says whether that life, and the script before it, kept every promise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.station import Fleet, Station
from tallystick.evidence import half, record, segment
from tallystick.evidence.accepted import AcceptedHalf
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.claim import Claim
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Unverified
from tallystick.evidence.event import Event
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.tree import Tree
from tallystick.hw.signer import Signer

Head = tuple[bytes, int, bytes]
# As in board.py: from where on decisions are numbered, by script.
BUSY_NUMBERS = 500
BUSY_NUMBERS_EACH = 50
LIFE_NUMBERS = 1000


class BrokenPromise(AssertionError):
    """What must hold after each cut did not."""


# Records as they were read: thousands of lives share those before their cut.
_parsed: dict[bytes, Any] = {}


def demand(holds: object, what: str) -> None:
    if not holds:
        raise BrokenPromise(what)


class Gate(Station):
    """A station that compares each byte that comes twice, and knows the root of each size."""

    def __init__(self, fleet: Fleet, credential: list[bytes]) -> None:
        super().__init__(fleet, credential)
        # Records by their index, the tree that was grown from all, and its roots by size.
        self.bodies: dict[bytes, dict[int, bytes]] = {}
        self.grown: dict[bytes, Tree] = {}
        self.roots: dict[bytes, dict[int, bytes]] = {}
        # Checkpoints as they came, by epoch and size; idle ones share a size.
        self.checkpoints: dict[bytes, list[bytes]] = {}
        # Leaves that came without their records.
        self.bodiless = 0
        # Segments that were new, for a validator.
        self.taken: list[bytes] = []

    def copy(self) -> "Gate":
        twin = Gate.__new__(Gate)
        twin.__dict__ = dict(self.__dict__)
        for name in ("trees", "receipts", "grown"):
            setattr(twin, name, dict(getattr(self, name)))
        for name in ("records", "checkpoints"):
            setattr(twin, name, {key: list(one) for key, one in getattr(self, name).items()})
        for name in ("roots", "bodies"):
            setattr(twin, name, {key: dict(one) for key, one in getattr(self, name).items()})
        for name in ("heads", "hellos", "segments", "taken"):
            setattr(twin, name, list(getattr(self, name)))
        return twin

    def _segment(self, received: segment.Segment) -> list[bytes]:
        epoch = received.epoch
        tree = self.trees.get(epoch)
        known = tree.size if tree is not None else 0
        if received.first < known:
            self._again(received, known)
        answer = super()._segment(received)
        verified = self.segments[-1] if self.segments else None
        if verified is not None and verified.segment is received:
            self._learn(verified)
        return answer

    def _again(self, received: segment.Segment, known: int) -> None:
        """The same bytes again, one leaf (F02); or less, where the journal gave bodies up."""
        demand(received.to <= known, "a segment begins in what is known and ends behind it")
        for stretch in received.stretches:
            for index, item in indexed(stretch):
                kept = self.bodies[received.epoch].get(index, item)
                demand(type(item) is tuple or item == kept, "another record at the same place")
            demand(
                stretch.checkpoint in self.checkpoints[received.epoch] or not stretch.items,
                "a stretch that was sent comes with another checkpoint",
            )

    def _learn(self, verified: segment.VerifiedSegment) -> None:
        epoch = verified.epoch
        self.taken.append(verified.segment.encode())
        bodies = self.bodies.setdefault(epoch, {})
        roots = self.roots.setdefault(epoch, {})
        tree = self.grown.get(epoch, Tree()).copy()
        demand(verified.first == tree.size, "the gateway was sent a hole")
        for stretch in verified.stretches:
            for (index, item), leaf in zip(indexed(stretch), stretch.leaves, strict=True):
                if isinstance(item, bytes):
                    bodies[index] = item
                else:
                    self.bodiless += 1 << item[0]
                if leaf is None:
                    tree.push_subtree(*item)
                else:
                    tree.push(leaf)
                roots[tree.size] = tree.root()
        self.grown[epoch] = tree
        for received in verified.segment.stretches:
            self.checkpoints.setdefault(epoch, []).append(received.checkpoint)


def indexed(
    stretch: segment.Stretch | segment.VerifiedStretch,
) -> Iterator[tuple[int, bytes | tuple[int, bytes]]]:
    """The items of a stretch, each with the index of its first leaf."""
    at = stretch.first
    for item in stretch.items:
        yield at, item
        at += 1 << item[0] if isinstance(item, tuple) else 1


@dataclass
class World:
    """Everything outside of the board."""

    gate: Gate
    signer: Signer
    counter: int = 0
    # Payloads that the key signed, in order; and of claims that left as halves.
    signed: list[bytes] = field(default_factory=list)
    attempted: list[int] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    claimed: list[bytes] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)

    def copy(self) -> "World":
        return World(
            self.gate.copy(),
            self.signer,
            self.counter,
            self.signed[:],
            self.attempted[:],
            self.acknowledged[:],
            self.claimed[:],
            self.kept[:],
        )

    def happened(self, kind: str, data: bytes) -> bytes | None:
        """What the board did; the answer, where it waits for one."""
        if kind == "s":
            self.signed.append(decode(data)[3])
            return self.signer.sign(data)
        if kind == "v":
            alg, raw, signature, message = decode(data)
            try:
                PublicKey(alg, raw).verify(signature, message)
            except Unverified:
                return b"\x00"
            return b"\x01"
        if kind == "c":
            self.counter += data == b"+"
            return b"%d" % self.counter
        if kind == "u":
            return encode(self.gate.answer(data))
        lists: dict[str, tuple[list[Any], Any]] = {
            "n": (self.attempted, int),
            "a": (self.acknowledged, int),
            "h": (self.claimed, bytes),
            "k": (self.kept, bytes),
        }
        into, make = lists[kind]
        into.append(make(data))
        return None

    # --- what must hold ----------------------------------------------------------------------

    def heads(self) -> list[Head]:
        """All that the key ever signed: epoch, size, root."""
        return [tuple(decode(payload)[1:4]) for payload in self.signed]

    def epochs(self) -> set[bytes]:
        """All that the key ever signed a head of."""
        return {head[0] for head in self.heads()}

    def check_heads(self) -> None:
        """No two of them contradict each other, nor what the gateway has (F01, F25)."""
        found: dict[tuple[bytes, int], bytes] = {}
        for epoch, size, root in self.heads():
            demand(found.setdefault((epoch, size), root) == root, f"two roots of size {size}")
            known = self.gate.roots.get(epoch, {}).get(size, root)
            demand(known == root, f"the head of size {size} is not of the log that was sent")

    def check_sent(self) -> None:
        """Each payload that was ever signed reached the gateway: none was replaced (F02)."""
        came = {decode(data[1:])[2] for each in self.gate.checkpoints.values() for data in each}
        for payload in self.signed:
            size = decode(payload)[2]
            demand(payload in came, f"a signed checkpoint of size {size} never came")

    def records(self) -> list[Any]:
        items = [item for each in self.gate.records.values() for item in each]
        for item in items:
            if item not in _parsed:
                _parsed[item] = record.parse(item)
        return [_parsed[item] for item in items]

    def check_records(self) -> None:
        """Nothing twice, in order; nothing lost that was acknowledged."""
        found = self.records()
        numbers = [one.inputs["n"] for one in found if isinstance(one, Decision)]
        demand(numbers == sorted(set(numbers)), f"twice, or out of order: {numbers}")
        lost = set(self.acknowledged) - set(numbers)
        demand(not lost, f"acknowledged and lost: {sorted(lost)}")
        claims = {one.encode() for one in found if isinstance(one, Claim)}
        for data in self.claimed:
            demand(half.parse(data).record in claims, "a claim whose half left is lost")
        for data in self.kept:
            accepted = [one for one in found if isinstance(one, AcceptedHalf)]
            demand(data in [one.half for one in accepted], "a half that was kept is lost")

    def check_order(self) -> None:
        """Boot and uptime order the records of an epoch, whatever the wall clock said (F04)."""
        for items in self.gate.records.values():
            boot = at = 0
            for item in items:
                one = _parsed.get(item) or record.parse(item)
                if isinstance(one, Event) and one.event == "boot":
                    demand(one.details["boot"] > boot, "a boot count that does not rise")
                    boot = one.details["boot"]
                    at = 0
                if isinstance(one, Decision):
                    demand(one.uptime_ms >= at, f"an uptime that falls within boot {boot}")
                    at = one.uptime_ms

    def check_missing(self, first: int, end: int) -> None:
        """Of the decisions numbered so, none is missing before one that is there."""
        there = {one.inputs["n"] for one in self.decisions()}
        tried = [number for number in self.attempted if first <= number < end]
        found = [number in there for number in tried]
        demand(found == sorted(found, reverse=True), "a hole in what was recorded")

    def decisions(self) -> list[Decision]:
        return [one for one in self.records() if isinstance(one, Decision)]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Details of the events of a name."""
        found = self.records()
        return [one.details for one in found if isinstance(one, Event) and one.event == name]


@dataclass
class Said:
    """What a life told: at opening and at its end (board.py, Board.report), and what it raised."""

    opened: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    raised: str = ""


def judge_lost(world: World, said: Said, before: World) -> None:
    """Behind a lost journal the next epoch opens; what a gateway had stays as it was (F24)."""
    demand(not said.raised, said.raised)
    demand(said.opened and said.ended, "the life did not come to its end")
    world.check_heads()
    world.check_order()
    epoch = said.ended["epoch"]
    demand(epoch not in before.epochs(), "the epoch of the lost journal goes on")
    demand(world.epochs() == before.epochs() | {epoch}, "more than one epoch was opened")
    for old, tree in before.gate.trees.items():
        demand(world.gate.trees[old].size == tree.size, "the epoch that was lost grew")
    first = record.parse(world.gate.records[epoch][0])
    demand(isinstance(first, Event) and first.event == "epoch", "no epoch event to begin with")
    numbers = [one.inputs["n"] for one in world.decisions()]
    demand(numbers[-3:] == [LIFE_NUMBERS + nth for nth in (1, 2, 3)], "it does not go on")
    demand(not said.ended["backlog"], "records that no gateway has")
    demand(not said.ended["refused"], f"the board refused {said.ended['refused']}")
    demand(not said.ended["faults"], f"faults without a cause: {said.ended['faults']}")


def judge(world: World, said: Said, *, epochs: int = 1) -> None:
    """Raises BrokenPromise unless a life behind a power cut kept all promises before it."""
    demand(not said.raised, said.raised)
    demand(said.opened and said.ended, "the life did not come to its end")
    world.check_heads()
    world.check_sent()
    world.check_records()
    world.check_order()
    demand(len(world.gate.trees) == epochs, f"{len(world.gate.trees)} epochs")
    ended = said.ended
    demand(not ended["backlog"], "records that no gateway has")
    tree = world.gate.trees[ended["epoch"]]
    demand(tree.size == ended["size"], "the gateway has another size")
    demand(not ended["refused"], f"the board refused {ended['refused']}")
    demand(not ended["dropped"], "records were dropped")


def judge_full(world: World, said: Said) -> None:
    """Behind a cut of a journal at its bound: hashes stay, and gaps tell of each body (F03)."""
    demand(not said.raised, said.raised)
    demand(said.opened and said.ended, "the life did not come to its end")
    world.check_heads()
    if not any("events" in one for one in world.events("gap")):
        # Else boot events may have gone; checkpoints name the boot too.
        world.check_order()
    numbers = [one.inputs["n"] for one in world.decisions()]
    demand(numbers == sorted(set(numbers)), f"twice, or out of order: {numbers}")
    demand(len(world.gate.trees) == 1, "a power cut ended an epoch")
    demand(not said.ended["backlog"], "records that no gateway has")
    demand(not said.ended["refused"], f"the board refused {said.ended['refused']}")
    demand(not said.ended["faults"], f"faults without a cause: {said.ended['faults']}")
    told = sum(one["dropped"] for one in world.events("gap"))
    gone = world.gate.bodiless
    # More may be told: what was sent and not yet in custody came after all.
    demand(told >= gone, f"gaps tell of {told} bodies, and {gone} are gone")
    kept = {one.encode() for one in world.records() if isinstance(one, Claim)}
    for data in world.claimed:
        demand(half.parse(data).record in kept, "a claim went, and decisions were there")
    size = world.gate.trees[said.ended["epoch"]].size
    demand(size >= max(head[1] for head in world.heads()), "the log is shorter than it was")


def judge_cut(world: World, said: Said) -> None:
    """Behind a mere cut the epoch goes on, and nothing is a fault."""
    judge(world, said)
    world.check_missing(0, BUSY_NUMBERS)
    for first in range(BUSY_NUMBERS, LIFE_NUMBERS, BUSY_NUMBERS_EACH):
        world.check_missing(first, first + BUSY_NUMBERS_EACH)
    opened = said.opened
    demand(not opened["damage"] and not opened["unreadable"], f"opened damaged: {opened}")
    demand(not said.ended["faults"], f"faults without a cause: {said.ended['faults']}")
