"""What several validators get alike is read, elided, signed and packed once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.site import Site, until
from tallystick.evidence import batch
from tallystick.gateway import limits
from tallystick.gateway.batching import Builder
from tallystick.gateway.built import Built, Part
from tallystick.gateway.service import Gateway
from tallystick.gateway.shared import Shared

ACME = Fleet("acme")
MOST = 4


class Two:
    """Two validators of one content, and what is built for them."""

    def __init__(self, folder: Path) -> None:
        self.gate = MemoryGateway(folder, ACME)
        self.robots = [ACME.device(f"robot-{n}") for n in range(3)]
        self.gate.know(*self.robots)
        self.reader = self.gate.store.reader()
        self.shared: Shared[Part] = Shared()
        signing = self.gate.signing
        self.signed = 0
        real = signing.sign

        def count(*arguments: object) -> tuple[bytes, bytes]:
            self.signed += 1
            return real(*arguments)  # type: ignore[arg-type]

        signing.sign = count  # type: ignore[assignment,method-assign]
        self.one, self.other = (
            Builder(name, "claims", signing, tuple(self.gate.credential), self.shared)
            for name in ("one", "other")
        )
        for _ in range(2):
            self.shared.join("claims")

    def fill(self, rounds: int) -> None:
        for _ in range(rounds):
            for robot in self.robots:
                robot.record(1)
                self.gate.give(robot, robot.segments()[-1])
        self.signed = 0

    def build(self, builder: Builder, cursor: int = 0) -> Built:
        built = builder.build(self.reader, cursor, MOST)
        assert built is not None
        return built

    def tell(self, name: str, built: Built) -> None:
        with self.gate.store.write_aside() as connection:
            connection.executemany(
                "INSERT INTO told VALUES (?, ?, ?)",
                [(name, device, digest) for device, digest in built.told.items()],
            )


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    made.reader.close()
    made.gate.store.close()


def test_the_same_for_two_is_made_once(two: Two) -> None:
    two.fill(4)
    one, other = two.build(two.one), two.build(two.other)
    assert one.packed is other.packed
    assert one.digest == other.digest
    assert two.signed == 2  # a head and a batch
    # What belongs to each is its own.
    assert (one.told, one.heads, one.to) == (other.told, other.heads, other.to)
    assert one.told is not other.told and one.custody is not other.custody
    # Which is the same that a builder makes alone.
    alone = Builder("one", "claims", two.gate.signing, tuple(two.gate.credential))
    assert batch.parse(two.build(alone).data).items == batch.parse(other.data).items


def test_what_goes_along_is_each_ones_own(two: Two) -> None:
    two.fill(4)
    two.tell("one", two.build(two.one))
    two.fill(0)
    one, other = two.build(two.one), two.build(two.other)
    assert (one.told, len(other.told)) == ({}, 4)
    assert batch.parse(one.data).credentials == []
    assert len(batch.parse(other.data).credentials) == 4
    assert one.digest != other.digest
    assert batch.parse(one.data).items == batch.parse(other.data).items


@pytest.mark.parametrize("what", ["elided", "given", "edged", "holds"])
def test_what_is_particular_to_one_is_made_for_it_alone(two: Two, what: str) -> None:
    two.fill(4)
    # Whoever comes first: nothing of it reaches the other.
    for first, second in ((two.one, two.other), (two.other, two.one)):
        two.shared._kept.clear()
        if what == "holds":
            two.one.holds = lambda device: device == two.robots[1].id
        else:
            getattr(two.one, what).add(1)
        made = {builder: two.build(builder) for builder in (first, second)}
        one, other = (batch.parse(made[builder].data) for builder in (two.one, two.other))
        assert all(isinstance(item, bytes) for item in other.items)
        assert isinstance(one.items[1], bytes) == (what == "edged")
        assert made[two.other].plain and not made[two.one].plain
        assert bool(made[two.one].held) == (what == "holds")


def test_one_that_is_not_full_is_made_again_when_more_has_come(two: Two) -> None:
    two.fill(1)
    assert two.build(two.one).to == 3
    assert two.build(two.other).to == 3
    assert two.signed == 2
    two.fill(1)
    assert two.build(two.other).to == MOST


def test_alone_or_of_another_content_nothing_is_kept(two: Two) -> None:
    two.shared.leave("claims")
    two.fill(4)
    two.build(two.one)
    assert len(two.shared) == 0


def test_it_is_bounded_in_bytes_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: Shared[str] = Shared()
    monkeypatch.setattr(limits, "SHARED_BYTES_MAX", 10)
    for n in range(8):
        kept.put(n, str(n), 4)
    assert [n for n in range(8) if kept.get(n)] == [6, 7]
    # Put once more it counts once.
    for size in (2, 6):
        kept.put(7, "seven", size)
    assert [n for n in range(8) if kept.get(n)] == [6, 7]
    kept.put(9, "more than all", 11)
    assert len(kept) == 0
    kept.put(1, "one", 1)
    later_s = time.monotonic() + limits.SHARED_S_MAX
    monkeypatch.setattr(time, "monotonic", lambda: later_s)
    assert kept.get(1) is None
    assert kept._bytes == 0


def test_who_wants_the_same_at_the_same_time_waits_for_it(two: Two) -> None:
    two.fill(4)
    made: list[Built] = []

    def other() -> None:
        reader = two.gate.store.reader()
        built = two.other.build(reader, 0, MOST)
        reader.close()
        assert built is not None
        made.append(built)

    key = ("claims", 0, MOST, limits.BATCH_BYTES)
    thread = threading.Thread(target=other)
    with two.shared.making(key):
        thread.start()
        until(lambda: len(two.shared._making[key][1]) == 2, "it waits")
        # Another place is nobody's to wait for.
        two.build(two.one, MOST)
        assert not made
    thread.join()
    assert made[0].to == MOST
    assert two.shared._making == {}


def test_a_gateway_s_forwarders_share(tmp_path: Path) -> None:
    lines = [
        f'[[validators]]\nname = "{name}"\nurl = "http://127.0.0.1:1"\nkey = "{ACME.root_line}"'
        for name in ("one", "other")
    ]
    gateway = Gateway(Site(tmp_path, ACME, 1, validators="\n".join(lines)).config)
    try:
        one, other = gateway.forwarders
        assert one._shared is other._shared
        assert one._shared.several("full")
        one.close()
        assert not other._shared.several("full")
    finally:
        other.close()
        gateway.stop()
