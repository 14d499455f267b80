"""A validator by hand whose findings workers compute, as late as can be."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from support.devices import Device, Fleet
from support.validating import HANDOVER, Gateway, Room
from tallystick.evidence import verdict
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.validator import schema
from tallystick.validator.basis import Basis
from tallystick.validator.findings import Computed
from tallystick.validator.limits import PORTION_SETS_MAX
from tallystick.validator.place import Server
from tallystick.validator.portions import Portions
from tallystick.validator.reconcileduty import ReconcileDuty, Under
from tallystick.validator.workers import Worker


@dataclass
class Beside(Room):
    """A room on PostgreSQL; before each batch everything is due, and proposed, and not yet taken.

    So whatever a batch changes makes proposals stale. What is signed is compared with what this
    process computes from the store as it is when it is signed.
    """

    computed: int = 0
    checked: int = 0
    stale: int = 0
    workers: list[Worker] = field(default_factory=list)

    def open(self) -> None:
        super().open()
        place = self.sequencer.config.store
        assert isinstance(place, Server)
        self.place = place
        self.workers = [Worker(place, [ReconcileDuty()])]
        self.workers[0].turn()
        # It lives for as long as this test wants, however slow the machine is.
        self.portions.monotonic = lambda: 0.0
        with self.sequencer.store.read() as connection:
            self.portions.look(connection)

    def close(self) -> None:
        for worker in self.workers:
            worker.close()
        super().close()

    @property
    def portions(self) -> Portions:
        found = self.sequencer.reconciler.portions
        assert found is not None
        return found

    def send(self, data: bytes) -> BatchAnswer:
        self.propose_all()
        return super().send(data)

    def propose_all(self) -> None:
        """Everything is due, given away, computed; nothing of it is taken."""
        with self.sequencer.store.write() as connection:
            connection.execute(sa.update(schema.party_sets).values(dirty=True))
        self.tick()
        self.work()

    def settle(self) -> None:
        while self.tick() + self.work():
            pass

    def work(self) -> int:
        """All that is given away."""
        done = 0
        while one := sum(worker.turn() for worker in self.workers):
            done += one
        self.computed += done
        return done

    def tick(self) -> int:
        """A turn of the sequencer; what it signs is what the store says."""
        expected = self.expected()
        before = self.proposed()
        (size,) = self.rows("SELECT coalesce(max(entry), -1) FROM verdicts")
        done = self.sequencer.reconciler.tick()
        rows = self.rows(
            "SELECT party_set, data FROM verdicts JOIN entries USING (entry) "
            f"WHERE entry > {size[0]} ORDER BY entry"
        )
        for number, data in rows:
            one = expected[number]
            allowed = [found.data for found in (one.found, one.closed) if found is not None]
            assert verdict.parse(data).finding.encode() in allowed
            self.checked += 1
        self.stale += before - self.proposed() > 0
        return done

    def proposed(self) -> int:
        return int(self.rows("SELECT count(*) FROM proposals")[0][0])

    def expected(self) -> dict[int, Computed]:
        """What every set comes to, by the store as it is."""
        known = Under(Basis(self.sequencer.config.roots, self.sequencer.profiles))
        every = sa.select(schema.party_sets)
        with self.sequencer.store.read() as connection:
            return known.compute(connection, every, self.sequencer.log.now_ms())


def last_findings(room: Room) -> dict[Any, bytes | None]:
    """The digest of what was signed last, by interaction, profile and parties."""
    rows = room.rows(
        "SELECT namespace, interaction, profile, parties_digest, finding FROM party_sets"
    )
    plain = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows]
    return {row[:4]: row[4] for row in plain}


def say(
    device: Device, task: str, role: str, name: str, parties: dict[str, list[bytes]], x: int
) -> None:
    device.claim(task, role, name, parties, HANDOVER.digest, item="box", position_m=[x, 2])


def crowd(fleet: Fleet, count: int, seed: int) -> list[bytes]:
    """Batches of interactions that match, differ, lack a side, or are told twice."""
    rng = random.Random(seed)
    devices = [fleet.device(name) for name in "abcdef"]
    gateway, late, batches = Gateway(fleet), [], []
    for begin in range(0, count, 50):
        for n in range(begin, begin + 50):
            giver, receiver = rng.sample(devices, 2)
            parties = {"giver": [giver.id], "receiver": [receiver.id]}
            sides = [(giver, "giver", "released"), (receiver, "receiver", "acquired")]
            kind = rng.random()
            if kind < 0.3:
                late.append((f"order-{n}", parties, sides.pop(rng.randrange(2))))
            if kind > 0.9:
                sides.append(sides[0])
            for device, role, name in sides:
                say(device, f"order-{n}", role, name, parties, rng.choice((1, 1, 1, 9)))
        while late and rng.random() < 0.8:
            task, parties, (device, role, name) = late.pop(rng.randrange(len(late)))
            say(device, task, role, name, parties, 1)
        first = len(gateway.items)
        for device in devices:
            device.seal()
            gateway.take(device.segment(len(device.stretches) - 1))
        batches.append(gateway.batch(first, devices=devices))
    return batches


def alone(folder: Path, fleet: Fleet, batches: list[bytes]) -> dict[Any, bytes | None]:
    """What one process finds."""
    room = Room(folder, [fleet])
    for batch in batches:
        room.send(batch)
    room.settle()
    found = last_findings(room)
    room.close()
    return found


def due(room: Room) -> int:
    """How many sets are due, or somebody's."""
    query = "SELECT count(*) FROM party_sets WHERE dirty OR portion IS NOT NULL"
    return int(room.rows(query)[0][0])


def finish(room: Beside) -> None:
    """All that the sequencer can do by itself now."""
    while room.sequencer.reconciler.due():
        room.tick()


def given(room: Beside, batches: list[bytes]) -> None:
    """Sent and given away; nobody has begun."""
    for batch in batches:
        Room.send(room, batch)
    finish(room)
    assert room.portions.out == due(room) > PORTION_SETS_MAX
