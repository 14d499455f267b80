"""Party sets given to workers, by hand: what counts of a proposal, and who works when none does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from support.beside import Beside, alone, crowd, due, finish, given, last_findings
from support.devices import Fleet
from support.validating import HANDOVER
from tallystick.evidence.errors import CouldNotCheck
from tallystick.tools.postgres import Postgres
from tallystick.validator import basis, proposal, schema, steps
from tallystick.validator.limits import PORTIONS_ALONE_S
from tallystick.validator.reconcileduty import ReconcileDuty
from tallystick.validator.workers import Worker


@pytest.fixture
def room(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Beside]:
    made = Beside(tmp_path / "validator", [fleet], store=postgres.database())
    yield made
    made.close()


def test_without_workers_the_sequencer_does_it_and_takes_back_what_they_had(
    room: Beside, tmp_path: Path, fleet: Fleet
) -> None:
    batches = crowd(fleet, 100, 4)
    expected = alone(tmp_path / "alone", fleet, batches)
    given(room, batches)
    told = room.sequencer.reconciler.told()
    assert (told.workers, told.given) == (1, room.portions.out)
    # Silent for too long, by the server's clock.
    with room.sequencer.store.write() as connection:
        connection.execute(sa.update(schema.workers).values(beat_ms=0))
    room.portions.monotonic = lambda: 1.0
    finish(room)
    assert last_findings(room) == expected
    assert (room.computed, room.checked > 0, due(room)) == (0, True, 0)
    assert room.rows("SELECT count(*) FROM portions") == [(0,)]
    told = room.sequencer.reconciler.told()
    assert (told.workers, told.given, told.due_for_ms) == (0, 0, 0)


def test_what_another_version_computes_is_not_signed(
    room: Beside, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(room, crowd(fleet, 100, 5))
    other = Worker(room.place, [ReconcileDuty()])
    with monkeypatch.context() as patched:
        patched.setattr(basis, "version", lambda _: "0.0.1")
        with pytest.raises(CouldNotCheck, match="another version of tallystick"):
            other.turn()
        patched.setattr(schema, "VERSION", schema.VERSION + 1)
        with pytest.raises(CouldNotCheck, match="store version"):
            Worker(room.place, [ReconcileDuty()]).turn()
    # Who cannot work does not say that it lives.
    assert room.rows("SELECT worker FROM workers") == [(room.workers[0].name,)]
    # And what rests on other roots is found anew.
    room.work()
    room.sequencer.config.roots.pop("borealis", None)
    extra = Fleet("later")
    room.sequencer.config.roots[extra.name] = extra.root.public_key()
    proposed = room.proposed()
    assert proposed > 0
    room.tick()
    assert room.checked == 0
    room.settle()
    assert room.checked > 0
    other.close()


def test_a_proposal_that_nobody_of_ours_wrote_is_not_waited_for(
    room: Beside, tmp_path: Path, fleet: Fleet
) -> None:
    batches = crowd(fleet, 100, 6)
    expected = alone(tmp_path / "alone", fleet, batches)
    given(room, batches)
    room.work()
    with room.sequencer.store.write() as connection:
        connection.execute(sa.update(schema.proposals).values(found=b"\x81\x01"))
    finish(room)
    assert last_findings(room) == expected


def test_a_finding_of_another_set_is_not_signed_and_what_is_late_is_given_once(
    room: Beside, fleet: Fleet
) -> None:
    given(room, crowd(fleet, 100, 7))
    room.work()
    with room.sequencer.store.write() as connection:
        table = schema.proposals
        found = {
            row.portion: proposal.unpack(row.found) for row in connection.execute(sa.select(table))
        }
        for portion, computed in found.items():
            numbers = list(computed)
            others = [computed[number] for number in (*numbers[1:], numbers[0])]
            moved = dict(zip(numbers, others, strict=True))
            changed = sa.update(table).where(table.c.portion == portion)
            connection.execute(changed.values(found=proposal.pack(moved)))
    finish(room)
    assert room.states()["matched"] > 0
    assert room.checked > 0
    room.portions.monotonic = lambda: PORTIONS_ALONE_S + 1
    room.workers[0].turn()
    with room.sequencer.store.write() as connection:
        connection.execute(sa.update(schema.workers).values(beat_ms=1 << 50))
    room.clock.now_ms += 2 * HANDOVER.deadline_ms
    finish(room)
    pending = room.states()["pending"]
    assert (room.portions.out, room.tick(), room.portions.out) == (pending, 0, pending)
    room.settle()
    assert "pending" not in room.states()


class Broken(Exception):
    pass


def break_at(point: str) -> None:
    if point == steps.SEQUENCED:
        raise Broken


def test_a_turn_that_fails_leaves_nothing_with_nobody(
    room: Beside, tmp_path: Path, fleet: Fleet
) -> None:
    batches = crowd(fleet, 100, 9)
    expected = alone(tmp_path / "alone", fleet, batches)
    given(room, batches)
    room.work()
    steps.on_step(break_at)
    with pytest.raises(Broken):
        room.tick()
    steps.on_step(None)
    room.settle()
    assert due(room) == 0
    assert last_findings(room) == expected


def test_nothing_is_closed_before_its_time_or_computed_that_is_due_again(
    room: Beside, fleet: Fleet
) -> None:
    given(room, crowd(fleet, 100, 8))
    with room.sequencer.store.write() as connection:
        portions, sets = schema.portions, schema.party_sets
        # As by a clock that is ahead.
        later = room.clock.now_ms + 2 * HANDOVER.deadline_ms
        connection.execute(sa.update(portions).values(now_ms=later))
        newest = sa.select(sa.func.max(portions.c.portion)).scalar_subquery()
        changed = sa.update(sets).where(sets.c.portion == newest).values(dirty=True)
        again = connection.execute(changed).rowcount
    room.work()
    (last,) = room.rows("SELECT found FROM proposals ORDER BY portion DESC LIMIT 1")
    assert (again > 0, proposal.unpack(last[0])) == (True, {})
    room.tick()
    assert room.states()["pending"] > again
    assert room.rows("SELECT count(*) FROM party_sets WHERE closing IS NOT NULL") == [(0,)]
