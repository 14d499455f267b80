"""Each of the ten conditions is forced, with the real gateway, and passes again."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from support.authority import Authority
from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from support.watching import DAY_S, Looking, on_time, tagged, wall_ms
from tallystick.gateway import conditions, pageguide, pagelimits, readiness
from tallystick.gateway import pagewords as words
from tallystick.gateway.conditions import Thresholds
from tallystick.gateway.pagedevices import Clock, Piece, gaps_of, skew_of, tag_of
from tallystick.gateway.pagereads import SetAside, quarantine
from tallystick.gateway.pagestate import Device as PageDevice
from tallystick.gateway.pagestate import Skew
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

ACME, OTHER = Fleet("acme"), Fleet("borealis")
DOCS = Path(__file__).parents[2] / "docs"
SENTENCES = Path(conditions.__file__).read_text()


@contextmanager
def running(
    site: Site, thresholds: Thresholds | None = None, **changed: Any
) -> Iterator[tuple[Gateway, Looking]]:
    with site.running(**changed) as gateway:
        looking = Looking(gateway, thresholds or Thresholds())
        try:
            yield gateway, looking
        finally:
            looking.close()


class World:
    """One gateway that is well: two devices, no validator."""

    def __init__(self, folder: Path, mosquitto: Mosquitto) -> None:
        self.port = mosquitto.port
        self.site = Site(folder, ACME, mosquitto.port, "conditions")
        self.site.with_prefix("conditions")
        self.truck = tagged(ACME, "truck", "truck-7")
        self.arm = tagged(ACME, "arm", "arm-2")
        self.site.enrol(self.truck)
        self.site.enrol(self.arm)

    def send(self, device: Device, *segments: bytes) -> None:
        with Radio(self.port, device, "conditions") as radio:
            radio.up(*segments)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> World:
    return World(tmp_path_factory.mktemp("conditions"), mosquitto)


@pytest.fixture(scope="module")
def gateway(world: World) -> Iterator[Gateway]:
    with world.site.running() as made:
        for device in (world.truck, world.arm):
            device.record(3)
            world.send(device, *device.segments())
        until(lambda: world.site.status()["records"] == 8, "all records")
        yield made


@pytest.fixture
def looking(gateway: Gateway) -> Iterator[Looking]:
    made = Looking(gateway)
    yield made
    made.close()


def test_all_is_well(looking: Looking) -> None:
    look = looking.look()
    assert look.status.well and look.status.conditions == []
    assert look.status.sentence.startswith("All is well: 2 devices and 0 validators")
    assert {one.tag for one in look.devices} == {"truck-7", "arm-2"}
    assert all(one.trouble == [] and one.records == 4 for one in look.devices)


def test_a_device_falls_silent_after_three_of_its_intervals(looking: Looking, world: World) -> None:
    looking.look()
    assert looking.names(after_s=170) == set()
    held = looking.holding(after_s=190)["device-silent"]
    assert "Devices" in held.sentence and "truck-7" in held.sentence
    assert {one.id for one in held.devices} == {world.truck.text, world.arm.text}
    assert held.since_ms == min(one.seen_ms or 0 for one in looking.look(190).devices)
    assert "silent" in looking.look(after_s=190).devices[0].trouble
    # Nobody is heard where the broker is away, and that is no device's silence.
    gateway = looking.gateway
    gateway.broker.subscribed = False
    try:
        assert looking.names(after_s=500) == set()
        assert looking.names(after_s=520) == {"broker-away"}
        assert looking.names(after_s=800) == {"broker-away"}
    finally:
        gateway.broker.subscribed = True
    # Who could not be heard meanwhile has its time anew.
    assert "device-silent" not in looking.names(after_s=810)


def test_the_store_fills_and_is_full(looking: Looking, gateway: Gateway) -> None:
    gauge, used = gateway.worker.gauge, gateway.store.usage().used
    before = gauge.bytes_max
    try:
        gauge.bytes_max = used * 100 // 85
        until(lambda: gateway.worker.capacity.level == "warning", "the warning")
        held = looking.holding()
        assert set(held) == {"disk-filling"}
        # A page more may be in use by now.
        assert re.search("8[5-9] % is used", held["disk-filling"].sentence)
        assert not held["disk-filling"].grave
        assert readiness.unready(looking.watch.live) == []
        gauge.bytes_max = used * 100 // 97
        until(lambda: gateway.worker.capacity.level == "stopped", "the stop")
        held = looking.holding()
        assert set(held) == {"store-full"} and held["store-full"].grave
        (reason,) = readiness.unready(looking.watch.live)
        assert reason.startswith("store-full")
        # A restart makes no room: only a broken process is told to be restarted.
        assert readiness.unhealthy(looking.watch.live, gateway.worker.beat_s + 1e6) == []
    finally:
        gauge.bytes_max = before
    until(lambda: gateway.worker.capacity.taking, "room again")
    assert looking.names() == set()
    assert readiness.unhealthy(looking.watch.live, gateway.worker.beat_s + 1e6) != []


def test_the_store_fails(looking: Looking, gateway: Gateway, world: World) -> None:
    # SQLite's own error: no page more is to be had.
    main = gateway.store._main
    (pages,) = main.execute("PRAGMA page_count").fetchone()
    main.execute(f"PRAGMA max_page_count={pages}")
    world.arm.decisions(200)
    world.arm.seal()
    try:
        world.send(world.arm, world.arm.segments()[-1])
        until(lambda: gateway.worker.store_error, "the error")
        held = looking.holding()["store-full"]
        assert "full" in held.sentence and held.grave and held.since_ms is not None
        assert readiness.unready(looking.watch.live) == ["store-full: the store fails"]
    finally:
        main.execute("PRAGMA max_page_count=1000000000")
    until(lambda: not gateway.worker.store_error, "the store")
    until(lambda: world.site.status()["records"] == 208, "what was sent meanwhile")
    assert looking.names() == set()


def test_a_store_that_cannot_be_read_is_not_well(looking: Looking) -> None:
    looking.look()
    seen = looking.look().snapshot.devices
    connection = looking.watch._connection
    assert connection is not None
    connection.close()  # sqlite3 refuses whatever is asked of it now
    held = looking.holding()
    assert set(held) == {"store-full"} and "cannot be read" in held["store-full"].sentence
    # What was known is shown still, and the next look begins anew.
    assert looking.look().snapshot.devices == seen
    assert looking.names() == set()


def test_the_gateways_clock_is_set(looking: Looking) -> None:
    looking.look()
    assert looking.names(after_s=10) == set()
    held = looking.holding(after_s=20, jump_s=-3600)["clock-off"]
    assert "set back by 60 minutes" in held.sentence
    # It is told for an hour, and no second time.
    assert "clock-off" in looking.names(after_s=100, jump_s=-3600)
    assert "clock-off" not in looking.names(after_s=3800, jump_s=-3600)


def test_the_broker_is_away(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        site = Site(tmp_path / "gw", ACME, broker.port)
        with running(site, Thresholds(broker_away_s=5)) as (gateway, looking):
            assert looking.names() == set()
            broker.stop()
            until(lambda: not gateway.broker.subscribed, "the loss")
            assert looking.names() == set()  # not for a moment's loss
            held = looking.holding(after_s=6)["broker-away"]
            assert str(broker.port) in held.sentence and held.grave
            (reason,) = readiness.unready(looking.watch.live)
            assert reason.startswith("broker-away") and str(broker.port) not in reason
            broker.start()
            until(lambda: gateway.broker.subscribed, "the broker")
            assert looking.names(after_s=7) == set()


def test_a_device_forks_and_one_is_put_back(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "forks")
    site.with_prefix("forks")
    cloned, restored = tagged(ACME, "cloned", "agv-1"), tagged(ACME, "restored", "agv-2")
    site.enrol(cloned)
    site.enrol(restored)
    cloned.record(2)
    copy = cloned.clone()
    cloned.record(2)
    copy.decision("stop")
    copy.seal()
    restored.record(2)
    old = restored.clone()
    newer = on_time(restored.new_epoch(b"epoch--2"))
    newer.counter = 5
    newer.record(2)
    old.counter = 6  # the chip has counted on: it was signed after the device had left
    old.record(1)
    with running(site) as (_, looking):
        sent = [
            (cloned, cloned.segments()),
            (cloned, copy.segments()),
            (restored, newer.segments()),
        ]
        for device, segments in [
            (restored, restored.segments()),
            *sent,
            (restored, old.segments()),
        ]:
            with Radio(mosquitto.port, device, "forks") as radio:
                radio.up(*segments)
        until(lambda: len(site.status()["suspect"]) == 2, "both")
        held = looking.holding()["device-forked"]
        assert held.grave and {one.name for one in held.devices} == {"agv-1", "agv-2"}
        assert "agv-1" in held.sentence and held.since_ms is not None
        shown = {one.tag: one for one in looking.look().devices}
        assert shown["agv-1"].trouble == ["forked"] and shown["agv-2"].trouble == ["put back"]
        # Once its key is revoked, nothing is left to do.
        now = looking.look().snapshot
        gone = [replace(one, status="compromised") for one in now.devices]
        assert conditions.holding(replace(now, devices=gone), Thresholds()) == []


def test_clocks_of_devices_are_off(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site = Site(tmp_path, ACME, mosquitto.port, "clocks")
    site.with_prefix("clocks")
    ahead = on_time(tagged(ACME, "ahead", "agv-3"), ahead_ms=600_000)
    behind, late = ACME.device("behind"), tagged(ACME, "late", "agv-5")  # 1.79e12 is long ago
    for device in (ahead, behind, late):
        site.enrol(device)
    with running(site) as (_, looking):

        def send(*devices: Device) -> None:
            for device in devices:
                segments = site.status()["segments"]
                device.record(1)
                with Radio(mosquitto.port, device, "clocks") as radio:
                    radio.up(device.segments()[-1])
                until(lambda: site.status()["segments"] > segments, "a segment")  # noqa: B023
                looking.look()

        send(ahead, behind, behind)
        held = looking.holding()["clock-off"]
        # One that is ahead is so for certain; one that is behind may only be late.
        assert [one.id for one in held.devices] == [
            ahead.text
        ] and "10 minutes ahead" in held.sentence
        send(behind)
        held = looking.holding()["clock-off"]
        assert {one.id for one in held.devices} == {ahead.text, behind.text}
        assert "days behind" in held.sentence
        send(late)
        assert "agv-5" not in {one.name for one in looking.holding()["clock-off"].devices}


def test_where_most_clocks_are_off_the_gateways_own_is(looking: Looking) -> None:
    snapshot = looking.look().snapshot
    off = Skew(offset_ms=700_000, uncertainty_ms=100, steady=False)
    one = replace(snapshot.devices[0], skew=off)

    def told(*devices: PageDevice) -> str:
        now = replace(snapshot, devices=list(devices))
        (held,) = conditions.holding(now, Thresholds())
        return held.sentence + held.what_to_do

    assert "This gateway's own clock" in told(one, one, one)
    assert "This gateway's own clock" not in told(one, one)
    right = replace(one, skew=Skew(offset_ms=0, uncertainty_ms=100, steady=True))
    assert "This gateway's own clock" not in told(one, one, one, right, right, right)


def test_what_waited_and_comes_in_a_rush_is_no_clock_that_is_behind() -> None:
    steady = skew_of(Clock(10_000 * n, -90_000 + 50 * n, 100) for n in range(4))
    rush = skew_of(Clock(1_000 * n, -90_000 + 20_000 * n, 100) for n in range(4))
    few = skew_of(Clock(10_000 * n, -90_000, 100) for n in range(2))
    assert steady is not None and steady.steady and steady.offset_ms == -89_850
    assert rush is not None and not rush.steady
    assert few is not None and not few.steady
    assert skew_of([]) is None


def test_certificates_and_enrolments_end(tmp_path: Path, mosquitto: Mosquitto) -> None:
    authority = Authority(tmp_path / "ca")
    cert, key = authority.server()
    page = f'[page]\nbind = "127.0.0.1:0"\ncert = "{cert}"\nkey = "{key}"\n'
    site = Site(tmp_path / "gw", ACME, mosquitto.port, "ends", limits=page)
    site.with_prefix("ends")
    short = tagged(ACME, "short", "agv-6")
    end_s = wall_ms() // 1000 + 40 * 86_400
    short.credential = ACME.enrol(short.signer, valid_s=(0, end_s))
    site.enrol(short)
    with running(site) as (_, looking):
        until(lambda: site.status()["devices"] == 1, "the device")
        held = looking.holding()["expiring"]  # the certificate has 30 days: since 30, of 60
        assert "The page's certificate expires on" in held.sentence and held.devices == []
        held = looking.holding(after_s=11 * DAY_S)["expiring"]
        assert "and 1 more" in held.sentence and [one.id for one in held.devices] == [short.text]
        held = looking.holding(after_s=45 * DAY_S)["expiring"]
        assert held.grave and "expired on" in held.sentence
        # The gateway's own is valid until 2096.
        later = looking.look(after_s=41 * DAY_S).snapshot.expiries
        assert "This gateway's enrolment" in {one.what for one in later}


def test_a_validator_lags_refuses_and_sets_aside(tmp_path: Path, mosquitto: Mosquitto) -> None:
    away = Notary(tmp_path / "away", ACME, name="away")
    stern = Notary(tmp_path / "stern", OTHER, name="stern").start()
    half = Notary(tmp_path / "half", ACME, name="half").start()
    site = Site(
        tmp_path / "gw", ACME, mosquitto.port, "validators",
        validators="\n".join(one.toml for one in (away, stern, half)),
        limits="[limits]\nretry_s_max = 0.1\n",
    )  # fmt: skip
    text = site.path.read_text().replace("roots = [", f'roots = ["{OTHER.root_line}", ')
    site.path.write_text(text)
    site.with_prefix("validators")
    ours, foreign = tagged(ACME, "ours", "agv-8"), tagged(OTHER, "foreign", "agv-9")
    site.enrol(ours)
    site.enrol(foreign)
    try:
        with running(site) as (_, looking):
            until(lambda: site.status()["devices"] == 2, "the devices", 30)
            for device in (ours, foreign):
                device.record(2)
                with Radio(mosquitto.port, device, "validators") as radio:
                    radio.up(*device.segments())

            def told() -> Any:
                rows = {one["name"]: one for one in site.status()["validators"]}
                return (
                    rows["away"]["error"] and rows["stern"]["error"]
                    and rows["half"]["lag"] == 0 and rows["half"]["set_aside"]
                )  # fmt: skip

            until(told, "what each says")
            held = looking.holding()
            assert set(held) == {"validator-refusing", "quarantine-not-empty"}
            assert held["validator-refusing"].sentence.startswith("Validator stern refuses")
            assert "validator half (" in held["quarantine-not-empty"].sentence
            rows = {one.name: one for one in looking.look().snapshot.validators}
            assert rows["away"].refuses is None and rows["away"].lag == 2
            assert rows["half"].lag == 0 and rows["half"].receipts
            held = looking.holding(after_s=301)
            assert "Validator away lags: 2 segments" in held["validator-lagging"].sentence
            # What one validator refuses is no lag of its line.
            assert "more lag" not in held["validator-lagging"].sentence
            backlog = {one.tag: one.backlog for one in looking.look().devices}
            assert backlog == {"agv-8": 3, "agv-9": 3}
    finally:
        stern.stop()
        half.stop()


def test_what_a_keys_end_settled_is_no_reason_to_act(looking: Looking) -> None:
    gone, here = b"gone", b"here"
    rows = [
        SetAside("notary", "fork", gone, 2, 5),
        SetAside("notary", "fork", here, 1, 9),
        SetAside("notary", "bad-value", gone, 4, 7),
        SetAside("left", "fork", here, 8, 1),
    ]
    other, fork = found = quarantine(rows, [], {"notary": "url"}, {gone})
    assert (fork.count, fork.settled, fork.since_ms) == (3, 2, 5)
    assert (other.reason, other.count, other.settled) == ("bad-value", 4, 0)
    now = replace(looking.look().snapshot, quarantine=found)
    (held,) = conditions.holding(now, Thresholds())
    assert held.sentence.startswith("5 segments were set aside, most by validator notary (bad-v")
    now = replace(now, quarantine=quarantine(rows[:1], [], {"notary": "url"}, {gone}))
    assert conditions.holding(now, Thresholds()) == []


def test_gaps_are_counted_by_index() -> None:
    one = b"epoch--1"
    assert gaps_of([Piece(1, one, 0, 10)]) == 0
    assert gaps_of([Piece(1, one, 4, 10), Piece(2, one, 12, 20)]) == 6
    # Branches of a fork overlap and hide no hole.
    assert gaps_of([Piece(1, one, 0, 10), Piece(2, one, 5, 30), Piece(3, one, 31, 32)]) == 1


def test_the_ten_are_those_of_the_documentation() -> None:
    assert len(conditions.ORDER) == 10
    assert [one.name for one in pageguide.GUIDES.guides] == list(conditions.ORDER)
    text = (DOCS / "operations.md").read_text()
    section = text.split("## The page and what its sentence means")[1].split("\n## ")[0]
    assert re.findall(r"\[([a-z-]+)\]\(#\1\)", section) == list(conditions.ORDER)
    # The page's steps are those of the documentation, word for word.
    section = text.split("## What to do about each condition\n")[1].split("\n## ")[0]
    assert section.partition("\n\n### ")[2].strip() == pageguide.text().removeprefix("### ").strip()


def test_what_to_do_names_commands_and_settings_that_there_are() -> None:
    commands = (DOCS / "commands.md").read_text()
    said = re.findall(r"`([^`]+)`", pageguide.text()) + re.findall(r"`([^`]+)`", SENTENCES)
    named = [one for one in said if one.startswith("tally ")]
    assert len(named) > 20
    for one in named:
        words = list(takewhile(lambda word: re.fullmatch(r"[a-z-]+", word), one.split()))
        command = next(
            (n for n in range(len(words), 0, -1) if f"\n## `{' '.join(words[:n])}`\n" in commands),
            0,
        )
        assert command > 1, one
        page = commands.split(f"\n## `{' '.join(words[:command])}`\n")[1].split("\n## ")[0]
        for option in re.findall(r"--[a-z-]+", one):
            assert f"{option} " in page or f"{option}\n" in page, one
    reasons = set(
        re.findall(r"^\| `([a-z-]+)` \|", (DOCS / "protocol.md").read_text(), re.MULTILINE)
    )
    hyphened = {one for one in said if re.fullmatch(r"[a-z]+(-[a-z]+)+", one)}
    assert hyphened <= reasons | set(conditions.ORDER) | {"systemd-timesyncd"}
    assert {"not-enrolled", "over-quota", "internal-error"} <= hyphened
    settings = {"broker_away_s", "silent_intervals", "clock_off_s", "expiring_days", "lag_s"}
    assert settings == {field.name for field in fields(Thresholds)} <= set(said)


def test_no_name_acts_on_the_sentence_that_it_stands_in() -> None:
    assert words.shown("agv\u202e7\n\x1b[2J\u200b", 64) == "agv\ufffd7\ufffd\ufffd[2J\ufffd"
    assert words.shown("x" * 65, 64) == "x" * 63 + "…" and words.shown("x" * 64, 64) == "x" * 64
    assert words.shown("Förder-7 仓库 🤖", 64) == "Förder-7 仓库 🤖"
    long = tag_of({"asset_tag": "y" * 5_000})
    assert long is not None and len(long) == pagelimits.TAG_CHARS_MAX
    assert words.quoted("x: [Errno 111] Connection refused") == "x: Connection refused"


def test_a_file_that_is_not_in_force_is_told(looking: Looking, world: World) -> None:
    # A key that does not answer is pulled in test_held_key.py.
    reloading, path = looking.gateway.reloading, world.site.path
    good = path.read_text()
    path.write_text(good + "surprise = 1\n")
    world.site.reload.set()
    try:
        until(lambda: reloading.error, "the refusal")
        status = looking.look().status
        assert not status.well and status.conditions == []
        assert status.sentence.startswith("The newest configuration file is not in force")
        assert len(status.beside) == 1 and "surprise" in status.beside[0]
    finally:
        path.write_text(good)
        world.site.reload.set()
    until(lambda: not reloading.error, "the old file again")
    assert looking.look().status.well
