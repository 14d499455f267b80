"""Addresses with a user and a password: no command repeats them, and no enrolment takes one."""

import sys
from pathlib import Path

import pytest

from support.canary import Canaries
from tallystick.evidence.errors import Malformed
from tallystick.recorder.config import parse_uplink
from tallystick.tools._masked import has_user, masked
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.main import main

PASSWORD = "canary-of-a-url-2718"
# Nobody listens there.
URL = f"http://dock:{PASSWORD}@127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, "http://***@127.0.0.1:9"),
        (f"{URL}: {URL} is away", "http://***@127.0.0.1:9: http://***@127.0.0.1:9 is away"),
        ("mqtt://dock@broker", "mqtt://***@broker"),
        ("https://v.example/devices/a@b", "https://v.example/devices/a@b"),
        ("https://v.example?mail=a@b", "https://v.example?mail=a@b"),
        ("mail a@b.example, see https://v.example", "mail a@b.example, see https://v.example"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert has_user(text) == (shown != text)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    made = Fleet.init(tmp_path / "acme", "acme")
    made.enrol("validator", "v-1")
    made.enrol("device", "robot-1")
    made.close()
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o600)
    return tmp_path / "acme"


def commands(fleet: Path) -> list[list[str]]:
    token = str(fleet.parent / "token")
    credential = fleet / "validators/v-1/credential.cbor"
    evidence = ["--interaction", "acme/one", "--profile", "handover", "--out", "x.tally"]
    broker, peer = URL.replace("http", "mqtt"), f"{URL}={credential}"
    return [
        ["export", "--validator", URL, *evidence],
        ["log", "verify", URL],
        ["log", "verify", URL, "--json"],
        ["audit", URL],
        ["fleet", "publish", str(fleet), "robot-1", "--to", URL],
        ["fleet", "publish", str(fleet), "robot-1", "--to", URL, "--json"],
        ["fleet", "erase", str(fleet), "robot-1", "--to", URL, "--all", "--yes"],
        ["fleet", "invite", str(fleet), "--gateway", URL],
        ["fleet", "approve", str(fleet), "--gateway", URL],
        ["validator", "hold", "list", "--url", URL, "--token-file", token],
        ["fleet", "enroll", str(fleet), "robot-2", "--broker", broker],
        ["fleet", "enroll", str(fleet), "gw-1", "--kind", "gateway", "--broker", broker],
        ["fleet", "enroll", str(fleet), "gw-1", "--kind=gateway", "--validator", peer],
    ]  # fmt: skip


def test_no_command_repeats_it(
    fleet: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    canaries = Canaries(password=PASSWORD)
    monkeypatch.chdir(fleet.parent)
    for words in commands(fleet):
        monkeypatch.setattr(sys, "argv", ["tally", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code, words
        said = capfd.readouterr()
        # An address that does not answer, and not an option that is none.
        assert "No such" not in said.err, said.err
        assert "Missing" not in said.err, said.err
        canaries.hear(" ".join(words[:2]), said.out + said.err)
    canaries.look(fleet)
    assert canaries.found() == []
    opened = Fleet.open(fleet)
    assert {member.label for member in opened.members()} == {"v-1", "robot-1"}
    opened.close()


def test_a_robots_uplink_holds_none() -> None:
    with pytest.raises(Malformed) as refused:
        parse_uplink(URL.replace("http", "mqtt"))
    assert PASSWORD not in str(refused.value)
