"""F10: bits that flip in stored segments are found before they are forwarded, and mended."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from tallystick.evidence import segment as segments
from tallystick.evidence.segment import verify_segment
from tallystick.gateway import quarantine
from tallystick.gateway.batching import DamagedLog
from tallystick.gateway.damage import Scrubber
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.gatewaylog import read_node, tree_at
from tallystick.gateway.tracks import tree_from

ACME = Fleet("acme")
COUNT = 50


class House:
    """A memory gateway with a scrubber and, perhaps, a validator."""

    def __init__(self, folder: Path, *, whole: bool = False) -> None:
        self.folder = folder
        self.gate = MemoryGateway(folder, ACME)
        self.stop = threading.Event()
        self.robot: Device = ACME.device()
        for _ in range(COUNT):
            self.robot.record(3)
        self.gate.know(self.robot)
        if whole:
            self.gate.give(self.robot, self.robot.segment(0, 20), self.robot.segment(20, 50))
        else:
            self.gate.give(self.robot, *self.robot.segments())
        self.asked: list[tuple[bytes, bytes]] = []
        self.scrubber = Scrubber(self.gate.store, self.asked.extend, self.stop, self.gate.roots)

    def flip(self, column: str, at: int, bit: int = 7, table: str = "segments") -> None:
        """One bit of one stored value."""
        with self.gate.store.write() as connection:
            where = f"{table} WHERE at = {at}" + (" AND level = 0" if table == "nodes" else "")
            (value,) = connection.execute(f"SELECT {column} FROM {where}").fetchone()
            if isinstance(value, int):
                changed: int | bytes = value ^ (1 << bit)
            else:
                data = bytearray(value)
                data[bit // 8 % len(data)] ^= 1 << bit % 8
                changed = bytes(data)
            connection.execute(
                f"UPDATE {where.replace(' WHERE', ' SET x = ? WHERE', 1)}".replace(
                    "SET x", f"SET {column}"
                ),
                (changed,),
            )

    def scrub(self) -> None:
        self.scrubber.suspect(-1)
        while self.scrubber.turn():
            pass

    def damaged(self) -> list[int]:
        reader = self.gate.store.reader()
        found = [at for (at,) in reader.execute("SELECT at FROM damaged ORDER BY at")]
        reader.close()
        return found

    def rows(self) -> list[tuple[object, ...]]:
        reader = self.gate.store.reader()
        sql = (
            "SELECT at, first, until, root, checkpoint, edge, tail, crc, data, track "
            "FROM segments ORDER BY at"
        )
        found = reader.execute(sql).fetchall()
        found += reader.execute("SELECT * FROM nodes ORDER BY level, at").fetchall()
        reader.close()
        return found

    def forwarder(self, notary: Notary) -> Forwarder:
        made = Forwarder(
            notary.peer(),
            self.gate.store,
            self.gate.signing,
            tuple(self.gate.credential),
            self.gate.down_queue,
            self.stop,
        )
        made.on_damage = self.scrubber.suspect
        return made


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "gateway")
    yield made
    made.gate.store.close()


def test_every_flip_of_stored_bytes_is_found(house: House) -> None:
    chance = random.Random(10)
    before = house.rows()
    for at in range(COUNT):
        (data,) = [row[8] for row in before[:COUNT] if row[0] == at]
        assert isinstance(data, bytes)
        house.flip("data", at, chance.randrange(8 * len(data)))
    house.scrub()
    assert house.damaged() == list(range(COUNT))
    # All of them come again, and everything is as it was.
    house.gate.give(house.robot, *house.robot.segments())
    assert house.damaged() == []
    assert house.rows() == before


@pytest.mark.parametrize("column", ["first", "until", "root", "checkpoint", "tail", "crc", "track"])
def test_a_flip_beside_the_bytes_is_mended_from_them(column: str, house: House) -> None:
    before = house.rows()
    house.flip(column, 20, 2)
    house.scrub()
    assert house.damaged() == []
    assert house.rows() == before


@pytest.mark.parametrize("level", range(5))
def test_a_flip_in_the_gateways_own_log_is_mended(level: int, house: House) -> None:
    before = house.rows()
    with house.gate.store.write() as connection:
        connection.execute(
            "UPDATE nodes SET hash = zeroblob(32) WHERE level = ? AND at = 1", (level,)
        )
    house.scrub()
    assert house.rows() == before


def test_a_signature_that_is_wrong_is_never_taken_for_mended(house: House) -> None:
    # The digest of a checkpoint leaves its signature out, so the leaf says nothing of it.
    reader = house.gate.store.reader()
    (size,) = reader.execute("SELECT length(data) FROM segments WHERE at = 5").fetchone()
    reader.close()
    house.flip("data", 5, 8 * (size - 1))
    house.scrub()
    assert house.damaged() == [5]


def test_the_device_is_asked_with_growing_waits(house: House) -> None:
    house.flip("data", 7, 900)
    house.scrub()
    house.scrubber.ask(1_000_000_000_000)
    house.scrubber.ask(1_000_000_000_001)
    assert [device for device, _ in house.asked] == [house.robot.id]
    for step, wait_ms in enumerate((60_000, 120_000, 240_000), 2):
        now_ms = 1_000_000_000_000 + sum(60_000 << n for n in range(step - 1))
        house.scrubber.ask(now_ms - 1)
        assert len(house.asked) == step - 1
        house.scrubber.ask(now_ms)
        assert len(house.asked) == step
        assert wait_ms
    with house.gate.store.write() as connection:
        (row,) = quarantine.entries(connection)
        assert (row["id"], row["tries"], row["from"], row["to"]) == ("damaged:7", 4, 22, 25)
        assert quarantine.retry(connection, "damaged:7") == 1
    house.scrubber.ask(0)
    assert len(house.asked) == 5


def test_a_clock_that_was_set_back_keeps_nobody_waiting(house: House) -> None:
    house.flip("data", 7, 900)
    house.scrub()
    now_ms, year_ms = 1_000_000_000_000, 365 * 86_400_000
    house.scrubber.ask(now_ms + year_ms)
    house.scrubber.ask(now_ms)
    assert len(house.asked) == 2
    house.scrubber.ask(now_ms + 1)
    assert len(house.asked) == 2


def test_what_came_in_one_piece_may_come_again_in_many(tmp_path: Path) -> None:
    house = House(tmp_path, whole=True)
    before = house.rows()
    house.flip("data", 1, 30_000)
    house.scrub()
    assert house.damaged() == [1]
    pieces = house.robot.segments()[20:]
    house.gate.give(house.robot, *pieces[:-1])
    assert house.damaged() == [1]
    house.gate.give(house.robot, pieces[-1])
    assert house.damaged() == []
    assert house.rows() == before
    house.gate.store.close()


def test_a_segment_may_bring_back_and_go_on(tmp_path: Path) -> None:
    house = House(tmp_path)
    for _ in range(2):
        house.robot.record(3)
    before = house.rows()
    house.flip("data", COUNT - 1, 900)
    house.scrub()
    assert house.damaged() == [COUNT - 1]
    house.gate.give(house.robot, house.robot.segment(COUNT - 1, COUNT + 2))
    assert house.damaged() == []
    assert house.gate.custody(house.robot)[-1].root == house.robot.root
    assert house.rows()[:COUNT] == before[:COUNT]
    house.gate.store.close()


def test_what_begins_inside_of_a_damaged_one_is_no_defect(tmp_path: Path) -> None:
    """With an edge it verifies by itself; of the damaged one nothing came before it."""
    house = House(tmp_path, whole=True)
    house.flip("data", 1, 30_000)
    house.scrub()
    part = segments.parse(house.robot.segment(25, 26))
    head = segments.parse(house.robot.segment(24, 25)).stretches[-1].checkpoint
    edge = segments.Edge(head, list(house.robot.tree(part.first).edge))
    data = segments.Segment(part.device, part.epoch, part.first, edge, part.stretches).encode()
    house.gate.give(house.robot, data)
    assert house.damaged() == [1]
    assert house.gate.refused() == {"replayed": 1}
    house.gate.store.close()


def test_hashes_do_not_take_the_place_of_bodies(house: House) -> None:
    house.flip("data", 7, 900)
    house.scrub()
    house.gate.give(house.robot, house.robot.segment(7, 8, elide=True))
    assert house.damaged() == [7]
    # A forged one neither.
    other = ACME.device("robot-1").clone()
    for _ in range(COUNT):
        other.record(4)
    house.gate.give(house.robot, other.segment(7, 8))
    assert house.damaged() == [7]
    house.gate.give(house.robot, house.robot.segment(5, 9))
    assert house.damaged() == []


def test_the_whole_way(house: House, tmp_path: Path) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    try:
        # One in a record, and one in the checkpoint that the next one's edge would be.
        house.flip("data", 7, 900)
        house.flip("data", 20, 8 * 400 + 3)
        forwarder = house.forwarder(notary)
        while forwarder.turn() == 0:
            pass
        house.scrubber.turn()
        assert house.damaged() == [7, 20]
        validators = house.gate.status()["validators"]
        assert validators[0]["cursor"] == COUNT  # type: ignore[index]
        aside = house.gate.status()["quarantine"]["set_aside"]  # type: ignore[index]
        assert aside >= 2
        house.scrubber.ask(1_000_000_000_000)
        assert len(house.asked) == 2
        house.gate.give(house.robot, *house.robot.segments())
        assert house.damaged() == []
        forwarder._choice.aside_s = 0.0
        for _ in range(20):
            forwarder.turn()
            forwarder._choice.aside_s = 0.0
        assert house.gate.status()["quarantine"] == {
            "set_aside": 0,
            "damaged": 0,
            "poison": 0,
        }
        reader = house.gate.store.reader()
        (receipts,) = reader.execute(
            "SELECT count(*) FROM receipts JOIN segments ON statement = checkpoint"
        ).fetchone()
        reader.close()
        assert receipts == COUNT
    finally:
        notary.stop()
    check(house)


def check(house: House) -> None:
    reader = house.gate.store.reader()
    key = house.robot.signer.public_key()
    for first, edge, data in reader.execute("SELECT first, edge, data FROM segments"):
        verify_segment(segments.parse(data), key, tree_from(first, edge))
    reader.close()


def test_a_damaged_node_is_never_signed(house: House, tmp_path: Path) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    try:
        forwarder = house.forwarder(notary)
        while forwarder.turn() == 0:
            pass
        with house.gate.store.write() as connection:
            connection.execute("UPDATE nodes SET hash = zeroblob(32) WHERE level = 5 AND at = 0")
            assert tree_at(connection, COUNT).edge[0] == bytes(32)
        house.robot.record(2)
        house.gate.give(house.robot, house.robot.segments()[-1])
        # As after a restart: what was signed is read from the store.
        forwarder = house.forwarder(notary)
        with pytest.raises(DamagedLog):
            forwarder._builder.build(forwarder._reader, forwarder.cursor, 10)
        assert forwarder.turn() > 0
        while house.scrubber.turn():
            pass
        assert read_node(forwarder._reader, 5, 0) != bytes(32)
        assert forwarder.turn() == 0
        assert forwarder.cursor == COUNT + 1
    finally:
        notary.stop()
