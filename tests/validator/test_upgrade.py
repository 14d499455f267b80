"""F19: a store is upgraded while gateways go on sending, and killed in the middle of it; an older
program refuses the newer store. On SQLite and on PostgreSQL."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.operations import Operations

from gateway.test_forward import Sending, get, size_at
from support.devices import Fleet
from support.notary import Notary
from support.site import until
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.validator import migrations, schema
from validator.test_migrations import old_server, old_store

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
KILLED, DONE = 9, 0
# Statements between two kills; a server is asked more of them.
EVERY = {"sqlite": 4, "postgresql": 6}


def killed_everywhere(place: str, every: int) -> list[tuple[int, str]]:
    """How each migration ended, and what the store was then."""
    paths = [ROOT / n for n in ("tests", "firmware", "hw", "gateway", "validator", "tools")]
    ran = subprocess.run(
        [sys.executable, HERE / "_migrating.py", place, str(every)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = [line.split(" ", 2) for line in ran.stdout.splitlines()]
    return [(int(code), state) for _, code, state in lines]


@pytest.mark.databases
def test_a_migration_that_is_killed_at_any_statement_never_was(tmp_path: Path, store: str) -> None:
    server = "://" in store
    if server:
        old_server(tmp_path / "old", store)
    place = store if server else str(old_store(tmp_path / "old"))
    ends = killed_everywhere(place, EVERY["postgresql" if server else "sqlite"])
    *killed, (code, done) = ends
    assert code == DONE
    assert done.startswith(f"{schema.VERSION} ")
    assert len(killed) > 4
    assert {code for code, _ in killed} == {KILLED}
    # As it was each time, to the statement before the commit.
    before = killed[0][1]
    assert before.startswith("1 ")
    assert {state for _, state in killed} == {before}


def newer(operations: Operations) -> None:
    operations.add_column("checkpoints", sa.Column("more", sa.Integer))
    operations.create_table("newer", sa.Column("n", sa.Integer, primary_key=True))


def broken(operations: Operations) -> None:
    newer(operations)
    operations.execute("SELECT nothing FROM nowhere")


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    made = Sending(tmp_path / "gateway")
    yield made
    made.close()


class Load:
    """A robot that goes on recording, and its gateway that goes on sending."""

    def __init__(self, sending: Sending, fleet: Fleet) -> None:
        self.sending = sending
        self.robot = fleet.device()
        sending.gate.know(self.robot)

    def goes_on(self) -> None:
        for _ in range(5):
            self.robot.record(4)
            self.sending.give(self.robot, self.robot.segment(len(self.robot.stretches) - 1))

    def arrives(self) -> None:
        self.sending.sent(len(self.robot.stretches))


def program(monkeypatch: pytest.MonkeyPatch, *steps: Any) -> None:
    """The program is of as many versions later."""
    monkeypatch.setattr(migrations, "STEPS", (*migrations.STEPS, *steps))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + len(steps))


@pytest.mark.databases
def test_an_upgrade_in_the_middle_of_load(
    tmp_path: Path, fleet: Fleet, store: str, sending: Sending
) -> None:
    notary = Notary(tmp_path / "notary", fleet, store=f'"{store}"').start()
    load = Load(sending, fleet)
    sending.add(notary)
    load.goes_on()
    until(lambda: sending.validator()["batches"], "the first batch")
    load.goes_on()
    # An upgrade that fails: the older program goes on with the store as it was.
    notary.stop()
    with pytest.MonkeyPatch.context() as upgraded:
        program(upgraded, broken)
        load.goes_on()
        with pytest.raises(CouldNotCheck, match="the store is as it was"):
            notary.start()
    notary.start()
    load.goes_on()
    load.arrives()
    # One that is done; then the older program refuses, and changes nothing.
    with pytest.MonkeyPatch.context() as upgraded:
        program(upgraded, newer)
        load.goes_on()
        notary.stop()
        notary.start()
        load.goes_on()
        until(lambda: sending.validator()["cursor"] != 20, "a batch after it")
        load.arrives()
        notary.stop()
    load.goes_on()
    with pytest.raises(Malformed, match="was written by a newer tallystick"):
        notary.start()
    with pytest.MonkeyPatch.context() as upgraded:
        program(upgraded, newer)
        notary.start()
        load.goes_on()
        load.arrives()
        entries: Any = get(notary, "/v1/entries?count=1000")["entries"]
        assert [one["kind"] for one in entries].count(CHECKPOINT) == len(load.robot.stretches)
        assert size_at(notary, load.robot) == (4 * len(load.robot.stretches), load.robot.size)
        assert sending.validator()["set_aside"] == 0
        notary.stop()
