"""Records wait in memory: nothing is written where they are made, and what has no room says so."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.realgateway import RealGateway
from support.station import Fleet
from tallystick.evidence import cbor, leaf, record, segment
from tallystick.evidence.kinds import EVENT
from tallystick.evidence.tree import Tree
from tallystick.recorder import Recorder
from tallystick.recorder.buffer import LEAVES_MAX, OWN_BYTES_MAX
from tallystick.recorder.files import Files
from tallystick.recorder.handle import HANDLES_MAX, Handle, add_sealed

BUFFER_BYTES = 512
# Of a payload's frame.
PAYLOAD_BEGIN = b"\x83\x02"
EACH = {"checkpoint_records": 8, "journal_bytes": 1 << 24, "buffer_bytes": BUFFER_BYTES}


class CountedFiles(Files):
    """A real folder that counts what touches it, and may fail."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.calls = 0
        self.broken = False
        self.written = bytearray()
        # What other threads record while a write takes its time.
        self.meanwhile: Any = None
        self.while_sealing: Any = None

    def write(self, handle: BinaryIO, data: bytes) -> None:
        self.calls += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        if self.while_sealing is not None and PAYLOAD_BEGIN in data[:10]:
            self.while_sealing()
        if self.broken:
            super().write(handle, data[: len(data) // 2])
            raise OSError(28, "no space")
        super().write(handle, data)
        self.written += data

    def sync(self, handle: BinaryIO) -> None:
        self.calls += 1
        super().sync(handle)


class Robot:
    """A recorder at a real gateway, and every record that it was given."""

    def __init__(self, tmp_path: Path, **settings: Any) -> None:
        self.link = RealGateway(tmp_path)
        config = self.link.config(**{**EACH, **settings})
        self.files = CountedFiles(config["journal"])
        self.tally: Any = Recorder.open(
            config,
            uplink=self.link,
            signer=self.link.device.signer,
            background=False,
            files=self.files,
        )
        self.given: list[bytes] = []
        self.handles: list[Handle] = []
        encode: Any = self.tally._encode

        def encoding(*parts: Any) -> bytes:
            made: bytes = encode(*parts)
            self.given.append(made)
            return made

        self.tally._encode = encoding  # type: ignore[assignment]
        add = self.tally._add

        def adding(made: bytes) -> None:
            if made[1] == EVENT:
                self.given.append(made)
            add(made)

        self.tally._add = adding  # type: ignore[assignment]

    @property
    def ledger(self) -> Any:
        return self.tally._ledger

    def settle(self) -> None:
        assert self.tally.flush()
        end_s = time.monotonic() + 60
        while self.tally.backlog():
            assert time.monotonic() < end_s, self.tally.health
            self.tally.poll(1)
            self.link.exchange()
            if not self.ledger.settled():
                self.tally.flush()

    def stretches(self) -> Iterator[Any]:
        """Of the log, in order, as the gateway has them."""
        known = 0
        parsed = [segment.parse(data) for data in set(self.link.segments)]
        for one in sorted(parsed, key=lambda one: one.first):
            for stretch in one.stretches:
                if stretch.first == known and stretch.to > known:
                    known = stretch.to
                    yield stretch
        assert known == self.ledger.log.tree.size

    def seed(self, stretch: Any) -> bytes:
        """Of a stretch without bodies too, which is sent without it."""
        mark = b"\x83\x01" + cbor.encode(stretch.first) + b"\x58\x20"
        at = self.files.written.rindex(mark) + len(mark)
        return bytes(self.files.written[at : at + 32])

    def check(self) -> "list[Any]":
        """The log's events. What was given is in it in order, as a body or as a leaf that opens."""
        seeds: set[bytes] = set()
        events = []
        left = self.given[:]
        missing = 0
        for stretch in self.stretches():
            if not stretch.items:
                continue
            seed = self.seed(stretch)
            assert seed not in seeds, "a seed serves one stretch"
            seeds.add(seed)
            for index, item in enumerate(stretch.items, stretch.first):
                if isinstance(item, bytes):
                    if item[1] == EVENT:
                        events.append(record.parse(item))
                    if item not in left:
                        continue  # the recorder's own
                    found = left.index(item)
                else:
                    level, node = item
                    assert level == 0
                    made = [leaf.leaf(leaf.salt(seed, index), one) for one in left]
                    found = made.index(node)
                missing += found
                del left[: found + 1]
        missing += len(left)
        assert missing <= self.tally.health.dropped
        return events


def gaps(events: "list[Any]") -> "list[dict[str, Any]]":
    return [one.details for one in events if one.event == "gap"]


def test_decision_and_event_touch_no_file(tmp_path: Path) -> None:
    robot = Robot(tmp_path, buffer_bytes=1 << 20)
    before = robot.files.calls
    size = robot.ledger.log.tree.size
    for number in range(200):
        robot.tally.decision("m@1", {"n": number})
        robot.tally.event("app.step", n=number)
    handle = robot.tally.claim(
        "handover@1",
        "giver",
        "released",
        {"receiver": bytes(32)},
        wait=False,
        task="t",
        item="x",
        position_m=[1],
    )
    assert robot.files.calls == before
    assert robot.ledger.log.tree.size == size
    assert robot.tally.backlog() == size + 401
    robot.tally.poll(1)
    assert robot.files.calls > before
    robot.settle()
    assert handle.kept
    events = robot.check()
    assert gaps(events) == []
    steps = [one.details["n"] for one in events if one.event == "app.step"]
    assert steps == list(range(200))


def test_a_full_buffer_keeps_hashes_that_open_and_says_how_many(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.settle()
    for number in range(60):
        robot.tally.decision("m@1", {"n": number})
    for number in range(5):
        robot.tally.event("app.step", n=number)
    held = robot.ledger.queued() - 1
    assert robot.ledger.held <= BUFFER_BYTES
    elided = robot.tally.health.elided
    assert elided >= 30
    assert robot.tally.health.dropped == 0
    robot.settle()
    (gap,) = gaps(robot.check())
    assert gap["reason"] == "buffer"
    assert (gap["dropped"], gap["decisions"], gap["events"]) == (elided, elided - 5, 5)
    assert gap["to"] - gap["first"] == elided
    assert robot.ledger.run is None
    assert held
    assert robot.tally.health.refused == {}


def test_where_even_hashes_have_no_room_records_are_refused(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.settle()
    for number in range(LEAVES_MAX + 100):
        robot.tally.decision("m@1", {"n": number})
    health = robot.tally.health
    assert health.elided == LEAVES_MAX
    kept = health.records
    assert health.dropped > 50
    robot.settle()
    events = robot.check()
    assert {gap["reason"] for gap in gaps(events)} == {"buffer"}
    assert sorted(gap["dropped"] for gap in gaps(events)) == [health.dropped, LEAVES_MAX]
    assert health.records == kept + 2


def test_the_recorders_own_events_are_bounded_too(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.settle()
    for number in range(1000):
        robot.ledger.event("uplink", {"state": "up" if number & 1 else "down"})
    assert robot.ledger.held <= BUFFER_BYTES + OWN_BYTES_MAX + 64
    assert robot.tally.health.dropped > 900


def test_a_long_record_fits_a_small_buffer(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.settle()
    robot.tally.decision("m@1", output=["x" * 900] * 3)
    assert robot.tally.health.elided == 0
    robot.tally.decision("m@1", output=["x" * 900] * 3)
    assert robot.tally.health.elided == 1
    robot.settle()
    robot.check()


def test_a_flash_that_fails_loses_only_what_has_no_room(tmp_path: Path) -> None:
    robot = Robot(tmp_path, buffer_bytes=4096)
    robot.settle()
    robot.files.broken = True
    for number in range(30):
        robot.tally.decision("m@1", {"n": number})
        robot.tally.poll(1)
    assert not robot.tally.health.flash_ok
    assert robot.tally.health.elided == 0
    robot.files.broken = False
    robot.ledger.flash_after_ms = 0
    robot.settle()
    events = robot.check()
    assert gaps(events) == []


# Whatever happens in whatever order: the log is whole, and what is not in it is counted in it.


def decide(robot: Robot, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 3, 12, 40))):
        robot.tally.decision("m@1", {"n": len(robot.given)}, output="x" * chance.randrange(60))


def turn(robot: Robot, chance: random.Random) -> None:
    tally = robot.tally
    what = chance.randrange(14)
    if what < 4:
        decide(robot, chance)
    elif what == 12:
        robot.files.meanwhile = lambda: decide(robot, chance)
    elif what == 13:
        made = tally._encode(0, "m@1", {"n": len(robot.given)}, {}, {}, None)
        robot.handles.append(Handle())
        add_sealed(robot.ledger, made, robot.handles[-1])
    elif what == 4:
        tally.decision("m@1", {"n": len(robot.given)}, urgent=True)
    elif what == 5:
        tally.event("app.step", n=chance.randrange(9))
    elif what == 6:
        robot.ledger.seal()
    elif what == 7:
        robot.files.broken = not robot.files.broken and chance.random() < 0.5
        robot.ledger.flash_after_ms = 0
    elif what == 8:
        for _ in range(chance.randrange(9)):
            robot.ledger.write()
    else:
        tally.poll(chance.choice((0, 1)))
        robot.link.exchange()


@pytest.mark.parametrize("seed", range(4))
def test_any_order(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    robot = Robot(tmp_path, checkpoint_s=0.02, wait_s=0.05)
    for _ in range(160):
        turn(robot, chance)
    robot.files.broken = False
    robot.ledger.flash_after_ms = 0
    robot.tally._config["wait_s"] = 10
    robot.settle()
    events = robot.check()
    assert {handle.fault for handle in robot.handles} <= {"", "store-full"}
    assert all(handle.ready for handle in robot.handles)
    health = robot.tally.health
    refused = [gap["dropped"] for gap in gaps(events) if "to" not in gap]
    hashed = [gap for gap in gaps(events) if "to" in gap]
    assert sum(refused) == health.dropped
    assert sum(gap["dropped"] for gap in hashed) == health.elided
    assert health.elided > 0
    assert health.records == robot.ledger.log.tree.size
    log = robot.ledger.log
    robot.tally.close()
    again: Any = Recorder.open(
        robot.link.config(**EACH), uplink=robot.link, signer=robot.link.device.signer
    )
    assert again._ledger.journal.damage == ""
    assert again.epoch == log.epoch
    again.close()


def test_a_loop_that_outruns_the_flash_is_sealed_all_the_same(tmp_path: Path) -> None:
    # Leaves wait at every moment; those of the stretch that ought to end must not hold it up.
    robot = Robot(tmp_path)
    robot.settle()
    before = robot.tally.health.checkpoints
    for _ in range(120):
        for _ in range(3):
            robot.tally.decision("m@1", {"n": len(robot.given)})
        robot.ledger.step(robot.ledger.clock.uptime_ms())
        while robot.ledger.leaves == 0:
            robot.tally.decision("m@1", {"n": len(robot.given)})
    assert robot.tally.health.checkpoints - before > 3
    robot.settle()
    # Each gap is of many: bodies are left out until half of the buffer is free.
    assert robot.tally.health.elided > 6 * len(gaps(robot.check()))


def test_leaves_that_come_while_a_stretch_is_sealed_belong_to_the_next(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    robot.settle()
    for _ in range(3):
        robot.tally.decision("m@1", {"n": len(robot.given)})
        robot.ledger.write()
        robot.files.while_sealing = lambda: [
            robot.tally.decision("m@1", {"n": len(robot.given)}) for _ in range(40)
        ]
        assert robot.ledger.seal()
        robot.files.while_sealing = None
        assert robot.ledger.leaves
        robot.settle()
    robot.check()


def test_what_waits_is_bounded_too(tmp_path: Path) -> None:
    robot = Robot(tmp_path)
    handles = [Handle() for _ in range(HANDLES_MAX + 1)]
    for handle in handles:
        add_sealed(robot.ledger, robot.tally._encode(0, "m@1", {}, {}, {}, None), handle)
    assert [handle.fault for handle in handles if handle.ready] == ["store-full"]
    assert handles[-1].ready
    assert robot.tally.health.dropped == 1


def test_leaves_are_of_the_log_that_goes_on(tmp_path: Path) -> None:
    # A rollback leaves the log while leaves wait: they would be salted for other places.
    from tallystick.recorder import epochs

    config = Fleet(tmp_path / "fleet").device("one", **EACH)
    tally = Recorder.open(config, background=False)
    tally.flush()
    for number in range(60):
        tally.decision("m@1", {"n": number})
    ledger = tally._ledger
    leaves, waiting = ledger.leaves, ledger.queued()
    assert leaves
    before = tally.health.dropped
    epochs.begin(ledger, "rollback", None)
    assert ledger.leaves == 0
    assert ledger.run is None
    assert tally.health.dropped - before >= leaves
    assert tally.flush()
    # What waited with its body goes on, behind the epoch's first event and its gap.
    assert ledger.log.tree.size >= waiting - leaves + 2
    tree = Tree(ledger.log.tree.size, ledger.log.tree.edge)
    assert tree.root() == ledger.log.sealed_root
    tally.close()
    again = Recorder.open(config, background=False)
    assert again._ledger.journal.damage == ""
    again.close()
