"""Each of the ten conditions, from its real cause to the page, and what ends it.

Nothing is injected and no clock is moved: a broker is stopped, a store is filled with records, a
validator says no. What the page would say later, and less likely causes, are in test_conditions.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.devices import Device, Fleet
from support.keychanges import head_of, revoke
from support.notary import Notary
from support.site import Radio, Site, until
from support.watching import on_time, tagged, wall_ms
from tallystick.evidence.keychange import RETIRED
from tallystick.gateway import conditions, pagelimits
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

ACME, OTHER = Fleet("acme"), Fleet("borealis")
SETTINGS = """[limits]
retry_s_max = 0.2
[page]
bind = "127.0.0.1:0"
broker_away_s = 0.2
lag_s = 0.5
silent_intervals = 1
"""
STORE_BYTES = 1_500_000
FORCED: set[str] = set()


class World:
    """A gateway of two fleets that sends to nobody yet, and a broker that can be stopped."""

    def __init__(self, folder: Path) -> None:
        self.broker = Mosquitto(folder / "broker")
        self.folder = folder
        self.notaries: list[Notary] = []

    def begin(self) -> None:
        self.broker.start()
        self.site = Site(self.folder / "gw", ACME, self.broker.port, limits=SETTINGS)
        text = self.site.path.read_text()
        self.plain = text.replace("roots = [", f'roots = ["{OTHER.root_line}", ')
        self.site.path.write_text(self.plain)

    def device(self, name: str, fleet: Fleet = ACME, **enrolled: Any) -> Device:
        device = tagged(fleet, name, name)
        if enrolled:
            details = {"asset_tag": name}
            device.credential = fleet.enrol(device.signer, details=details, **enrolled)
        return device

    def send(self, device: Device, *segments: bytes) -> None:
        # A stranger says who it is first, as after each connect.
        with Radio(self.broker.port, device) as radio:
            radio.up(device.hello(), *segments)

    def configure(self, *notaries: Notary) -> None:
        """Write the file anew, and have it read."""
        self.notaries += [one for one in notaries if one not in self.notaries]
        self.site.path.write_text(self.plain + "\n".join(one.toml for one in notaries))
        self.site.reload.set()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("ten"))
    made.begin()
    yield made
    for notary in made.notaries:
        notary.stop()
    made.broker.stop()


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    patched = pytest.MonkeyPatch()
    patched.setattr(pagelimits, "LOOK_S", 0.05)
    with patched.context(), world.site.running(store_bytes_max=STORE_BYTES) as made:
        assert made.page is not None
        until(lambda: made.page and made.page.watch.newest, "a look")
        yield made
    patched.undo()


@pytest.fixture
def page(gateway: Gateway) -> Iterator[httpx2.Client]:
    assert gateway.page is not None
    with httpx2.Client(base_url=gateway.page.url, timeout=60) as made:
        yield made


def told(page: httpx2.Client) -> dict[str, Any]:
    return {one["name"]: one for one in page.get("/v1/status").json()["conditions"]}


def holds(page: httpx2.Client, name: str) -> dict[str, Any]:
    """Wait until it holds; then it must say all that an operator asks."""
    one: dict[str, Any] = until(lambda: told(page).get(name), name)
    assert one["sentence"].endswith(".") and one["costs"].endswith(".") and one["what_to_do"]
    assert one["since_ms"] <= wall_ms()
    status = page.get("/v1/status").json()
    assert not status["well"] and not status["sentence"].startswith("All is well")
    FORCED.add(name)
    return one


def passes(page: httpx2.Client, name: str) -> None:
    until(lambda: name not in told(page), f"the end of {name}")


def test_all_is_well_before_anything_happens(page: httpx2.Client) -> None:
    status = page.get("/v1/status").json()
    assert status["well"] and status["conditions"] == [] and status["beside"] == []
    assert status["sentence"] == "All is well: 0 devices and 0 validators, 0 segments on the way."


def test_records_fill_the_store_until_it_gets_room(world: World, page: httpx2.Client) -> None:
    device = world.device("writer")
    world.send(device)
    texts = {}
    for name in ("disk-filling", "store-full"):
        while name not in told(page):
            for n in range(40):
                device.decision(note=f"{n:01000}")
            device.seal()
            newest = page.get("/v1/status").json()["time_ms"]
            world.send(device, device.segments()[-1])
            until(lambda: page.get("/v1/status").json()["time_ms"] > newest, "a look")  # noqa: B023
        texts[name] = holds(page, name)
    assert re.match(
        r"The store fills its room: \d\d % is used of", texts["disk-filling"]["sentence"]
    )
    assert texts["store-full"]["grave"] and not texts["disk-filling"]["grave"]
    assert "store_bytes_max" in texts["store-full"]["what_to_do"]
    assert page.get("/readyz").json()["reasons"] == ["store-full: the store is full"]
    world.configure()  # its file has no bound
    passes(page, "store-full")
    assert page.get("/readyz").status_code == 200


def test_a_device_that_stops_is_silent_until_it_is_retired(
    world: World, page: httpx2.Client
) -> None:
    quiet = world.device("quiet", interval_s=1)
    quiet.record(2)
    world.send(quiet, *quiet.segments())
    one = holds(page, "device-silent")
    assert re.fullmatch(
        r"Device quiet has been silent for \d+ s, and must report every 1 s\.", one["sentence"]
    )
    assert one["devices"] == [{"id": quiet.text, "name": "quiet"}] and not one["grave"]
    quiet.credential = revoke(quiet, RETIRED, head_of(quiet))
    world.send(quiet)
    passes(page, "device-silent")


def test_a_clock_that_is_set_wrong_is_off(world: World, page: httpx2.Client) -> None:
    device = world.device("hasty")
    on_time(device, ahead_ms=600_000).record(1)
    world.send(device, *device.segments())
    one = holds(page, "clock-off")
    assert one["sentence"] == "Device hasty: the clock is 10 minutes ahead of this gateway's."
    # When it began nobody knows: it was noticed.
    assert one["noticed"]
    device.uptime_ms -= 600_000  # somebody sets it
    while "clock-off" in told(page):
        device.record(1)
        newest = page.get("/v1/status").json()["time_ms"]
        world.send(device, device.segments()[-1])
        until(lambda: page.get("/v1/status").json()["time_ms"] > newest, "a look")  # noqa: B023


def test_an_enrolment_that_ends_soon_is_told(world: World, page: httpx2.Client) -> None:
    short = world.device("short", valid_s=(0, wall_ms() // 1000 + 20 * 86_400))
    world.send(short)
    one = holds(page, "expiring")
    assert one["sentence"].startswith("The enrolment of device short expires on ")
    # Since 30 days before its end: ten days ago.
    assert abs(wall_ms() - one["since_ms"] - 10 * 86_400_000) < 3_600_000 and not one["noticed"]
    short.credential = revoke(short, RETIRED, None)
    world.send(short)
    passes(page, "expiring")


def test_a_copied_key_forks_until_it_is_revoked(world: World, page: httpx2.Client) -> None:
    device = world.device("cloned")
    device.record(2)
    copy = device.clone()
    device.record(1)
    copy.decision("stop")
    copy.seal()
    world.send(device, *device.segments())
    world.send(copy, copy.segments()[-1])
    one = holds(page, "device-forked")
    assert one["grave"] and "Device cloned contradicted its own log" in one["sentence"]
    device.credential = revoke(device, RETIRED, head_of(device))
    world.send(device)
    passes(page, "device-forked")


def test_a_validator_that_is_away_lags_until_it_is_back(world: World, page: httpx2.Client) -> None:
    away = Notary(world.folder / "away", ACME, OTHER, name="away")
    world.configure(away)
    device = world.device("truck")
    device.record(2)
    world.send(device, *device.segments())
    holds(page, "validator-lagging")
    why = "Connection refused"
    until(lambda: why in told(page)["validator-lagging"]["sentence"], "the first try")
    sentence = told(page)["validator-lagging"]["sentence"]
    assert re.match(r"Validator away lags: \d+ segments wait for it \(", sentence)
    assert "Errno" not in sentence
    away.start()
    passes(page, "validator-lagging")
    world.configure()
    away.stop()


def test_a_validator_of_strangers_refuses_until_it_is_taken_out(
    world: World, page: httpx2.Client
) -> None:
    stern = Notary(world.folder / "stern", OTHER, name="stern").start()
    world.configure(stern)
    device = world.device("van")
    device.record(1)
    world.send(device, *device.segments())
    one = holds(page, "validator-refusing")
    assert one["grave"] and one["sentence"].startswith("Validator stern refuses what is sent: ")
    world.configure()
    passes(page, "validator-refusing")


def test_what_a_validator_sets_aside_is_quarantined(world: World, page: httpx2.Client) -> None:
    half = Notary(world.folder / "half", ACME, name="half").start()
    foreign = world.device("foreign", OTHER)
    foreign.record(1)
    world.send(foreign, *foreign.segments())
    until(lambda: world.site.status()["devices"] and foreign.text in _ids(page), "the device")
    world.configure(half)
    one = holds(page, "quarantine-not-empty")
    reasons = {"unknown-device", "revoked"}
    until(
        lambda: reasons <= {row["reason"] for row in page.get("/v1/status").json()["quarantine"]},
        "both",
    )
    one = told(page)["quarantine-not-empty"]
    assert re.fullmatch(
        r"\d+ segments? (was|were) set aside(, most)? by validator half \([a-z-]+\)\.",
        one["sentence"],
    )
    # What the key's end settled is shown, and is no reason to act.
    rows = page.get("/v1/status").json()["quarantine"]
    settled = {row["reason"]: (row["count"], row["settled"]) for row in rows}
    assert settled["revoked"][0] == settled["revoked"][1] > 0
    assert settled["unknown-device"][1] == 0 and "revoked" not in one["sentence"]
    world.configure()
    half.stop()


def _ids(page: httpx2.Client) -> set[str]:
    return {one["id"] for one in page.get("/v1/devices").json()["devices"]}


def test_a_broker_that_stops_is_away_until_it_is_back(world: World, page: httpx2.Client) -> None:
    assert page.get("/readyz").status_code == 200
    world.broker.stop()
    one = holds(page, "broker-away")
    assert one["grave"] and str(world.broker.port) in one["sentence"]
    assert page.get("/readyz").status_code == 503
    world.broker.start()
    passes(page, "broker-away")
    assert page.get("/readyz").status_code == 200


def test_these_were_all_ten() -> None:
    assert set(conditions.ORDER) == FORCED
