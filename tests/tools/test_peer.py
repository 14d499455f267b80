"""`tally peer`: one file each, compared by voice; renewed, listed, removed."""

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tallystick.evidence import peerfile
from tallystick.evidence.errors import TallyError
from tallystick.tools import peer as commands
from tallystick.tools import peerdir
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import cli
from tallystick.validator import config as validator_config


class Companies:
    """Two fleets in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("acme", "borealis"):
            self.ok("fleet", "init", folder / name, "--name", name)
            self.ok("fleet", "enroll", folder / name, "v-1", "--kind", "validator")
            self.ok("fleet", "enroll", folder / name, "gw-1", "--kind", "gateway")
        self.file = folder / "borealis.peer"

    def run(self, *words: Any, given: str | None = None) -> Result:
        return CliRunner().invoke(cli, [str(word) for word in words], input=given)

    def ok(self, *words: Any) -> str:
        done = self.run(*words)
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.output

    def reason(self, *words: Any) -> str:
        """Why a command refused, and that it changed nothing."""
        before = self.files()
        done = self.run(*words)
        assert isinstance(done.exception, TallyError), (done.output, done.exception)
        assert self.files() == before
        return done.exception.reason

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for pattern in ("**/*.peer", "**/trusted/*.pub", "**/*.partial")
            for path in self.folder.glob(pattern)
        }

    def export(self, **options: Any) -> dict[str, Any]:
        url = ("--url", "v-1=https://validator.borealis.example")
        more = [word for name, value in options.items() for word in (f"--{name}", value)]
        out = self.ok("peer", "export", self.folder / "borealis", "--out", self.file, "--json",
                      *url, *more)  # fmt: skip
        found: dict[str, Any] = json.loads(out)
        return found

    def take(self, *options: Any) -> str:
        return self.ok("peer", "import", self.file, self.folder / "acme", *options)


@pytest.fixture
def two(tmp_path: Path) -> Companies:
    return Companies(tmp_path)


def test_an_export_says_who_where_and_until_when(two: Companies) -> None:
    told = two.export(organisation="Borealis AB")
    file = peerfile.parse(two.file.read_bytes()).verify(peerdir.now_s())
    assert (file.organisation, file.iss) == ("Borealis AB", "borealis")
    assert [url for url, _ in file.validators] == ["https://validator.borealis.example"]
    assert len(file.gateway_ids) == 1
    assert told["fingerprint"] == file.spoken and told["state"] == "in-force"
    shown = two.ok("peer", "export", two.folder / "acme", "--out", two.folder / "acme.peer")
    assert "only this machine reaches http://127.0.0.1:8470" in shown
    assert peerfile.parse((two.folder / "acme.peer").read_bytes()).spoken in shown
    # Who is left out is not in it; who is not there is an error.
    assert two.export(without="gw-1")["gateways"] == []
    assert two.reason("peer", "export", two.folder / "acme", "--without", "x",
                      "--out", two.folder / "x") == "bad-value"  # fmt: skip


def test_an_import_needs_the_fingerprint_or_a_yes(
    two: Companies, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = two.export()["fingerprint"]
    where = (two.file, two.folder / "acme")
    assert two.reason("peer", "import", *where) == "not-authorised"
    assert two.reason("peer", "import", *where, "--json") == "not-authorised"
    other = " ".join(said.split()[::-1])
    assert two.reason("peer", "import", *where, "--fingerprint", other) == "wrong-key"
    for short in ("", "12345", said[:-1], said + "1"):
        done = two.run("peer", "import", *where, "--fingerprint", short)
        assert done.exit_code == 2
    # At a terminal it asks; anything but a whole yes is a no.
    answers = iter(["no", "y", "yes"])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(answers))
    monkeypatch.setattr(commands, "_asks", lambda: True)
    assert two.reason("peer", "import", *where) == "not-authorised"
    assert two.reason("peer", "import", *where) == "not-authorised"
    shown = two.take()
    assert said in shown and "borealis is imported" in shown


def test_it_reaches_the_fleet_and_its_services(two: Companies) -> None:
    said = two.export()["fingerprint"]
    row = json.loads(two.take("--fingerprint", said.replace(" ", "-"), "--json"))
    written = {str(Path(path).relative_to(two.folder)) for path in row["written"]}
    assert written == {
        "acme/peers/borealis.peer",
        "acme/gateways/gw-1/peers/borealis.peer",
        "acme/validators/v-1/peers/borealis.peer",
    }
    assert row["renewed"] is False
    fleet = Fleet.open(two.folder / "acme")
    assert set(fleet.roots()) == {"acme", "borealis"}
    # Robots from now on pin the root; services from now on get the file, and the root by it.
    two.ok("fleet", "enroll", two.folder / "acme", "robot-1")
    robot = (two.folder / "acme/devices/robot-1/tallystick.json").read_text()
    assert "borealis+" in robot
    two.ok("fleet", "enroll", two.folder / "acme", "v-2", "--kind", "validator")
    config = validator_config.load(two.folder / "acme/validators/v-2/validator.toml")
    assert set(config.roots) == {"acme"}
    assert (two.folder / "acme/validators/v-2/peers/borealis.peer").exists()


def test_a_service_elsewhere_is_named_by_its_configuration(two: Companies) -> None:
    said = two.export()["fingerprint"]
    config = two.folder / "acme/validators/v-1/validator.toml"
    two.ok("peer", "import", two.file, config, "--fingerprint", said)
    assert list(two.files()) == ["borealis.peer", "acme/validators/v-1/peers/borealis.peer"]
    assert json.loads(two.ok("peer", "list", config, "--json"))["peers"][0]["name"] == "borealis"
    gateway = two.folder / "acme/gateways/gw-1/gateway.toml"
    gateway.write_text(gateway.read_text().replace('peer_files = "peers"\n', ""))
    assert two.reason("peer", "import", two.file, gateway) == "bad-value"


def test_a_newer_file_replaces_and_an_older_one_is_refused(two: Companies) -> None:
    said = two.export()["fingerprint"]
    two.take("--fingerprint", said)
    old = two.file.read_bytes()
    second = two.export(organisation="Borealis Two")
    assert "borealis is renewed" in two.take()  # nothing is asked
    rows = json.loads(two.ok("peer", "list", two.folder / "acme", "--json"))
    assert (rows["good"], rows["peers"][0]["organisation"]) == (True, "Borealis Two")
    assert rows["peers"][0]["fingerprint"] == second["fingerprint"]
    two.file.write_bytes(old)
    where = (two.file, two.folder / "acme", "--fingerprint", said)
    assert two.reason("peer", "import", *where) == "replayed"


def test_exports_of_one_millisecond_or_a_clock_set_back_still_follow(
    two: Companies, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.export()
    first = peerfile.parse(two.file.read_bytes()).made_ms
    now_s = peerdir.now_s()
    monkeypatch.setattr(peerdir, "now_s", lambda: now_s - 30)
    two.export()
    assert peerfile.parse(two.file.read_bytes()).made_ms == first + 1


def test_another_key_under_the_name_is_refused(two: Companies, tmp_path: Path) -> None:
    two.take("--fingerprint", two.export()["fingerprint"])
    two.ok("fleet", "init", tmp_path / "imposter", "--name", "borealis")
    two.ok("peer", "export", tmp_path / "imposter", "--out", two.file)
    said = peerfile.parse(two.file.read_bytes()).spoken
    where = (two.file, two.folder / "acme", "--fingerprint", said)
    assert two.reason("peer", "import", *where) == "wrong-key"
    # Whoever means it removes the peer first, and compares again.
    two.ok("peer", "remove", two.folder / "acme", "borealis")
    two.take("--fingerprint", said)


@pytest.mark.parametrize("cut", [0, 40, -1])
def test_a_file_that_is_cut_off_is_refused(two: Companies, cut: int) -> None:
    two.export()
    data = two.file.read_bytes()
    two.file.write_bytes(data[:cut])
    assert two.reason("peer", "import", two.file, two.folder / "acme") in {
        "truncated", "bad-type", "bad-value",
    }  # fmt: skip


def test_an_expired_file_is_refused(two: Companies, monkeypatch: pytest.MonkeyPatch) -> None:
    said = two.export(**{"valid-days": 1})["fingerprint"]
    now_s = peerdir.now_s()
    monkeypatch.setattr(peerdir, "now_s", lambda: now_s + 2 * 86_400)
    where = (two.file, two.folder / "acme", "--fingerprint", said)
    assert two.reason("peer", "import", *where) == "expired"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8470", "http://localhost", "http://[::1]:1", "http://169.254.169.254"]
)
def test_an_address_inside_is_refused(two: Companies, url: str) -> None:
    """A20: a peer must not make our services ask our own machine."""
    two.ok("peer", "export", two.folder / "borealis", "--out", two.file, "--url", f"v-1={url}")
    said = peerfile.parse(two.file.read_bytes()).spoken
    where = (two.file, two.folder / "acme", "--fingerprint", said)
    assert two.reason("peer", "import", *where) == "bad-value"
    two.take("--fingerprint", said, "--local")
    # Nor later, in a renewal, which asks for nothing else.
    two.ok("peer", "export", two.folder / "borealis", "--out", two.file, "--url", f"v-1={url}")
    assert two.reason("peer", "import", two.file, two.folder / "acme") == "bad-value"


def test_a_list_shows_the_end_before_it_comes(
    two: Companies, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nobody was imported" in two.ok("peer", "list", two.folder / "acme")
    now_s = peerdir.now_s()
    monkeypatch.setattr(peerdir, "now_s", lambda: now_s)
    two.take("--fingerprint", two.export()["fingerprint"])

    def listed() -> tuple[int, str]:
        done = two.run("peer", "list", two.folder / "acme", "--json")
        return done.exit_code, json.loads(done.output)["peers"][0]["state"]

    assert listed() == (0, "in-force")
    monkeypatch.setattr(peerdir, "now_s", lambda: now_s + 350 * 86_400)
    assert listed() == (0, "expires-soon")
    assert " 15 " in two.ok("peer", "list", two.folder / "acme")
    monkeypatch.setattr(peerdir, "now_s", lambda: now_s + 366 * 86_400)
    assert listed() == (1, "expired")
    (two.folder / "acme/peers/borealis.peer").write_bytes(b"\xd2junk")
    assert listed() == (1, "bad")


def test_a_removal_takes_all_of_it_away(two: Companies) -> None:
    two.take("--fingerprint", two.export()["fingerprint"])
    row = json.loads(two.ok("peer", "remove", two.folder / "acme", "borealis", "--json"))
    assert len(row["removed"]) == 4
    assert list(two.files()) == ["borealis.peer"]
    assert set(Fleet.open(two.folder / "acme").roots()) == {"acme"}
    assert two.reason("peer", "remove", two.folder / "acme", "borealis") == "bad-value"
    assert two.reason("peer", "remove", two.folder / "acme", "../x") != ""


def test_a_service_that_does_not_look_is_named(two: Companies) -> None:
    """Configurations of before have no folder of peers."""
    gateway = two.folder / "acme/gateways/gw-1/gateway.toml"
    gateway.write_text(gateway.read_text().replace('peer_files = "peers"\n', ""))
    two.ok("fleet", "enroll", two.folder / "acme", "robot-1")
    shown = two.take("--fingerprint", two.export()["fingerprint"])
    assert f"{gateway} looks into no folder of peers" in shown
    assert "acme/devices/robot-1/tallystick.json" in shown
