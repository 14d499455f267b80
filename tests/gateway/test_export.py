"""`tally gateway export`: what a store holds, as files that others use without the gateway."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from click.testing import CliRunner, Result

from support.devices import Device, Fleet, key
from support.keychanges import rotate
from support.notary import Notary
from support.site import Site, until
from support.validating import HANDOVER
from tallystick.evidence import cbor, evidencefile, root
from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.evidence.keys import b64u, device_text
from tallystick.gateway import (
    exportedclaims,
    exportedevidence,
    exporting,
    holds,
    importing,
    limits,
)
from tallystick.gateway.config import load
from tallystick.gateway.exporting import Wanted
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import open_reader, operator_write
from tallystick.tools.main import cli
from tallystick.verify import Policy, check, load_evidence

ACME = Fleet("acme")
NAMESPACE = "dock-3"


@pytest.fixture(autouse=True)
def logs_as_before() -> Iterator[None]:
    """The import command configures them for its own standard error."""
    yield
    structlog.reset_defaults()


def tally(*words: object) -> Result:
    shown = CliRunner().invoke(cli, ["gateway", *map(str, words)])
    if shown.exception is not None and not isinstance(shown.exception, SystemExit):
        raise shown.exception
    return shown


def robot_of(count: int, name: str = "robot-1") -> Device:
    robot = ACME.device(name)
    for _ in range(count):
        robot.record(4)
    return robot


class House:
    """A site's store with what was given to it, and exports of it."""

    def __init__(self, folder: Path, validators: str = "") -> None:
        self.folder = folder
        self.site = Site(folder / "site", ACME, 1, validators=validators)

    def give(self, *robots: Device) -> None:
        pairs = [
            (robot.id, data) for robot in robots for data in (robot.hello(), *robot.segments())
        ]
        assert not importing.take_in(self.site.config, pairs).refused

    def other(self, name: str = "dock-south") -> Site:
        return Site(self.folder / name, ACME, 1, name=name)

    def export(self, *words: object, to: str = "out") -> dict[str, Any]:
        shown = tally("export", "--config", self.site.path, "--to", self.folder / to, *words)
        assert shown.exit_code in {0, 1}, shown.output
        found: dict[str, Any] = json.loads((self.folder / to / "export.json").read_text())
        return {**found, "output": shown.stdout, "code": shown.exit_code}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def stored(site: Site) -> dict[bytes, list[bytes]]:
    """Each device's segments, in the gateway's order."""
    reader = open_reader(site.config.store)
    rows = reader.execute(
        "SELECT device, data FROM segments JOIN tracks USING (track) ORDER BY at"
    ).fetchall()
    reader.close()
    found: dict[bytes, list[bytes]] = {}
    for device, data in rows:
        found.setdefault(device, []).append(data)
    return found


def test_what_is_exported_is_imported_byte_for_byte(house: House) -> None:
    one, two = robot_of(5), robot_of(3, "robot-2")
    later = one.new_epoch(b"epoch--2")
    later.record(3)
    house.give(one, two, later)
    found = house.export()
    assert (found["code"], found["devices"], found["segments"]) == (0, 2, 9)
    assert found["damaged_segments"] == found["edges_added"] == found["parked"] == 0
    out = house.folder / "out"
    modes = {path.stat().st_mode & 0o077 for path in [out, *out.rglob("*")]}
    assert modes == {0}
    assert [path.name for path in house.folder.glob(".*")] == []
    lines = (out / "devices" / one.text / "segments.jsonl").read_text().splitlines()
    assert [json.loads(line)["from"] for line in lines] == [0, 5, 9, 13, 17, 0]
    assert all(json.loads(line)["as_stored"] for line in lines)
    other = house.other()
    shown = tally("import", out, "--config", other.path, "--json")
    assert json.loads(shown.stdout)["refused"] == {}
    assert stored(other) == stored(house.site)
    assert sorted(path.name for path in (out / "devices" / one.text / "custody").iterdir())


def test_a_period_of_one_device_carries_its_edge(house: House, tmp_path: Path) -> None:
    one, two = robot_of(6), robot_of(2, "robot-2")
    house.give(one, two)
    with operator_write(house.site.config.store) as connection:
        connection.execute("UPDATE segments SET time_ms = 1000 * first")
    found = house.export("--device", one.text, "--from", "9", "--until", "21")
    assert (found["devices"], found["segments"], found["edges_added"]) == (1, 3, 1)
    assert "1 segments got the tree's edge" in found["output"]
    assert not (tmp_path / "out" / "devices" / two.text).exists()
    done = tally("import", tmp_path / "out", "--config", house.other().path, "--json")
    assert json.loads(done.stdout)["segments"] == 3
    assert json.loads(done.stdout)["refused"] == {}


def test_what_is_missing_is_said(house: House) -> None:
    robot = robot_of(6)
    house.give(robot)
    with operator_write(house.site.config.store) as connection:
        connection.execute("UPDATE segments SET crc = crc + 1 WHERE at = 2")
        connection.execute("INSERT INTO pruned VALUES (4, 1)")
        connection.execute(
            "INSERT INTO validators (name, key, cursor, verdicts_after, batches) "
            "VALUES ('insurer', x'00', 0, 0, 0)"
        )
        holds.begin(connection, "dock-7", "")
    found = house.export()
    assert (found["code"], found["segments"], found["damaged"]) == (1, 5, [2])
    assert found["pruned"] == {"decisions": 1}
    assert found["not_receipted"] == {"insurer": 5}
    assert found["holds"] == ["dock-7"]
    # What comes behind the one that was left out carries its edge.
    assert found["edges_added"] == 1
    for says in ("damaged segments were left out", "pruned", "not receipted by insurer", "dock-7"):
        assert says in found["output"]


def test_nothing_is_overwritten_and_nothing_half_is_left(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.give(robot_of(2))
    house.export()
    before = sorted(path.name for path in house.folder.iterdir())
    with pytest.raises(CouldNotCheck, match="overwrites nothing"):
        exporting.export(house.site.config, house.folder / "out", Wanted(), {})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exportedclaims.Claims, "files", full)
    with pytest.raises(CouldNotCheck, match="No space left"):
        exporting.export(house.site.config, house.folder / "more", Wanted(), {})
    assert sorted(path.name for path in house.folder.iterdir()) == before


def test_devices_are_named_by_what_people_know(house: House) -> None:
    tagged = ACME.device("tagged")
    tagged.credential = ACME.enrol(tagged.signer, details={"asset_tag": "R-7"})
    tagged.record(2)
    house.give(tagged, robot_of(2))
    config = house.site.config
    assert exporting.devices_named(config, ["R-7"]) == (tagged.id,)
    assert exporting.devices_named(config, [tagged.text, "R-7"]) == (tagged.id,)
    with pytest.raises(Malformed, match="no device here is 'R-8'"):
        exporting.devices_named(config, ["R-8"])


def judged(notary: Notary, site: Site) -> tuple[bytes, list[Device]]:
    """A gateway that has claims of a handover, a validator's receipts and its verdict."""
    config = load(site.path)
    gateway = Gateway(config)
    giver, receiver = ACME.device("giver"), ACME.device("receiver")
    parties = {"giver": [giver.id], "receiver": [receiver.id]}
    for robot, role, name in ((giver, "giver", "released"), (receiver, "receiver", "acquired")):
        robot.record(3)
        robot.claim(
            "order-1", role, name, parties, HANDOVER.digest, item="pallet", position_m=[1, 2]
        )
        robot.record(2)
    try:
        gateway.stop()
        pairs = [(r.id, data) for r in (giver, receiver) for data in (r.hello(), *r.segments())]
        importing.take_in(config, pairs)
        gateway = Gateway(config)
        for way in gateway.ways:
            way.start()

        def verdict() -> Any:
            reader = gateway.store.reader()
            found = reader.execute("SELECT interaction FROM verdicts").fetchone()
            reader.close()
            return found

        (interaction,) = until(verdict, "the verdict")
    finally:
        gateway.stop()
    return interaction, [giver, receiver]


def _what_does_not_fit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    # An interaction of more claims than a file has room for: what is left out is said.
    whole = evidencefile.parse((house.folder / "case/interactions/000001.tally").read_bytes())
    assert len(whole.halves) == 2
    monkeypatch.setattr(limits, "EXPORT_EVIDENCE_BYTES", len(whole.halves[0].encode()))
    found = house.export(to="short")
    assert (found["interactions"], found["interactions_cut"], found["claims_lacking"]) == (1, 1, 2)
    assert "1 evidence files lack some claims or verdicts" in found["output"]
    line = json.loads((house.folder / "short" / "interactions.jsonl").read_text())
    assert (line["cut"], line["claims"], line["lacking"]) == (True, 0, 2)
    short = evidencefile.parse((house.folder / "short/interactions/000001.tally").read_bytes())
    assert short.halves == []
    assert "It was cut" in str(short.note)
    monkeypatch.undo()
    # Of what credentials leave, half after half is tried.
    length = len((house.folder / "case/interactions/000001.tally").read_bytes())
    monkeypatch.setattr(exportedevidence, "EVIDENCE_BYTES_MAX", length - 1)
    monkeypatch.setattr(limits, "EXPORT_EVIDENCE_BYTES_MIN", 1)
    assert house.export(to="less")["interactions_cut"] == 1
    less = evidencefile.parse((house.folder / "less/interactions/000001.tally").read_bytes())
    assert len(less.entries) > 0
    monkeypatch.setattr(exportedevidence, "EVIDENCE_BYTES_MAX", 100)
    found = house.export(to="never")
    assert (found["interactions"], found["interactions_too_long"]) == (0, 1)
    assert json.loads((house.folder / "never/interactions.jsonl").read_text())["file"] is None
    monkeypatch.undo()


def test_evidence_of_an_interaction_is_verified_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    house = House(tmp_path, notary.toml)
    try:
        interaction, robots = judged(notary, house.site)
    finally:
        notary.stop()
    found = house.export("--interaction", f"acme/{b64u(bytes(16))}")
    assert (found["code"], found["interactions"]) == (1, 0)
    assert "no evidence of the interaction acme/AAAA" in found["output"]
    found = house.export("--interaction", f"{NAMESPACE}/{b64u(interaction)}", to="case")
    assert (found["code"], found["interactions"], found["claims_lacking"]) == (0, 1, 0)
    out = tmp_path / "case"
    file = load_evidence((out / "interactions" / "000001.tally").read_bytes())
    policy = Policy.parse(
        f"""
roots = ["{ACME.root_line}"]
devices.custody = "software"
[profiles]
digests = ["{b64u(HANDOVER.digest)}"]
[validators]
at_least = 1
[[validators.accept]]
organisation = "Notary"
key = "{root.format_root(notary.name, notary.key)}"
"""
    )
    report = check(file, policy, int(time.time()))
    assert {record.device for record in report.records} == {robot.id for robot in robots}
    assert [said.recomputed for one in report.party_sets for said in one.said] == [True]
    _what_does_not_fit(house, monkeypatch)
    # And what proves each checkpoint of a device.
    heads = evidencefile.parse(
        (out / "devices" / device_text(robots[0].id) / "evidence" / "000001.tally").read_bytes()
    )
    assert heads.entries
    assert all(receipts for _, receipts in heads.entries)


def test_a_head_of_a_key_that_nobody_vouches_for_is_named_and_the_rest_goes_out(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    robots = [ACME.device(name) for name in ("renewed", "known")]

    def claims(robot: Device) -> Device:
        robot.claim(
            "order-1", "giver", "released", {"giver": [robot.id]}, HANDOVER.digest, item="pallet"
        )
        robot.seal()
        return robot

    house.give(*map(claims, robots))
    before = robots[0].credential
    renewed = rotate(robots[0], key("second key"))
    claims(renewed)
    given = [(renewed.id, data) for data in (renewed.hello(), renewed.segment(1))]
    assert not importing.take_in(house.site.config, given).refused
    with operator_write(house.site.config.store) as connection:
        # What is kept of its credential knows nothing of its second key.
        connection.execute(
            "UPDATE devices SET credential = ? WHERE device = ?",
            (cbor.encode(before), renewed.id),
        )
    found = house.export()
    assert (found["code"], found["segments"]) == (0, 3)
    assert (found["unvouched_segments"], found["unvouched"]) == (1, [2])
    # The same device's claim by its first key is no worse for it.
    assert found["interactions_unjudged"] == 1
    assert "no root vouches for the key" in found["output"]
    # Nor is it passed over in silence where no accepted root knows the device.
    monkeypatch.setattr(exporting, "_identity", lambda *_: None)
    assert sorted(house.export(to="again")["unvouched"]) == [0, 1, 2]


def test_no_evidence_file_is_longer_than_readers_take(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = robot_of(9)
    house.give(robot)
    head = len(robot.stretches[0].checkpoint)
    monkeypatch.setattr(limits, "EXPORT_EVIDENCE_BYTES", 2 * head)
    assert house.export()["evidence_files"] == 5
    files = sorted((house.folder / "out" / "devices" / robot.text / "evidence").iterdir())
    heads = [evidencefile.parse(file.read_bytes()).entries for file in files]
    assert [len(entries) for entries in heads] == [2, 2, 2, 2, 1]
    assert len({entry for entries in heads for entry, _ in entries}) == 9
    # Where credentials alone are too long nothing is written that nobody would read.
    monkeypatch.setattr(exportedevidence, "EVIDENCE_BYTES_MAX", 300)
    found = house.export(to="none")
    assert (found["evidence_files"], found["heads_left_out"]) == (0, 9)
    assert "9 checkpoints are in no evidence file" in found["output"]


def test_an_export_never_fills_the_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.give(robot_of(5))
    monkeypatch.setattr(
        "tallystick.gateway.exportroom.shutil.disk_usage",
        lambda _: SimpleNamespace(total=1 << 20, free=1 << 17),
    )
    with pytest.raises(CouldNotCheck, match="another disk"):
        tally("export", "--config", house.site.path, "--to", house.folder / "out")
    assert [path.name for path in house.folder.iterdir()] == ["site"]
    monkeypatch.undo()
    assert house.export()["code"] in {0, 1}
