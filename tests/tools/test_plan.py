"""`tally plan` computes what real segments and a real store take."""

import json
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from tallystick.evidence.digest import sha256
from tallystick.gateway.forward import Forwarder
from tallystick.tools import planning
from tallystick.tools.plan import plan_

ACME = Fleet("x" * 20)  # the longest name: as planned
COUNT, RECORDS = 120, 64


def test_a_segment_is_as_long_as_planned() -> None:
    robot = ACME.device()
    for _ in range(3):
        robot.record(RECORDS)
    record = robot.stretches[2].records[5]
    planned = planning.plan(planning.Fleet(1, 1.0, len(record), RECORDS, 0, 1))
    # Indexes and times have lengths of their own, and no receipt is named here.
    assert abs(planned.segment_bytes - len(robot.segments()[2])) < 80
    assert planned.added_bytes_per_decision < 8


@pytest.mark.parametrize("validators", [0, 1])
def test_a_store_takes_what_is_planned(validators: int, tmp_path: Path) -> None:
    gate = MemoryGateway(tmp_path / "gateway", ACME)
    robot = ACME.device()
    gate.know(robot)
    empty = gate.store.usage().used
    for n in range(COUNT):
        for k in range(RECORDS):
            robot.decision(random=sha256(bytes([n, k])))
        robot.seal()
        gate.give(robot, robot.segments()[-1])
        # The next checkpoint names it, as a device's does.
        robot.custody = gate.custody(robot)[-1].digest
    record = robot.stretches[1].records[5]
    if validators:
        notary = Notary(tmp_path / "notary", ACME).start()
        try:
            made_ = Forwarder(
                notary.peer(),
                gate.store,
                gate.signing,
                tuple(gate.credential),
                gate.down_queue,
                threading.Event(),
            )
            while made_.turn() == 0:
                pass
        finally:
            notary.stop()
    taken = gate.store.usage().used - empty
    fleet = planning.Fleet(1, RECORDS * COUNT / 86_400, len(record), RECORDS, validators, 1)
    planned = planning.plan(fleet)
    assert planned.segments_per_day == pytest.approx(COUNT)
    assert planned.store_bytes == pytest.approx(taken, rel=0.15)
    gate.store.close()


def test_it_says_so_as_a_table_and_as_json() -> None:
    arguments = ["--devices", "20", "--decisions", "10", "--days", "7"]
    table = CliRunner().invoke(plan_, arguments)
    assert table.exit_code == 0
    assert "gateway's disk after 7 days" in table.output
    found = json.loads(CliRunner().invoke(plan_, [*arguments, "--json"]).output)
    assert found["fleet"]["devices"] == 20
    figures = found["plan"]
    assert figures["segments_per_day"] == pytest.approx(20 * 10 / 64 * 86_400)
    assert figures["store_left_bytes_per_day"] < figures["store_bytes_per_day"]
    assert figures["device_up_bits_per_s"] > 8 * 10 * 100
    wrong = CliRunner().invoke(plan_, ["--records", "4096", "--bytes", "4096"])
    assert wrong.exit_code == 2
    assert "256 KiB" in wrong.output


def test_more_of_everything_takes_more() -> None:
    base = planning.plan(planning.Fleet(10, 10.0, 100, 64, 2, 30))
    for fleet in (
        planning.Fleet(11, 10.0, 100, 64, 2, 30),
        planning.Fleet(10, 11.0, 100, 64, 2, 30),
        planning.Fleet(10, 10.0, 101, 64, 2, 30),
        planning.Fleet(10, 10.0, 100, 32, 2, 30),
        planning.Fleet(10, 10.0, 100, 64, 3, 30),
        planning.Fleet(10, 10.0, 100, 64, 2, 31),
    ):
        assert planning.plan(fleet).store_bytes > base.store_bytes
