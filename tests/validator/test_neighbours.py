"""`custody` and `exclusive` in a validator: its index finds what all claims together show."""

import random
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.devices import Device, Fleet
from support.keychanges import revoke
from support.story import known_claim
from support.validating import START_MS, Gateway, Room
from tallystick.evidence import erasure, verdict
from tallystick.evidence.claim import Claim
from tallystick.evidence.erasure import Erasure
from tallystick.evidence.finding import Finding
from tallystick.evidence.keychange import COMPROMISED
from tallystick.evidence.kinds import CLAIM, VERDICT
from tallystick.validator import nearby, schema
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.partysets import set_key
from tallystick.verify.profile_toml import parse_profile
from verify import naive

TEXT = """
name = "bays"
version = 1
publisher = "acme"
deadline = "60 s"
[roles.giver]
min = 1
max = 1
[roles.taker]
min = 1
max = 1
[claims.giver.released]
item = { type = "text" }
bay = { type = "text" }
[claims.taker.acquired]
item = { type = "text" }
bay = { type = "text" }
[[checks]]
check = "custody"
name = "chain"
release = "giver.released"
acquire = "taker.acquired"
item = "item"
origin = true
[[checks]]
check = "exclusive"
name = "one-at-a-time"
grant = "giver.released"
resource = "bay"
longest = "20 ms"
[[checks]]
check = "exclusive"
name = "mine-once"
grant = "taker.acquired"
resource = "bay"
longest = "9 ms"
by = "maker"
"""
BAYS = parse_profile(TEXT)


class World:
    """Three devices, their gateway, and what they have claimed so far."""

    def __init__(self, room: Room, fleet: Fleet) -> None:
        self.room = room
        self.devices = [fleet.device(name) for name in "abc"]
        self.gateway = Gateway(fleet)
        self.sent = 0
        self.segments = [0, 0, 0]
        self.known: list[KnownClaim] = []

    def claim(
        self,
        who: Device,
        role: str,
        peer: Device,
        task: str,
        interval: list[int] | None,
        relied: list[bytes],
        **fields: Any,
    ) -> KnownClaim:
        """A claim in a stretch of its own."""
        parties = {role: [who.id], ({"giver", "taker"} - {role}).pop(): [peer.id]}
        name = {"giver": "released", "taker": "acquired"}[role]
        given = {"item": "box", "bay": "7", **fields}
        made = Claim(
            who.uptime_ms + 10, "dock-3", task, BAYS.digest, role, name, given, {}, parties,
            interval, sorted(relied),
        )  # fmt: skip
        who.uptime_ms += 10
        who.claims += 1
        who._add(made.encode())
        sealed = who.seal()
        known = known_claim(who, sealed.to - 1)
        self.known.append(known)
        return known

    def deliver(self, *, whose: list[int] | None = None) -> None:
        """What the gateway did not have yet, of some devices only where they are given."""
        for number in [0, 1, 2] if whose is None else whose:
            device = self.devices[number]
            self.gateway.take(*device.segments()[self.segments[number] :])
            self.segments[number] = len(device.stretches)
        if len(self.gateway.items) > self.sent:
            batch = self.gateway.batch(self.sent, devices=self.devices)
            assert self.room.send(batch).refused == []
            self.sent = len(self.gateway.items)

    def close(self) -> None:
        """Every deadline passes."""
        self.room.clock.now_ms += 2 * BAYS.deadline_ms
        self.room.settle()

    def newest(self) -> dict[Any, Finding]:
        """The newest signed finding on each party set."""
        rows = self.room.rows(f"SELECT data FROM entries WHERE kind = {VERDICT} ORDER BY entry")
        found = [verdict.parse(row[0]).finding for row in rows]
        return {(one.interaction, one.party_set()): one for one in found}

    def expected(self) -> dict[Any, bytes]:
        """What the naive implementation finds, given every claim there is."""
        sets: dict[Any, list[KnownClaim]] = {}
        for one in self.known:
            assert one.claim is not None
            sets.setdefault(set_key(one.claim), []).append(one)
        found = {}
        for key, own in sets.items():
            assert own[0].claim is not None
            others = [one for one in self.known if one not in own]
            inputs = PartySetInputs(
                *(BAYS, key.namespace, key.interaction, own[0].claim.parties, own, others),
                closed=True,
                silence=(),
            )
            found[key.interaction, key.parties] = naive.find(inputs)
        return found

    def findings(self) -> dict[Any, bytes]:
        """What is signed, by party set."""
        return {key: one.encode() for key, one in self.newest().items()}


@pytest.fixture
def world(tmp_path: Path, fleet: Fleet, store: str) -> Any:
    folder = tmp_path / "validator"
    room = Room(folder, [fleet], store=store)
    room.close()
    (folder / "profiles" / "bays.toml").write_text(TEXT)
    room.open()
    yield World(room, fleet)
    room.close()


def crowd(world: World, rng: random.Random, count: int) -> None:
    """Random claims, delivered and settled in random portions, devices lagging behind."""
    for _ in range(count):
        who, peer = rng.sample(world.devices, 2)
        begin = rng.randrange(100, 112)
        interval = [begin, begin + rng.choice((0, 2, 3, 5)), rng.choice((0, 1))]
        relied = rng.sample([one.reference for one in world.known], min(len(world.known), 1))
        world.claim(
            who,
            rng.choice(("giver", "taker")),
            peer,
            f"order-{rng.randrange(9)}",
            interval if rng.random() < 0.95 else None,
            relied,
            item=rng.choice(("box", "box", "crate")),
            bay=rng.choice("778"),
        )
        if rng.random() < 0.3:
            world.deliver(whose=rng.sample([0, 1, 2], 2))
        if rng.random() < 0.3:
            world.room.settle()
    world.deliver()
    world.close()


@pytest.mark.databases
@pytest.mark.parametrize("seed", range(3))
def test_the_store_gives_what_all_claims_show(world: World, seed: int) -> None:
    crowd(world, random.Random(seed), 40)
    assert world.findings() == world.expected()
    results = {
        (check.check, check.result) for one in world.newest().values() for check in one.checks
    }
    assert {("exclusive", "fail"), ("exclusive", "pass"), ("custody", "fail")} <= results


def test_an_index_that_is_made_later_is_the_same(world: World) -> None:
    """Claims came while the profile was not known, or before the store had an index."""
    profiles = world.room.folder / "profiles" / "bays.toml"
    world.room.close()
    profiles.unlink()
    world.room.open()
    crowd(world, random.Random(7), 20)
    assert {one.state for one in world.newest().values()} == {"insufficient"}
    world.room.close()
    profiles.write_text(TEXT)
    world.room.open()
    world.close()
    assert world.findings() == world.expected()
    before = world.room.rows("SELECT count(*) FROM verdicts")
    world.room.close()
    world.room.open()
    world.room.settle()
    assert world.room.rows("SELECT count(*) FROM verdicts") == before


def test_an_acquisition_that_comes_last_is_found(world: World) -> None:
    a, b, c = world.devices
    got = world.claim(a, "taker", c, "order-1", None, [])
    given = world.claim(b, "giver", c, "order-2", [1, 2, 0], [got.reference])
    world.deliver(whose=[1])
    world.close()
    assert [one.state for one in world.newest().values()] == ["one_sided"]
    world.deliver(whose=[0])
    world.close()
    assert given.claim is not None
    mine = world.newest()[given.claim.interaction_id(), given.claim.party_set()]
    assert mine.state == "conflicting"
    assert mine.checks[0].reason == "giver.released ends the acquisition of another device."
    assert [row.claim for row in mine.others] == [got.reference]


def test_a_key_that_turns_out_bad_frees_its_neighbours(world: World, fleet: Fleet) -> None:
    a, b, c = world.devices
    first = world.claim(a, "giver", c, "order-1", [100, 110, 0], [])
    world.claim(b, "giver", c, "order-2", [105, 115, 0], [])
    world.deliver()
    world.close()
    assert {one.state for one in world.newest().values()} == {"conflicting"}
    b.credential = revoke(b, COMPROMISED, None, time_ms=START_MS)
    world.gateway.take(b.segment(0, 1))
    world.room.send(world.gateway.batch(world.sent, devices=[b]))
    world.room.settle()
    assert first.claim is not None
    mine = world.newest()[first.claim.interaction_id(), first.claim.party_set()]
    # Its own taker stayed away; nothing else is wrong with it any more.
    assert (mine.state, mine.others) == ("one_sided", [])


@pytest.mark.parametrize("first", [0, 1])
def test_whoever_comes_later_touches_its_neighbours_on_both_sides(world: World, first: int) -> None:
    """Also where they begin in different stretches of `longest`: 80 to 100, and from 100 on."""
    _, b, c = world.devices
    grants = [("one", b, [95, 105, 0]), ("two", c, [101, 110, 0])]
    for name, who, interval in grants[first:] + grants[:first]:
        world.claim(who, "giver", world.devices[0], name, interval, [])
        world.deliver()
        world.close()
    assert world.findings() == world.expected()
    assert {one.state for one in world.newest().values()} == {"conflicting"}


def test_a_key_of_who_acquired_turns_out_bad(world: World) -> None:
    a, b, c = world.devices
    got = world.claim(b, "taker", c, "order-1", None, [])
    given = world.claim(a, "giver", c, "order-2", [1, 2, 0], [got.reference])
    world.deliver()
    world.close()
    assert given.claim is not None
    key = given.claim.interaction_id(), given.claim.party_set()
    assert world.newest()[key].state == "conflicting"
    b.credential = revoke(b, COMPROMISED, None, time_ms=START_MS)
    world.gateway.take(b.segment(0, 1))
    world.room.send(world.gateway.batch(world.sent, devices=[b]))
    world.room.settle()
    mine = world.newest()[key]
    assert mine.state == "insufficient"
    assert mine.checks[0].reason == "The acquisition that giver.released names cannot be used."
    assert [row.status for row in mine.others] == ["compromised"]


def test_a_store_without_the_index_makes_it_and_looks_at_all_again(world: World) -> None:
    crowd(world, random.Random(5), 10)
    counts = [f"SELECT count(*) FROM {name}" for name in ("grants", "releases")]
    before = [world.room.rows(query) for query in counts]
    with world.room.sequencer.store.write() as connection:
        for table in (schema.grants, schema.releases):
            connection.execute(sa.delete(table))
        name = schema.meta.c.name
        connection.execute(sa.delete(schema.meta).where(name.startswith("neighbours-")))
    world.room.close()
    world.room.open()
    assert [world.room.rows(query) for query in counts] == before
    assert world.room.sequencer.reconciler.tick() == len(world.newest())
    assert world.findings() == world.expected()


def test_behind_a_neighbour_that_does_not_count_the_next_one_is_found(
    world: World, fleet: Fleet
) -> None:
    a, b, c = world.devices
    first = world.claim(a, "giver", b, "order-1", [100, 104, 0], [])
    world.claim(b, "giver", c, "order-2", [99, 118, 0], [])
    third = world.claim(c, "giver", b, "order-3", [98, 103, 0], [])
    world.deliver()
    b.credential = revoke(b, COMPROMISED, None, time_ms=START_MS)
    world.gateway.take(b.segment(0, 1))
    world.room.send(world.gateway.batch(world.sent, devices=[b]))
    world.close()
    assert first.claim is not None
    mine = world.newest()[first.claim.interaction_id(), first.claim.party_set()]
    assert mine.state == "conflicting"
    assert [row.claim for row in mine.others] == [third.reference]


def test_behind_a_rival_that_does_not_fit_the_next_one_is_found(world: World) -> None:
    a, b, c = world.devices
    got = world.claim(a, "taker", b, "order-0", None, [])
    for number in range(10):
        more = {"stray": "x"} if number % 3 else {}
        world.claim(a, "giver", c, f"order-{number + 1}", None, [got.reference], **more)
        # One after the other: what was found of those before is found anew.
        world.deliver()
        world.close()
    assert world.findings() == world.expected()


def test_what_was_erased_takes_no_verdict_back(world: World, fleet: Fleet) -> None:
    """By an order of its fleet: the claim that convicts both is gone, and what it convicted not."""
    a, b, c = world.devices
    world.claim(a, "giver", c, "order-1", [100, 110, 0], [])
    second = world.claim(b, "giver", c, "order-2", [105, 115, 0], [])
    world.deliver()
    world.close()
    before = world.findings()
    order = Erasure(b.epoch, [[0, 1000]], [CLAIM], "request", None, START_MS)
    privacy = world.room.sequencer.privacy
    privacy.order(erasure.parse(order.sign(fleet.root, fleet.name, b.id)))
    with world.room.sequencer.store.write() as connection:
        claims, grants = schema.claims, schema.grants
        mine = sa.select(claims.c.record).where(claims.c.claim == second.reference)
        assert connection.execute(mine).scalar_one() == b""
        kept = sa.select(grants.c.claim).where(grants.c.claim == second.reference)
        assert connection.execute(kept).first() is None
        connection.execute(sa.update(schema.party_sets).values(dirty=True))
    world.room.settle()
    assert world.findings() == before


def test_nothing_is_kept_of_what_is_forgotten(world: World) -> None:
    crowd(world, random.Random(3), 12)
    assert world.room.rows("SELECT count(*) FROM grants")[0][0]
    assert world.room.rows("SELECT count(*) FROM releases")[0][0]
    some = [one.reference for one in world.known]
    world.room.sequencer.ingest.transaction(lambda work: nearby.forget(work, some))
    assert world.room.rows("SELECT count(*) FROM grants") == [(0,)]
    assert world.room.rows("SELECT count(*) FROM releases") == [(0,)]


def test_nobody_crowds_what_its_neighbours_must_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearby, "GRANTS_PER_DEVICE_MAX", 3)
    monkeypatch.setattr(nearby, "RELEASES_PER_ACQUISITION_MAX", 2)
    a, b, c = world.devices
    for number in range(5):
        world.claim(b, "giver", c, f"grant-{number}", [100, 101, 0], [])
    # Later, or of another bay, or by another device: as many again.
    world.claim(b, "giver", c, "later", [190, 191, 0], [])
    world.claim(b, "giver", c, "beside", [100, 101, 0], [], bay="8")
    world.claim(c, "giver", b, "too", [100, 101, 0], [])
    got = world.claim(a, "taker", b, "got", None, [])
    common = world.claim(a, "giver", b, "common", None, [])
    for number in range(5):
        relied = [common.reference, bytes(32)]
        world.claim(a, "giver", c, f"free-{number}", None, relied)
    for number in range(4):
        world.claim(a, "giver", c, f"release-{number}", None, [got.reference])
    world.deliver()
    # Two grants and two releases were refused; everything else was taken.
    refused = world.room.rows("SELECT reason, count(*) FROM refused_records GROUP BY reason")
    assert refused == [("over-quota", 4)]
    assert world.room.rows("SELECT count(*) FROM claims") == [(len(world.known) - 4,)]
    # What is known to be no acquisition is not kept at all.
    ((kept,),) = world.room.rows("SELECT count(*) FROM releases")
    assert kept == 5 + 2
    # After a start they are counted again.
    world.room.close()
    world.room.open()
    world.claim(b, "giver", c, "once more", [100, 101, 0], [])
    world.deliver()
    assert world.room.rows("SELECT count(*) FROM refused_records") == [(5,)]
