"""Workers verify ahead of the sequencer: the same log, the same answers, nothing twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from support.crew import Crew, same_keys
from support.devices import Fleet
from support.validating import Gateway, Room, compress, handover
from tallystick.evidence import batchanswer
from tallystick.evidence.errors import TallyError
from tallystick.tools.postgres import Postgres
from tallystick.validator import steps
from tallystick.validator.sequencer import Sequencer

BOMB = zstandard.ZstdCompressor().compress(bytes(64 << 20))


@pytest.fixture(autouse=True)
def short_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a test are short: they are handed over all the same."""
    monkeypatch.setattr("tallystick.validator.inbox.INBOX_BATCH_BYTES_MIN", 1)


@pytest.fixture
def crew(tmp_path: Path, fleet: Fleet, postgres: Postgres) -> Iterator[Crew]:
    made = Crew(tmp_path / "crew", [fleet, Fleet("borealis")], postgres.database())
    made.begin()
    yield made
    steps.on_step(None)
    made.close()


def broken(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def story(fleet: Fleet, count: int = 4) -> list[bytes]:
    """Batches of handovers, one of them with bad segments among good ones, compressed."""
    giver, receiver, gateway = fleet.device("a"), fleet.device("b"), Gateway(fleet)
    others = [fleet.device(f"c{n}") for n in range(4)]
    batches = []
    for n in range(count):
        giver.record(3)
        handover(giver, receiver, f"order-{n}")
        giver.custody = None
        receipt = gateway.custody(giver, gateway.time_ms)
        giver.record(1)
        first = len(gateway.items)
        at = 3 * n
        gateway.take(giver.segment(at, at + 3), receiver.segment(n, n + 1))
        for nth, other in enumerate(others):
            other.record(2)
            # Where it is one that a gateway can log: a record, a signature, a seed.
            data = other.segment(n, n + 1)
            gateway.take(broken(data, (70, len(data) - 3)[nth % 2]) if n == 1 else data)
        known = [giver, receiver, *others] if not n else []
        batches.append(gateway.batch(first, devices=known, receipts=[receipt]))
    return [compress(data) for data in batches]


def entries(sequencer: Sequencer) -> list[bytes]:
    with sequencer.store.read() as connection:
        return list(connection.exec_driver_sql("SELECT data FROM entries ORDER BY entry").scalars())


def alone(
    tmp_path: Path, fleets: list[Fleet], batches: list[bytes]
) -> tuple[list[object], list[bytes]]:
    """Answers and log of one process that does everything, with the same keys."""
    room = Room(same_keys(tmp_path / "alone", tmp_path / "crew"), fleets)
    try:
        found: list[object] = []
        for data in batches:
            try:
                found.append(room.sequencer._batch(data, None))
            except TallyError as error:
                found.append((error.reason, error.message))
            room.settle()
        return found, entries(room.sequencer)
    finally:
        room.close()


def test_the_log_and_the_answers_are_those_of_one_process(
    crew: Crew, tmp_path: Path, fleet: Fleet
) -> None:
    batches = [*story(fleet), BOMB, compress(b"no batch")]
    answers = crew.answers(batches)
    told = crew.inbox.told()
    assert (told.used, told.too_late, told.waiting) == (len(batches) - 1, 0, 0)
    refused = [batchanswer.parse(one).refused for one in answers[:4] if isinstance(one, bytes)]
    assert [len(found) for found in refused] == [0, 4, 4, 4]
    assert [one[0] for one in answers[4:]] == ["too-large", "bad-type"]  # type: ignore[index]
    logged = entries(crew.sequencer)
    # A batch that is sent again: its answer, and nothing else happens.
    assert crew.answers(batches[:3]) == answers[:3]
    assert entries(crew.sequencer) == logged
    assert alone(tmp_path, [fleet, Fleet("borealis")], batches) == (answers, logged)
