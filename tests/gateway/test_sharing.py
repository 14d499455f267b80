"""Several gateways on one broker: each device has one of them, and none is lost on the way."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.gateway.sharing import GATEWAYS_MAX, Sharing, serving
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
NAMES = ("dock-north", "dock-south")
PREFIX = "tallystick/1/shared"


@given(st.lists(st.text(min_size=1, max_size=8), min_size=2, max_size=6, unique=True))
def test_one_gateway_more_moves_only_what_it_gains(names: list[str]) -> None:
    devices = [bytes([n]) * 32 for n in range(64)]
    fewer, more = tuple(names[:-1]), tuple(names)
    for device in devices:
        before, after = serving(fewer, device), serving(more, device)
        assert after in {before, names[-1]}
        # In whatever order the names stand.
        assert serving(tuple(reversed(more)), device) == after


def test_devices_spread() -> None:
    devices = [n.to_bytes(32, "big") for n in range(3_000)]
    counts = Counter(serving(("a", "b", "c"), device) for device in devices)
    assert all(900 < count < 1_100 for count in counts.values())


def test_the_hash_is_this_one() -> None:
    # Another version of the program on the other gateway must come to the same.
    assert serving(NAMES, bytes(32)) == "dock-south"
    assert serving(NAMES, bytes([1]) * 32) == "dock-north"


def test_what_is_left_to_others() -> None:
    alone, shared = Sharing("dock-north"), Sharing("dock-north", NAMES)
    theirs, ours = device_text(bytes(32)), device_text(bytes([1]) * 32)
    assert not alone.leaves(f"p/{theirs}/up")
    assert shared.leaves(f"p/{theirs}/up")
    assert not shared.leaves(f"p/{ours}/up")
    # Nobody's device: refused here, and counted.
    for topic in ("", "up", "p/x/up", "p//up"):
        assert not shared.leaves(topic)
    assert (alone.others, shared.others) == (0, 1)
    shared.replace(("dock-north",))
    assert not shared.leaves(f"p/{theirs}/up")


def test_what_a_configuration_refuses(tmp_path: Path) -> None:
    many = [f"g{n}" for n in range(GATEWAYS_MAX)]
    for n, (names, says) in enumerate(
        (
            (["dock-south"], "itself must stand there"),
            (["dock-north", "dock-north"], "each once"),
            ([*many, "dock-north"], "each once"),
        )
    ):
        site = Site(tmp_path / str(n), ACME, 1)
        share(site, *names)
        with pytest.raises(Malformed, match=says):
            site.config  # noqa: B018


def share(site: Site, *names: str) -> None:
    """Rewrite who shares."""
    lines = [line for line in site.path.read_text().splitlines() if "shared_by" not in line]
    at = lines.index("[broker]") + 1
    said = ", ".join(f'"{name}"' for name in names)
    site.path.write_text("\n".join([*lines[:at], f"shared_by = [{said}]", *lines[at:]]) + "\n")


@pytest.fixture
def notary(tmp_path: Path) -> Iterator[Notary]:
    made = Notary(tmp_path / "notary", ACME).start()
    yield made
    made.stop()


def sent(broker: Mosquitto, robot: Device, *, count: int) -> None:
    """A robot records, and sends all that it has, as after a connect."""
    for _ in range(count):
        robot.record(2)
    with Radio(broker.port, robot, PREFIX) as radio:
        radio.up(robot.hello(), *robot.segments())
        until(radio.statements, "a custody receipt")


def test_two_gateways_share_a_broker_and_one_goes(
    tmp_path: Path, mosquitto: Mosquitto, notary: Notary
) -> None:
    sites = {
        name: Site(tmp_path / name, ACME, mosquitto.port, name=name, validators=notary.toml)
        for name in NAMES
    }
    robots = [ACME.device(f"robot-{n}") for n in range(8)]
    whose = Counter(serving(NAMES, robot.id) for robot in robots)
    while len(whose) < len(NAMES):  # their keys are random
        robots.append(ACME.device(f"robot-{len(robots)}"))
        whose = Counter(serving(NAMES, robot.id) for robot in robots)
    for site in sites.values():
        site.with_prefix(PREFIX)
        share(site, *NAMES)
        for robot in robots:
            site.enrol(robot)
    north, south = (sites[name] for name in NAMES)
    with north.running() as one:
        with south.running():
            for robot in robots:
                sent(mosquitto, robot, count=2)
            for name, site in sites.items():
                until(partial(has, site, 2 * whose[name]), "each its own")
            assert one.broker.sharing.others > 0
            until(lambda: reached(notary, robots, 5), "all of it at the validator")
        # One is gone for good: the other takes its devices over, without a restart.
        share(north, "dock-north")
        one.reloading.turn()
        assert one.reloading.error == ""
        for robot in robots:
            sent(mosquitto, robot, count=1)
        until(lambda: reached(notary, robots, 7), "all of it once more")


def has(site: Site, segments: int) -> bool:
    return bool(site.status()["segments"] == segments)


def reached(notary: Notary, robots: list[Device], each: int) -> bool:
    """Whether a validator has so many records of every robot, each once."""
    service = notary.service
    assert service is not None
    with service.sequencer.store.read() as connection:
        rows = connection.exec_driver_sql("SELECT device, size FROM logs").all()
    return sorted(rows) == sorted((robot.id, each) for robot in robots)
