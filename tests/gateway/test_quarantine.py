"""docs/durability.md, section 5: set aside with a reason, shown, exported, sent again."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.notary import Notary
from support.site import Site
from support.validating import load
from tallystick.evidence.errors import Malformed
from tallystick.gateway import limits
from tallystick.gateway.aside import waits_ms
from tallystick.gateway.forward import Forwarder
from tallystick.tools.gateway import gateway

ACME, OTHER = Fleet("acme"), Fleet("borealis")


class House:
    """A gateway of two fleets before a validator that knows one of them."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder / "site", ACME, 1)
        self.gate = MemoryGateway(folder / "site", ACME, OTHER)
        self.known, self.unknown = ACME.device(), OTHER.device("robot-b")
        self.notary = Notary(folder / "notary", ACME).start()
        self.folder = folder
        self.forwarder = Forwarder(
            self.notary.peer(),
            self.gate.store,
            self.gate.signing,
            tuple(self.gate.credential),
            self.gate.down_queue,
            threading.Event(),
        )

    def fill(self) -> None:
        for robot in (self.known, self.unknown):
            self.gate.know(robot)
            robot.record(3)
            robot.record(3)
            self.gate.give(robot, *robot.segments())
        self.turns()

    def turns(self, count: int = 12) -> None:
        for _ in range(count):
            self.forwarder._choice.aside_s = 0.0
            self.forwarder.turn()

    def learn(self) -> None:
        """The validator is told of the other fleet, and starts again."""
        self.notary.stop()
        port = self.notary.port
        self.notary._config = load(
            self.folder / "notary", [ACME, OTHER], bind=f'"127.0.0.1:{port}"'
        )
        self.notary.start()

    def aside(self) -> list[tuple[object, ...]]:
        reader = self.gate.store.reader()
        rows = reader.execute("SELECT at, reason, tries FROM set_aside ORDER BY at").fetchall()
        reader.close()
        return rows

    def tally(self, *arguments: str) -> Result:
        shown = CliRunner().invoke(
            gateway, ["quarantine", *arguments, "--config", str(self.site.path)]
        )
        if shown.exception is not None and not isinstance(shown.exception, SystemExit):
            raise shown.exception
        return shown

    def receipts(self) -> int:
        found: list[dict[str, int]] = self.gate.status()["validators"]  # type: ignore[assignment]
        return found[0]["receipts"]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.notary.stop()
    made.gate.store.close()


def test_set_aside_shown_retried_and_taken(house: House) -> None:
    house.fill()
    aside = house.aside()
    assert [(at, tries) for at, _, tries in aside] == [(2, 1), (3, 1)]
    # The others were taken, and nothing is tried before its time.
    before = house.receipts()
    assert house.forwarder.cursor == 4
    house.turns()
    assert house.aside() == aside
    rows = json.loads(house.tally("list", "--json").output)
    assert [row["id"] for row in rows] == ["validator:notary:2", "validator:notary:3"]
    assert {row["device"] for row in rows} == {house.unknown.text}
    assert "validator:notary:2" in house.tally("list").output
    # An operator's try, in vain: counted, and the next wait is longer.
    assert "2 to be tried" in house.tally("retry", "--all").output
    house.turns()
    assert [tries for _, _, tries in house.aside()] == [2, 2]
    # The cause is put right.
    house.learn()
    assert "1 to be tried" in house.tally("retry", "validator:notary:2").output
    house.tally("retry", "validator:notary:3")
    house.turns(30)
    assert house.aside() == []
    assert house.receipts() >= before + 2
    assert house.tally("list").output == "nothing is in quarantine\n"


def test_waits_double_up_to_a_day_and_never_end() -> None:
    waits = [waits_ms(tries) for tries in range(1, 40)]
    assert waits[:3] == [60_000, 120_000, 240_000]
    assert waits == sorted(waits)
    assert set(waits[12:]) == {limits.RETRY_ASIDE_MS_MAX}
    assert waits_ms(10**9) == 86_400_000


def test_what_is_due_goes_by_itself(house: House) -> None:
    house.fill()
    house.learn()
    with house.gate.store.write() as connection:
        connection.execute("UPDATE set_aside SET retry_ms = 1")
    house.turns(30)
    assert house.aside() == []


def test_one_entry_is_shown_and_exported(house: House, tmp_path: Path) -> None:
    house.fill()
    shown = house.tally("show", "validator:notary:3").output
    assert "reason: " in shown
    assert house.unknown.text in shown
    assert json.loads(house.tally("show", "validator:notary:3", "--json").output)["place"] == 3
    file = tmp_path / "out.segment"
    house.tally("export", "validator:notary:3", str(file))
    assert file.read_bytes() == house.unknown.segments()[1]
    other = tmp_path / "other.segment"
    said = house.tally("export", "validator:notary:3", str(other), "--json").output
    assert json.loads(said)["bytes"] == other.stat().st_size
    assert json.loads(house.tally("retry", "validator:notary:3", "--json").output) == {"retried": 1}
    with pytest.raises(Malformed, match="there already"):
        house.tally("export", "validator:notary:3", str(file))
    with pytest.raises(Malformed, match="nothing in quarantine"):
        house.tally("show", "validator:notary:1")
    assert house.tally("retry").exit_code == 2
    assert house.tally("retry", "validator:notary:3", "--all").exit_code == 2


def test_what_a_list_has_no_room_for_is_there_by_its_id(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.fill()
    monkeypatch.setattr(limits, "QUARANTINE_SHOWN_MAX", 1)
    said = house.tally("list").output
    assert "validator:notary:3" not in said
    assert "1 more; `retry --all` takes them all" in said
    assert json.loads(house.tally("show", "validator:notary:3", "--json").output)["place"] == 3
    assert "1 to be tried" in house.tally("retry", "validator:notary:3").output
    # What is only written like an id is none.
    for wrong in ("validator:notary:03", "validator:3", "poison:3", "damaged:-1", "3", "damaged:"):
        with pytest.raises(Malformed, match="nothing in quarantine"):
            house.tally("show", wrong)


def test_poison_is_listed_and_tried_when_asked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot: Device = ACME.device("robot-c")
    robot.record(2)
    house.gate.know(robot)

    def fails(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(house.gate.worker.core._placer, "place", fails)
        house.gate.give(robot, *robot.segments())
    (row,) = json.loads(house.tally("list", "--json").output)
    assert (row["id"], row["reason"]) == ("poison:1", "ZeroDivisionError")
    assert "at a start" in house.tally("list").output
    house.tally("retry", "poison:1")
    house.gate.worker._poison._looked_s = 0.0
    house.gate.turn()
    assert json.loads(house.tally("list", "--json").output) == []
    assert house.gate.custody(robot)[-1].to == robot.size
