"""docs/durability.md, sections 3 and 4: only what was delivered goes, and its hashes never do."""

import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from tallystick.evidence import record as records
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed
from tallystick.evidence.gatewaylog import GatewayLeaf
from tallystick.evidence.kinds import CLAIM, DECISION, EVENT
from tallystick.evidence.segment import verify_segment
from tallystick.evidence.tree import Tree
from tallystick.gateway import holds, limits
from tallystick.gateway.capacity import Capacity
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.gatewaylog import read_node
from tallystick.gateway.pruning import Pruner
from tallystick.gateway.retention import Retention, RetentionTable, resolve
from tallystick.gateway.store import operator_write
from tallystick.gateway.tracks import tree_from
from tallystick.gateway.validatorconfig import Send

ACME = Fleet("acme")
DAY_MS = 86_400_000
LATER_MS = 4_000_000_000_000
OLD = {DECISION: DAY_MS}
PROFILE = bytes(32)
NUMBERS = itertools.count()


class House:
    """A memory gateway with forwarders that a test moves by hand, and a pruner."""

    def __init__(self, folder: Path) -> None:
        # Validators are shared between tests: each gateway has a log, and so a key, of its own.
        self.gate = MemoryGateway(folder, ACME, name=f"gate-{next(NUMBERS)}")
        self.stop = threading.Event()
        self.percent = 10
        self.robot = ACME.device()

    def fill(self, count: int = 6) -> None:
        """Segments of decisions, each with a claim."""
        for n in range(count):
            self.robot.decisions(8)
            parties = {"giver": [self.robot.id]}
            self.robot.claim(f"order-{n}", "giver", "released", parties, PROFILE, item="p")
            self.robot.seal()
        self.gate.know(self.robot)
        self.gate.give(self.robot, *self.robot.segments())

    def to(self, notary: Notary, send: Send = "full", *, start: bool = True) -> Forwarder:
        made = Forwarder(
            notary.peer(send),
            self.gate.store,
            self.gate.signing,
            tuple(self.gate.credential),
            self.gate.down_queue,
            self.stop,
        )
        while start and made.turn() == 0:
            pass
        return made

    def prune(self, retention: Retention, now_ms: int = LATER_MS) -> int:
        capacity = Capacity("ok", self.percent, 100, 0, "disk")
        pruner = Pruner(self.gate.store, retention, lambda: capacity, self.stop)
        while pruner.turn(now_ms):
            pass
        return pruner.pruned

    def kinds(self) -> list[int]:
        """Of all bodies that are still here, in order."""
        return [
            records.kind_of(item)
            for data in self.stored()
            for stretch in segments.parse(data).stretches
            for item in stretch.items
            if isinstance(item, bytes)
        ]

    def stored(self) -> list[bytes]:
        reader = self.gate.store.reader()
        rows = reader.execute("SELECT data FROM segments ORDER BY at").fetchall()
        reader.close()
        return [data for (data,) in rows]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "gateway")
    yield made
    made.gate.store.close()


@pytest.fixture(scope="module")
def notary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notary]:
    made = Notary(tmp_path_factory.mktemp("notary"), ACME).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def insurer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notary]:
    made = Notary(tmp_path_factory.mktemp("insurer"), ACME, name="insurer").start()
    yield made
    made.stop()


def keeping(*names: str, **ages: int) -> Retention:
    return Retention(validators=names or ("notary",), ages_ms=OLD, **ages)  # type: ignore[arg-type]


def check_proof(house: House) -> None:
    """What is left still proves what was received: roots, checkpoints, the gateway's own log."""
    reader = house.gate.store.reader()
    rows = reader.execute(
        "SELECT s.at, s.first, s.until, s.root, s.checkpoint, s.edge, s.data, t.device, t.epoch "
        "FROM segments s JOIN tracks t USING (track) ORDER BY at"
    ).fetchall()
    key, tree = house.robot.signer.public_key(), Tree()
    for at, first, until, root, checkpoint, edge, data, device, epoch in rows:
        verified = verify_segment(segments.parse(data), key, tree_from(first, edge))
        assert (verified.to, verified.tree.root()) == (until, root)
        assert verified.checkpoint.digest == checkpoint
        leaf = GatewayLeaf(device, epoch, first, until, root, checkpoint).leaf_hash()
        assert read_node(reader, 0, at) == leaf
        tree.push(leaf)
    reader.close()
    assert rows[-1][2] == house.robot.size


def test_delivered_bodies_go_by_age_and_kind_and_the_proof_stays(
    house: House, notary: Notary
) -> None:
    house.fill()
    house.to(notary)
    before = house.kinds()
    size = sum(map(len, house.stored()))
    assert house.prune(keeping(), house_now_ms(house)) == 0  # nothing is old enough
    assert house.kinds() == before
    assert house.prune(keeping()) == 6
    # Claims are kept longer than decisions here, and an epoch's first record always.
    assert house.kinds() == [EVENT] + [CLAIM] * 6
    assert sum(map(len, house.stored())) < size
    check_proof(house)
    reader = house.gate.store.reader()
    (longest,) = reader.execute(
        "SELECT max(length(receipt)) FROM receipts JOIN segments ON statement = checkpoint"
    ).fetchone()
    reader.close()
    assert longest == 0
    # Again there is nothing to do, and then the claims' time has come too.
    assert house.prune(keeping()) == 0
    assert house.prune(Retention(validators=("notary",), ages_ms={CLAIM: DAY_MS})) == 6
    assert house.kinds() == [EVENT]
    # An epoch's first record is never given up.
    assert house.prune(Retention(validators=("notary",), ages_ms={EVENT: DAY_MS})) == 6
    assert house.kinds() == [EVENT]
    check_proof(house)


def house_now_ms(house: House) -> int:
    reader = house.gate.store.reader()
    (now_ms,) = reader.execute("SELECT max(time_ms) FROM segments").fetchone()
    reader.close()
    return int(now_ms)


def test_what_a_validator_lacks_is_not_pruned(
    house: House, notary: Notary, insurer: Notary
) -> None:
    house.fill()
    house.to(notary)
    late = house.to(insurer, start=False)
    both = keeping("notary", "insurer")
    assert house.prune(both) == 0
    assert house.prune(Retention(ages_ms=OLD)) == 0  # nobody must have it: nobody has it
    assert house.prune(keeping("nobody")) == 0
    while late.turn() == 0:
        pass
    assert house.prune(both) == 6


@pytest.mark.parametrize(
    "undo",
    [
        "DELETE FROM receipts WHERE statement = (SELECT checkpoint FROM segments WHERE at = 3)",
        "INSERT INTO set_aside VALUES ('notary', 3, 'bad-root', 1, 1, 0)",
        "INSERT INTO held SELECT 'notary', device, 3 FROM devices",
        "INSERT INTO damaged (at, found_ms) VALUES (3, 1)",
        "UPDATE validators SET cursor = 3",
    ],
)
def test_each_mark_of_not_delivered_keeps_the_bodies(
    undo: str, house: House, notary: Notary
) -> None:
    house.fill()
    house.to(notary)
    with house.gate.store.write() as connection:
        connection.execute(undo)
    pruned = house.prune(keeping())
    assert pruned == (3 if "cursor" in undo else 5)
    reader = house.gate.store.reader()
    assert reader.execute("SELECT 1 FROM pruned WHERE at = 3").fetchone() is None
    reader.close()


def test_bodies_that_nobody_was_sent_stay(house: House, notary: Notary) -> None:
    house.fill()
    house.to(notary, "claims")
    everything = Retention(validators=("notary",), ages_ms={DECISION: 1, CLAIM: 1, EVENT: 1})
    assert house.prune(everything) == 6
    assert set(house.kinds()) == {EVENT, DECISION}
    # That it is sent all from now on changes nothing for what was sent before.
    house.robot.decisions(8)
    house.robot.seal()
    house.gate.give(house.robot, house.robot.segments()[-1])
    house.to(notary, "full")
    assert house.prune(everything) == 1
    assert house.kinds().count(DECISION) == 6 * 8
    check_proof(house)


def test_a_filling_store_gives_up_before_the_time(house: House, notary: Notary) -> None:
    house.fill()
    house.to(notary)
    long = Retention(validators=("notary",), by_size=frozenset({DECISION}))
    house.percent = 69
    assert house.prune(long) == 0
    house.percent = 70
    assert house.prune(long) == 6
    assert set(house.kinds()) == {EVENT, CLAIM}
    pruner = Pruner(
        house.gate.store, long, lambda: Capacity("ok", level, 100, 0, "disk"), house.stop
    )
    for level, filling in ((69, False), (70, True), (66, True), (64, False), (69, False)):
        assert pruner.filling() is filling, level


def looks(house: House, monkeypatch: pytest.MonkeyPatch) -> Callable[[Pruner], int]:
    """How many steps SQLite takes for a pass of a pruner."""
    steps = [0]
    reader = house.gate.store.reader

    def counted() -> sqlite3.Connection:
        connection = reader()
        connection.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1), 1)
        return connection

    monkeypatch.setattr(house.gate.store, "reader", counted)

    def passed(pruner: Pruner) -> int:
        before = steps[0]
        while pruner.turn(LATER_MS):
            pass
        return steps[0] - before

    return passed


def test_a_full_store_in_which_nothing_may_go_is_not_looked_through_again_and_again(
    house: House, notary: Notary, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.robot = ACME.device("of a full store")  # of whom the shared validator knows nothing
    house.fill(120)
    forwarder = house.to(notary)
    full = Retention(validators=("notary",), by_size=frozenset({DECISION}))
    passed = looks(house, monkeypatch)
    pruner = Pruner(
        house.gate.store, full, lambda: Capacity("warning", 90, 100, 0, "disk"), house.stop
    )
    passed(pruner)
    assert pruner.pruned == 120
    again = passed(pruner)
    monkeypatch.setattr(pruner, "_whole_s", pruner._whole_s - limits.PRUNE_EVERY_S)
    whole = passed(pruner)
    assert again < whole / 3
    assert passed(pruner) == again
    # What comes is found, and all of it after a hold or with another configuration.
    house.fill(2)
    while forwarder.turn() == 0:
        pass
    passed(pruner)
    assert pruner.pruned == 122
    with operator_write(house.gate.path) as connection:
        holds.begin(connection, "case-7", "")
    passed(pruner)
    with operator_write(house.gate.path) as connection:
        holds.end(connection, "case-7")
    assert passed(pruner) >= whole
    pruner.retention = Retention(validators=("notary",), by_size=frozenset({DECISION, CLAIM}))
    passed(pruner)
    assert pruner.pruned == 122 + 122


def test_a_store_that_begins_to_fill_gives_up_its_oldest_first(
    house: House, notary: Notary
) -> None:
    house.robot = ACME.device("of a filling store")
    house.fill(limits.PRUNE_ROWS + 8)
    house.to(notary)
    level = [10]
    kept = Retention(validators=("notary",), ages_ms={CLAIM: DAY_MS}, by_size=frozenset({DECISION}))
    pruner = Pruner(
        house.gate.store, kept, lambda: Capacity("ok", level[0], 100, 0, "disk"), house.stop
    )
    # In the middle of a pass by age it fills.
    assert pruner.turn(LATER_MS)
    level[0] = 90
    assert pruner.turn(LATER_MS)
    assert house.kinds().count(DECISION) == 8 * 8


def test_a_hold_stops_pruning_until_it_ends(house: House, notary: Notary) -> None:
    house.fill()
    house.to(notary)
    house.percent = 99
    with operator_write(house.gate.path) as connection:
        holds.begin(connection, "case-7", "claim 7")
        holds.begin(connection, "case-8", "")
        with pytest.raises(Malformed, match="in force already"):
            holds.begin(connection, "case-7", "")
    assert house.prune(keeping()) == 0
    with operator_write(house.gate.path) as connection:
        holds.end(connection, "case-7")
        with pytest.raises(Malformed, match="no hold"):
            holds.end(connection, "case-7")
    assert house.prune(keeping()) == 0
    with operator_write(house.gate.path) as connection:
        holds.end(connection, "case-8")
        assert [row["name"] for row in holds.known(connection)] == ["case-7", "case-8"]
    assert house.prune(keeping()) == 6


def test_a_hold_counts_until_the_last_moment(house: House, notary: Notary) -> None:
    house.fill()
    house.to(notary)
    capacity = Capacity("ok", 1, 100, 0, "disk")
    pruner = Pruner(house.gate.store, keeping(), lambda: capacity, house.stop)
    going, _ = pruner._worked_out(LATER_MS, filling=False)
    assert len(going) == 6
    with operator_write(house.gate.path) as connection:
        holds.begin(connection, "case-7", "")
    assert not pruner._write(going)
    with operator_write(house.gate.path) as connection:
        holds.end(connection, "case-7")
        # The validator lost its store meanwhile: nothing is delivered to it any more.
        connection.execute("UPDATE validators SET cursor = 0")
    assert pruner._write(going)
    assert pruner.pruned == 0
    assert house.kinds().count(DECISION) == 48


def test_a_pruned_device_and_a_late_validator_are_served(
    house: House, notary: Notary, tmp_path: Path
) -> None:
    house.fill()
    house.to(notary)
    house.prune(keeping())
    told = len(house.gate.custody(house.robot))
    house.gate.give(house.robot, house.robot.segments()[2], house.robot.segment(1, 5))
    assert len(house.gate.custody(house.robot)) == told + 1
    assert house.gate.refused() == {"replayed": 2}
    house.robot.record(3)
    house.gate.give(house.robot, house.robot.segments()[-1])
    assert house.gate.custody(house.robot)[-1].to == house.robot.size
    late = Notary(tmp_path / "late", ACME, name="late").start()
    try:
        house.to(late)
        validators = house.gate.status()["validators"]
        row = next(row for row in validators if row["name"] == "late")  # type: ignore[attr-defined]
        assert (row["cursor"], row["set_aside"], row["receipts"] > 0) == (7, 0, True)
    finally:
        late.stop()


def test_what_would_not_fold_to_its_root_is_left_alone(house: House, notary: Notary) -> None:
    house.fill()
    house.to(notary)
    with house.gate.store.write() as connection:
        connection.execute("UPDATE segments SET root = zeroblob(32) WHERE at = 2")
        (data,) = connection.execute("SELECT data FROM segments WHERE at = 4").fetchone()
        flipped = bytes([data[0]]) + bytes([data[1] ^ 1]) + data[2:]
        connection.execute("UPDATE segments SET data = ? WHERE at = 4", (flipped,))
    found: list[int] = []
    capacity = Capacity("ok", 1, 100, 0, "disk")
    pruner = Pruner(house.gate.store, keeping(), lambda: capacity, house.stop, found.append)
    assert not pruner.turn(LATER_MS)
    assert found == [2, 4]
    assert pruner.pruned == 4


def test_the_table_of_the_file() -> None:
    table = RetentionTable(decisions="30 d", halves="12 h", by_size=("events",))
    found = resolve(table, ["a", "b"])
    assert found.validators == ("a", "b")
    assert found.ages_ms == {DECISION: 30 * DAY_MS, 3: DAY_MS // 2}
    assert found.due(31 * DAY_MS, filling=False) == {DECISION, 3}
    assert found.due(0, filling=True) == {EVENT}
    for wrong in (
        *(RetentionTable(decisions="0 d"), RetentionTable(events="30d")),
        *(RetentionTable(claims="999999 d"), RetentionTable(by_size=("all",))),
        RetentionTable(validators=[]),
    ):
        with pytest.raises(Malformed, match="retention"):
            resolve(wrong, ["a"])
    assert resolve(RetentionTable(validators=["peer"]), ["a"]).validators == ("peer",)


def test_an_older_store_is_delivered_nothing_until_it_is_sent_again(
    house: House, notary: Notary
) -> None:
    house.fill()
    house.to(notary)
    with house.gate.store.write() as connection:
        connection.execute("DELETE FROM sent_as")
    house.to(notary)
    assert house.prune(keeping()) == 0
