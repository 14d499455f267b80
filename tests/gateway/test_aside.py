"""What a validator did not take is sent again, whatever the clock is set to meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from tallystick.gateway import limits
from tallystick.gateway.aside import Aside
from tallystick.gateway.batching import Builder

ACME = Fleet("acme")
NOW_MS = 1_790_000_000_000
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[MemoryGateway]:
    made = MemoryGateway(tmp_path, ACME)
    robot = ACME.device()
    robot.record(3)
    made.know(robot)
    made.give(robot, *robot.segments())
    yield made
    made.store.close()


def test_a_clock_that_was_set_back_keeps_nothing_waiting(gate: MemoryGateway) -> None:
    aside = Aside("notary", Builder("notary", "full", gate.signing, tuple(gate.credential)))
    with gate.store.write_aside() as connection:
        connection.execute("INSERT INTO validators VALUES ('notary', x'', 1, 0, 1, 0, NULL, NULL)")
        aside.put(connection, [(0, "internal-error")], NOW_MS + YEAR_MS)
    reader = gate.store.reader()
    assert [at for _, at in aside.due(reader, NOW_MS)] == [0]
    assert aside.due(reader, NOW_MS + YEAR_MS) == []
    with gate.store.write_aside() as connection:
        aside.put(connection, [(0, "internal-error")], NOW_MS)
    assert aside.due(reader, NOW_MS) == []
    assert aside.due(reader, NOW_MS + 2 * limits.RETRY_ASIDE_MS_MIN) != []
    reader.close()
