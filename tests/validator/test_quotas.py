"""A19: quotas of keys, their signed refusals, and that nobody pays for another (protocol, 6.7)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.devices import Device, Fleet
from support.site import until
from support.validating import START_MS, Clock, Gateway, Room, compress, load
from tallystick.evidence import batch, quotarefusal
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.quotarefusal import VerifiedQuotaRefusal
from tallystick.validator import config as configs
from tallystick.validator import schema
from tallystick.validator.problem import Problem
from tallystick.validator.quotas import DAY_MS, device_of

LARGE = 1 << 40
SMALL = {"records_per_s": 10, "burst_s": 10, "bytes_per_day": LARGE}
ENDLESS = {"records_per_s": 1 << 20, "burst_s": 600, "bytes_per_day": LARGE}


Tight = Callable[..., Room]


@pytest.fixture
def tight(tmp_path: Path, store: str) -> Iterator[Tight]:
    """Makes a validator with quotas as a test wants them."""
    made = []

    def make(fleets: list[Fleet], **tables: dict[str, int]) -> Room:
        wanted = {"device": ENDLESS, "gateway": ENDLESS, "fleet": ENDLESS} | tables
        rows = (
            f"{holder} = {{ {', '.join(f'{k} = {v}' for k, v in limits.items())} }}"
            for holder, limits in wanted.items()
        )
        settings = {"quotas": "{ " + ", ".join(rows) + " }"}
        made.append(Room(tmp_path / "v", fleets, Clock(), store=store, settings=settings))
        return made[-1]

    yield make
    for room in made:
        room.close()


def refused(room: Room, data: bytes) -> list[VerifiedQuotaRefusal]:
    """The refusals of a batch, verified as its gateway does."""
    sent = batch.parse(data)
    with pytest.raises(Problem) as caught:
        room.send(data)
    assert (caught.value.reason, caught.value.status) == ("over-quota", 429)
    assert caught.value.retry_s >= 1
    keys = room.sequencer.keys
    return [
        quotarefusal.parse(one).verify(
            keys.signer.public_key(), keys.name, sent.device, sent.digest
        )
        for one in caught.value.refusals
    ]


def sends(gateway: Gateway, device: Device, records: int) -> bytes:
    """A further batch with so many records of a device."""
    first = len(gateway.items)
    device.record(records)
    gateway.take(device.segments()[-1])
    return gateway.batch(first, devices=[device])


def test_a_device_that_sends_too_much_is_refused_with_a_signature(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], device=SMALL)
    device, gateway = fleet.device(), Gateway(fleet)
    assert room.send(sends(gateway, device, 150)).refused == []  # overdrawn by one batch
    data = sends(gateway, device, 1)
    size = room.sequencer.log.tree.size
    (said,) = refused(room, data)
    assert (said.holder, said.key_id) == ("device", device.id)
    assert (said.quota, said.limit, said.used) == ("records_per_s", 10, 52)  # 150 + 2 - 100
    assert said.wait_ms == 5_201
    assert room.sequencer.log.tree.size == size, "a refused batch leaves nothing"
    # Until then it is refused, and from then on taken.
    room.clock.now_ms += said.wait_ms - 1
    assert refused(room, data)[0].until_ms == said.until_ms
    room.clock.now_ms += 1
    assert room.send(data).refused == []


def test_bytes_are_counted_by_the_day(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], device=ENDLESS | {"bytes_per_day": 4_000})
    device, gateway = fleet.device(), Gateway(fleet)
    room.send(sends(gateway, device, 100))
    data = sends(gateway, device, 1)
    (said,) = refused(room, data)
    assert (said.quota, said.limit) == ("bytes_per_day", 4_000)
    assert said.used >= 4_000
    assert said.until_ms == (START_MS // DAY_MS + 1) * DAY_MS
    room.clock.now_ms = said.until_ms
    room.send(data)


def test_counters_survive_a_restart(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], device=SMALL)
    device, gateway = fleet.device(), Gateway(fleet)
    room.send(sends(gateway, device, 150))
    data = sends(gateway, device, 1)
    first = refused(room, data)
    room.close()
    room.open()
    assert [one.until_ms for one in refused(room, data)] == [one.until_ms for one in first]


@pytest.mark.parametrize("holder", ["gateway", "fleet"])
def test_one_fleet_is_refused_and_another_is_not(tight: Tight, holder: str) -> None:
    acme, borealis = Fleet("acme"), Fleet("borealis")
    room = tight([acme, borealis], **{holder: SMALL})
    flood, good = Gateway(acme), Gateway(borealis, "other")
    device, other = acme.device(), borealis.device("b-1")
    room.send(sends(flood, device, 150))
    (said,) = refused(room, sends(flood, device, 1))
    key = flood.id if holder == "gateway" else acme.root.public_key().thumbprint()
    assert (said.holder, said.key_id) == (holder, key)
    assert room.send(sends(good, other, 50)).refused == []
    # All gateways of a fleet share its quota; each has one of its own.
    second = Gateway(acme, "second")
    data = sends(second, acme.device("a-2"), 1)
    if holder == "fleet":
        room.clock.now_ms += 1000
        assert [one.holder for one in refused(room, data)] == ["fleet"]
    else:
        room.send(data)


def test_nobody_uses_up_the_quota_of_a_device_but_its_key(tight: Tight) -> None:
    """A stranger's gateway replays its segments, spoils them, and names it in junk."""
    acme, borealis = Fleet("acme"), Fleet("borealis")
    room = tight([acme, borealis], device=SMALL)
    device, own, thief = acme.device(), Gateway(acme), Gateway(borealis, "thief")
    room.send(sends(own, device, 60))
    segment = own.items[0]
    uses = "SELECT * FROM quota_use WHERE holder = 'device'"
    before = room.rows(uses)
    assert before
    for n in range(5):
        thief.take(segment)
        room.send(thief.batch(n))
    spoilt = segment[:-1] + bytes([segment[-1] ^ 1])
    thief.take(spoilt)
    assert [why for _, why in room.send(thief.batch(5)).refused] == ["bad-signature"]
    assert room.rows(uses) == before
    assert room.send(sends(own, device, 30)).refused == []


def test_the_same_batch_again_costs_nothing(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], gateway=SMALL)
    device, gateway = fleet.device(), Gateway(fleet)
    data = sends(gateway, device, 150)
    first = room.send(data).encode()
    before = room.rows("SELECT * FROM quota_use ORDER BY holder")
    # F13: it did not hear the answer; that its quota is used up meanwhile changes nothing.
    assert room.send(data).encode() == first
    assert room.rows("SELECT * FROM quota_use ORDER BY holder") == before


def test_who_replays_a_gateways_old_batches_uses_up_nobodys_quota(tight: Tight) -> None:
    """Others have them, and only the newest answers are kept."""
    fleet = Fleet("acme")
    room = tight([fleet])
    device, second, gateway = fleet.device(), fleet.device("a-2"), Gateway(fleet)
    batches = [sends(gateway, device, 5) for _ in range(3)]
    first = len(gateway.items)
    second.record(5)
    gateway.take(second.segment())
    batches.append(gateway.batch(first, devices=[second], elide=(first,)))
    for data in batches:
        room.send(data)
    with room.sequencer.store.write() as connection:
        connection.execute(sa.delete(schema.answers))
    uses = "SELECT holder, key, bytes FROM quota_use ORDER BY holder, key"
    before, size = room.rows(uses), room.sequencer.log.tree.size
    assert {row[0] for row in before} == {"device", "gateway", "fleet"}
    # Those, and one that it signed for another validator only.
    for data in [*batches, gateway.batch(1, 3, devices=[device])]:
        assert room.send(data).refused == []
    assert room.rows(uses) == before and room.sequencer.log.tree.size == size
    # What is new here is charged once: also in a batch of the past, by the log that it fills.
    data = gateway.batch(first, devices=[second])
    assert room.send(data).refused == []
    after = {(row[0], row[1]): row[2] for row in room.rows(uses)}
    then = {(row[0], row[1]): row[2] for row in before}
    assert after["gateway", gateway.id] - then["gateway", gateway.id] == len(data)
    assert after["device", second.id] == len(second.segment())


def test_a_flood_of_repetitions_in_new_batches_is_charged(tight: Tight) -> None:
    """A gateway that grows its log with nothing new in it pays for each."""
    fleet = Fleet("acme")
    room = tight([fleet], gateway=ENDLESS | {"bytes_per_day": 20_000})
    device, gateway = fleet.device(), Gateway(fleet)
    room.send(sends(gateway, device, 20))

    def flood() -> None:
        for at in range(1, 100):
            gateway.take(gateway.items[0])
            room.send(gateway.batch(at))

    with pytest.raises(Problem, match="bytes_per_day of a gateway"):
        flood()
    assert 2 < len(gateway.items) < 20_000 // len(gateway.items[0])


def test_who_does_not_obey_gets_no_second_signature_at_once(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], device=SMALL)
    device, gateway = fleet.device(), Gateway(fleet)
    room.send(sends(gateway, device, 150))
    data = sends(gateway, device, 1)
    assert len(refused(room, data)) == 1
    assert refused(room, data) == []
    room.clock.now_ms += 1000
    assert len(refused(room, data)) == 1


def test_a_clock_that_is_set_back_neither_fills_nor_empties(tight: Tight) -> None:
    fleet = Fleet("acme")
    room = tight([fleet], device=SMALL, gateway=SMALL)
    device, gateway = fleet.device(), Gateway(fleet)
    room.send(sends(gateway, device, 150))
    room.clock.now_ms -= 365 * DAY_MS
    assert {one.holder for one in refused(room, sends(gateway, device, 1))} == {"device", "gateway"}
    room.clock.now_ms += 366 * DAY_MS
    first = len(gateway.items)
    room.send(gateway.batch(first - 1, devices=[device]))
    # A batch that brings nothing new is counted at a time that no entry of the log has.
    room.clock.now_ms += DAY_MS
    gateway.take(gateway.items[0])
    room.send(gateway.batch(first))
    room.close()
    room.clock.now_ms -= DAY_MS
    room.open()
    assert room.send(sends(gateway, device, 1)).refused == []


def test_the_door_finds_the_lane_of_whoever_signed(tight: Tight) -> None:
    acme, borealis = Fleet("acme"), Fleet("borealis")
    room = tight([acme, borealis])
    device, gateway, stranger = acme.device(), Gateway(acme), Gateway(Fleet("nobody"), "gate")
    door = room.sequencer.door
    data = sends(gateway, device, 1)
    assert door.lane(compress(data)) == "?", "nobody knows it yet"
    room.send(data)
    assert door.lane(compress(data)) == "acme"
    # Whoever only claims to be that gateway has no place in its fleet's line, nor in any.
    spoilt = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(TallyError) as wrong:
        door.lane(compress(spoilt))
    assert wrong.value.reason == "bad-signature"
    stranger.take(gateway.items[0])
    assert door.lane(compress(stranger.batch())) == "?"


def test_a_device_is_read_from_a_segment_without_parsing_it() -> None:
    device = Fleet("acme").device()
    device.record(2)
    assert device_of(device.segment()) == device.id
    for junk in (b"", device.segment()[:35], b"\x86\x0d\x58\x21" + bytes(40), bytes(80)):
        assert device_of(junk) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[quotas.human]\nrecords_per_s = 1", "quotas.human"),
        ("[quotas.device]\nclaims = 1", "quotas.device.claims"),
        ("[quotas.device]\nrecords_per_s = 0", "quotas.device.records_per_s: 1 to"),
        ("[quotas.fleet]\nbytes_per_day = -1", "quotas.fleet.bytes_per_day"),
        ("[quotas.fleet]\nburst_s = 86401", "quotas.fleet.burst_s"),
        ('[quotas.fleet]\nburst_s = "much"', "burst_s|quotas"),
    ],
)
def test_a_bad_quota_is_named(tmp_path: Path, text: str, says: str) -> None:
    load(tmp_path / "v", [])
    path = tmp_path / "v" / "validator.toml"
    path.write_text(f"{path.read_text()}\n{text}\n")
    with pytest.raises(Malformed, match=says):
        configs.load(path)


def test_defaults_are_those_of_the_documentation() -> None:
    from tallystick.validator.quotaconfig import parse_quotas

    page = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    for holder, quota in parse_quotas({}).items():
        gib: Any = quota.bytes_per_day / (1 << 30)
        row = f"| {holder} | {quota.records_per_s:,} | {quota.burst_s} s | {gib:.0f} GiB |"
        assert row in page, row


@pytest.mark.parametrize("known", [True, False], ids=["of another fleet", "of strangers"])
def test_a_flood_delays_a_fleet_by_one_batch(tight: Tight, known: bool) -> None:
    """The whole way but HTTP: sixteen batches wait when one of another fleet comes."""
    acme, borealis = Fleet("acme"), Fleet("borealis")
    room = tight([acme, borealis] if known else [borealis])
    flood, good = Gateway(acme), Gateway(borealis, "other")
    device, other = acme.device(), borealis.device("b-1")
    if known:
        room.send(sends(flood, device, 1))
    room.send(sends(good, other, 1))
    sequencer = room.sequencer
    done: list[str] = []

    def submit(gateway: Gateway, sender: Device) -> None:
        data = compress(sends(gateway, sender, 1))
        lane = sequencer.door.lane(data)
        sequencer.submit(data, lane).add_done_callback(lambda _: done.append(lane))

    for _ in range(16):
        submit(flood, device)
    with pytest.raises(Problem) as full:
        submit(flood, device)
    assert (full.value.reason, full.value.status) == ("over-quota", 503)
    submit(good, other)
    sequencer.start()
    until(lambda: len(done) == 17, "every answer")
    assert done.index("borealis") <= 1
    assert set(done) == {"acme" if known else "?", "borealis"}
