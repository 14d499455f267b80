"""A party set over which the sequencer fails keeps no other waiting, and is tried again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.devices import Fleet
from support.validating import Gateway, Room, handover
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.validator import limits
from tallystick.validator.failing import Failing, is_defect
from tallystick.validator.store import StoreLost

SETS = 9
# The store does not take its finding; or it holds something that is none.
WAYS = {
    "write": (
        (
            "CREATE TRIGGER defect BEFORE UPDATE OF verdict ON party_sets WHEN NEW.party_set = 4 "
            "BEGIN SELECT RAISE(ABORT, 'a defect'); END"
        ),
        "DROP TRIGGER defect",
    ),
    "read": (
        "UPDATE party_sets SET parties = CAST(x'ff' || parties AS BLOB) WHERE party_set = 4",
        "UPDATE party_sets SET parties = substr(parties, 2) WHERE party_set = 4",
    ),
}


class Slow:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Room]:
    """A validator with handovers, none of them reconciled."""
    fleet = Fleet("acme")
    made = Room(tmp_path / "validator", [fleet])
    giver, receiver = fleet.device("a"), fleet.device("b")
    for task in range(SETS):
        handover(giver, receiver, f"order-{task}")
    gateway = Gateway(fleet)
    gateway.take(*giver.segments(), *receiver.segments())
    assert made.send(gateway.batch(devices=[giver, receiver])).refused == []
    yield made
    made.close()


def do(room: Room, statement: str) -> None:
    with room.sequencer.store.write() as connection:
        connection.exec_driver_sql(statement)


@pytest.mark.parametrize("how", sorted(WAYS))
def test_one_that_fails_is_left_out_and_tried_again(full: Room, how: str) -> None:
    sequencer, clock = full.sequencer, Slow()
    sequencer.reconciler._failing = Failing(clock)
    broken, mended = WAYS[how]
    do(full, broken)
    for _ in range(40):
        sequencer.turn(0)
    assert full.states() == {"matched": SETS - 1, "pending": 1}
    assert full.rows("SELECT party_set FROM party_sets WHERE dirty") == [(4,)]
    assert sequencer.reconciler.told().failing == 1
    # It is said, and it is no reason to send nothing: the store takes all else.
    count = sequencer.refusals.totals()["internal-error"]
    assert count >= 1
    assert sequencer.failure is None
    # It costs nothing while it waits, and is tried again.
    assert not sequencer.turn(0)
    assert not sequencer.reconciler.due()
    assert sequencer.refusals.totals()["internal-error"] == count
    do(full, mended)
    clock.now_s = limits.FAILING_RETRY_S
    for _ in range(10):
        sequencer.turn(0)
    assert full.states() == {"matched": SETS}
    assert sequencer.reconciler.told().failing == 0


def test_a_key_or_a_store_that_is_away_is_nobodys_fault() -> None:
    for away in (
        KeyDriverError("key", "away"),
        StoreLost("not-ready", "x"),
        OSError(),
        sa.exc.OperationalError("", {}, OSError()),
    ):
        assert not is_defect(away), away
    for defect in (
        ZeroDivisionError(),
        Malformed("bad-value", "x"),
        sa.exc.IntegrityError("", {}, OSError()),
    ):
        assert is_defect(defect), defect


def test_where_all_fail_none_is_blamed_without_end() -> None:
    failing = Failing(Slow())
    for number in range(limits.FAILING_SETS_MAX):
        assert failing.failed([number], ZeroDivisionError())
    assert not failing.failed([1_000], ZeroDivisionError())
    assert not failing.failed([], ZeroDivisionError())
