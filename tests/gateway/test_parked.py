"""F23: what a gateway parked of a device that another gateway serves now does not stay for ever."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.test_serial import running
from gateway.test_sharing import NAMES, share
from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.serialsite import serial_site
from support.site import Site, until
from support.wire import Wire
from tallystick.gateway import limits
from tallystick.gateway.inbox import Delivery
from tallystick.gateway.ingest import Message
from tallystick.gateway.service import Gateway
from tallystick.gateway.sharing import Sharing
from tallystick.tools.gateway import gateway as command

ACME = Fleet("acme")
SEGMENTS = 5
NORTH, SOUTH = NAMES


def recorded(name: str) -> Device:
    robot = ACME.device(name)
    for _ in range(SEGMENTS):
        robot.record(4)
    return robot


def robots(gateway: str, count: int = 1) -> list[Device]:
    """Robots that this gateway serves where both share."""
    sharing = Sharing(gateway, NAMES)
    found: list[Device] = []
    number = 0
    while len(found) < count:
        robot = recorded(f"robot-{number}")
        number += 1
        if not sharing.elsewhere(robot.id):
            found.append(robot)
    return found


class North(MemoryGateway):
    """Shares, as the service has it share."""

    sharing = Sharing(NORTH, (NORTH,))

    def open(self) -> None:
        super().open()
        self.worker.elsewhere = self.sharing.elsewhere

    def shared_by(self, *names: str) -> None:
        self.sharing = Sharing(NORTH, names)
        self.worker.elsewhere = self.sharing.elsewhere
        self.worker.look_at_parked()
        self.turn()

    def parked(self) -> tuple[object, object]:
        status = self.status()
        return status["parked_segments"], status["parked_bytes"]


@pytest.fixture
def north(tmp_path: Path) -> Iterator[North]:
    made = North(tmp_path, ACME)
    yield made
    made.store.close()


def with_a_hole(north: North, robot: Device) -> None:
    """The first segment is in custody, the second missing, the rest parked."""
    first, _, *rest = robot.segments()
    north.know(robot)
    north.give(robot, first, *rest)
    assert north.custody(robot)[-1].to == robot.stretches[0].to


def test_a_device_that_went_leaves_nothing_and_may_come_back(north: North) -> None:
    (theirs,), (ours,) = robots(SOUTH), robots(NORTH)
    with_a_hole(north, theirs)
    with_a_hole(north, ours)
    (waits, size) = north.parked()
    assert waits == 2 * (SEGMENTS - 2)
    north.shared_by(*NAMES)
    (left, left_size) = north.parked()
    # What is this gateway's waits on; nothing that was in custody is touched.
    assert (left, north.worker.parked_dropped) == (SEGMENTS - 2, SEGMENTS - 2)
    assert isinstance(size, int)
    assert isinstance(left_size, int)
    assert 0 < left_size < size
    assert len(north.ranges()) == 2
    north.give(ours, ours.segments()[1])
    assert north.custody(ours)[-1].to == ours.size
    # Back: it sends again from the last custody receipt, with more, and again in disorder.
    north.shared_by(NORTH)
    theirs.record(4)
    _, second, *rest = theirs.segments()
    north.give(theirs, *reversed(rest))
    assert north.parked()[0] == SEGMENTS - 1
    assert "replayed" not in north.refused()
    north.give(theirs, second)
    assert north.custody(theirs)[-1].to == theirs.size
    assert (north.parked(), north.refused()) == ((0, 0), {})
    assert sorted(to - first for _, first, to in north.ranges()) == sorted(
        one.to - one.first for robot in (theirs, ours) for one in robot.stretches
    )


def test_its_room_is_there_for_others(tmp_path: Path) -> None:
    (theirs,), (ours,) = robots(SOUTH), robots(NORTH)
    room = sum(len(data) for data in theirs.segments()[2:]) + 200
    north = North(tmp_path, ACME, parked_bytes_max=room)
    with_a_hole(north, theirs)
    with_a_hole(north, ours)
    assert north.refused()["over-quota"] == SEGMENTS - 2
    north.shared_by(*NAMES)
    north.give(ours, *ours.segments()[2:])
    assert north.parked()[0] == SEGMENTS - 2
    north.store.close()


def test_a_restart_finds_it_too(north: North) -> None:
    (theirs,), (ours,) = robots(SOUTH), robots(NORTH)
    with_a_hole(north, theirs)
    with_a_hole(north, ours)
    north.sharing = Sharing(NORTH, NAMES)
    north.reopen()
    north.turn()
    assert north.parked()[0] == north.worker.parked_dropped == SEGMENTS - 2
    # A gateway that shares with nobody keeps all.
    north.sharing = Sharing(NORTH)
    north.reopen()
    north.turn()
    assert north.parked()[0] == SEGMENTS - 2
    assert north.worker.parked_dropped == 0


def test_what_is_still_in_the_inbox_at_a_reload_is_found_later(
    north: North, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs,) = robots(SOUTH)
    north.shared_by(*NAMES)
    with_a_hole(north, theirs)
    assert north.parked()[0] == SEGMENTS - 2
    monkeypatch.setattr(limits, "PARKED_LOOK_S", 0.0)
    north.turn()
    assert north.parked() == (0, 0)


def test_a_commit_drops_a_bounded_number(north: North, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PARKED_DROPPED_AT_ONCE", 4)
    for robot in robots(SOUTH, 3):
        with_a_hole(north, robot)
    counts = []
    north.worker.elsewhere = Sharing(NORTH, NAMES).elsewhere
    north.worker.look_at_parked()
    for _ in range(4):
        north.worker.turn(0)
        counts.append(north.worker.parked_dropped)
    assert counts == [4, 8, 9, 9]
    assert north.parked() == (0, 0)


def test_a_full_disk_drops_nothing_by_halves(north: North, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STORE_RETRY_S_MIN", 0.01)
    monkeypatch.setattr(limits, "STORE_RETRY_S_MAX", 0.02)
    (theirs,) = robots(SOUTH)
    with_a_hole(north, theirs)
    main = north.store._main
    main.execute("CREATE TEMP TRIGGER fails BEFORE DELETE ON main.parked WHEN old.first > 8 "
                 "BEGIN SELECT raise(ABORT, 'an I/O error'); END")  # fmt: skip
    working = threading.Thread(target=north.shared_by, args=NAMES, daemon=True)
    working.start()
    until(lambda: north.worker.store_error, "the error")
    assert north.worker.parked_dropped == 0
    with north.store._turn:
        main.execute("DROP TRIGGER fails")
    working.join(60)
    assert (north.worker.store_error, north.parked()) == ("", (0, 0))
    assert north.worker.parked_dropped == SEGMENTS - 2


# --- the service ------------------------------------------------------------------------------


def put(gateway: Gateway, robot: Device) -> None:
    """All but its first segment, as from a port: nothing is to be acknowledged."""
    topic = f"{gateway.config.broker.prefix}/{robot.text}/up"
    gateway.worker.add_credential(robot.credential)
    for data in robot.segments()[1:]:
        gateway.inbox.put(Delivery(Message(topic, data), 0, 0, 0), lambda: None)


def test_a_reload_and_a_start_drop_it_and_say_so(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1, name=NORTH)
    share(site, NORTH)
    (theirs,), (ours,) = robots(SOUTH), robots(NORTH)
    gateway = Gateway(site.config)
    for robot in (theirs, ours):
        put(gateway, robot)
    gateway.worker.turn(0)
    assert site.status()["parked_segments"] == 2 * (SEGMENTS - 1)
    share(site, *NAMES)
    gateway.reloading.turn()
    gateway.worker.turn(0)
    assert site.status()["parked_segments"] == SEGMENTS - 1
    share(site, NORTH)
    gateway.reloading.turn()
    put(gateway, theirs)
    gateway.worker.turn(0)
    gateway.stop()
    status = site.status()
    assert status["parked_segments"] == 2 * (SEGMENTS - 1)
    assert status["process"]["parked_dropped"] == SEGMENTS - 1
    said = CliRunner().invoke(command, ["status", "--config", str(site.path)]).output
    assert f"{SEGMENTS - 1} parked segments of devices that another gateway serves" in said
    share(site, *NAMES)
    gateway = Gateway(site.config)
    gateway.worker.turn(0)
    gateway.stop()
    assert site.status()["parked_segments"] == SEGMENTS - 1
    assert site.status()["process"]["parked_dropped"] == SEGMENTS - 1


def test_what_is_heard_on_a_port_of_ours_is_ours(tmp_path: Path) -> None:
    heard, moved = robots(SOUTH, 2)
    with Wire(tmp_path / "dev") as cable:
        site = serial_site(tmp_path / "gateway", ACME, str(cable.gateway))
        share(site, *NAMES)
        with running(site) as gateway:
            until(lambda: gateway.serial._ports, "the port")
            (port,) = gateway.serial._ports.values()
            port.heard(heard.id)
            for robot in (heard, moved):
                put(gateway, robot)

            def only_one_went() -> bool:
                gateway.worker.look_at_parked()
                left = site.status()["parked_segments"]
                return (gateway.worker.parked_dropped, left) == (SEGMENTS - 1, SEGMENTS - 1)

            until(only_one_went, "a look after both")
            assert gateway.worker.core.moved(Sharing(NORTH, NAMES).elsewhere) == [heard.id]
