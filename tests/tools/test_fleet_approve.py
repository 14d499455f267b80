"""`tally fleet invite` and `tally fleet approve`: by door and by folder, a hundred, interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support import heldkeys
from support.joinfleet import JoinFleet, asking, door_of
from support.site import until
from tallystick.evidence import cbor, joinanswer
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import ES256, device_text
from tallystick.gateway import limits
from tallystick.gateway.service import Gateway
from tallystick.hw.signer import Signer
from tallystick.recorder import config as recorder_config
from tallystick.tools import joincsv
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.gateway import gateway as gateway_command
from tallystick.tools.mosquitto import Mosquitto


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> JoinFleet:
    return JoinFleet(tmp_path, f"mqtt://127.0.0.1:{mosquitto.port}")


@pytest.fixture
def gateway(site: JoinFleet) -> Iterator[Gateway]:
    with site.running() as running:
        yield running


def robots(folder: Path, count: int) -> list[Signer]:
    return [Signer.create(f"file:{folder / f'robot-{n}.key'}") for n in range(count)]


def codes(site: JoinFleet, where: str, *options: str) -> list[str]:
    said = site.tally("invite", str(site.folder), "--gateway", where, "--json", *options)
    return [row["code"] for row in json.loads(said.stdout)["codes"]]


def knock(gateway: Gateway, code: str, signer: Signer, **details: object) -> bytes | None:
    assert gateway.joining is not None
    return gateway.joining.joins.ask(asking(code, signer, **details).encode(), int(time.time()))  # type: ignore[arg-type]


def approve(
    site: JoinFleet, where: str, *options: str, code: int = 0, given: str | None = None
) -> dict[str, object]:
    arguments = ["approve", str(site.folder), "--gateway", where, "--json", *options]
    said = site.tally(*arguments, code=code, given=given)
    found: dict[str, object] = json.loads(said.stdout.splitlines()[-1])
    return found


def listed(folder: Path, text: str) -> str:
    path = folder / "robots.csv"
    path.write_text(text)
    return str(path)


def test_a_hundred_with_one_confirmation(site: JoinFleet, gateway: Gateway, tmp_path: Path) -> None:
    """By the door; each gets its answer, and is known to the gateway without a restart."""
    where = door_of(gateway)
    given = codes(site, where, "--count", "100")
    signers = robots(tmp_path, 100)
    for n, (code, signer) in enumerate(zip(given, signers, strict=True)):
        assert knock(gateway, code, signer, serial=f"{n:04}") is None
    lines = [f"{n:04},robot-{n},A-{n:04},agv-{n}" for n in range(100)]
    path = listed(tmp_path, "serial,label,asset_tag,names.vda5050\n" + "\n".join(lines) + "\n")
    dry = approve(site, where, "--from", path, "--dry-run")
    assert dry["approved"] == [] and len(dry["matched"]) == 100  # type: ignore[arg-type]
    assert list((site.folder / "devices").iterdir()) == []
    said = site.tally(
        *("approve", str(site.folder), "--gateway", where, "--from", path), given="y\n"
    )
    assert "100 enrolled and handed to the gateway" in said.output
    assert said.output.count("[y/N]") == 1
    for n, (code, signer) in enumerate(zip(given, signers, strict=True)):
        data = knock(gateway, code, signer, serial=f"{n:04}")
        assert data is not None
        answer = joinanswer.parse(data).verify(site.opened().key)
        assert answer.id == signer.public_key().thumbprint()
    config = {**answer.config(), "key": "file:key", "journal": "j", "credential": "c"}
    assert recorder_config.check(config, "it", "")["uplink"] == "mqtt://127.0.0.1:1883"
    assert list(answer.profiles) == ["handover@1.cbor"]
    member = site.opened().member("device", "robot-7")
    assert member.identity.enrolment.details == {
        "serial": "0007", "asset_tag": "A-0007", "names": {"vda5050": "agv-7"},
    }  # fmt: skip  # two lines
    until(lambda: known(gateway) == 100, "the gateway to know them")


def known(gateway: Gateway) -> int:
    reader = gateway.store.reader()
    (count,) = reader.execute("SELECT count(*) FROM devices").fetchone()
    reader.close()
    return int(count)


def test_lines_that_do_not_fit_are_refused_by_number(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    where = str(site.gateway)
    assert gateway.joining is not None
    (code,) = codes(site, door_of(gateway), "--uses", "10")
    signers = robots(tmp_path, 5)
    said = ["1", "2", "2", "4", "5"]
    for signer, serial in zip(signers, said, strict=True):
        knock(gateway, code, signer, serial=serial)
    ids = [device_text(signer.public_key().thumbprint()) for signer in signers]
    text = (
        "serial,thumbprint,label,custody\n"
        "1,,robot-1,\n"
        "2,,robot-2,\n"  # two say so
        f"3,{ids[3]},robot-4,\n"  # it says 4
        f"5,{ids[0]},robot-5,\n"  # the thumbprint is serial 1's
        "1,,again,\n"
        "9,,robot-9,\n"  # has not asked
        ",,nobody,\n"
        "7,short,robot-7,\n"
        "8,,no label!,\n"
        "6,,robot-6,hardware\n"
        "too,few\n"
        f",{ids[4]},held,secure-element\n"
    )
    path = listed(tmp_path, text)
    found = approve(site, where, "--from", path, "--yes", code=1)
    wrong = {row["line"]: row["why"] for row in found["refused_lines"]}  # type: ignore[attr-defined]
    assert {line: next(word for word in words if word in wrong[line]) for line, words in {
        3: ["2 devices say serial 2"], 4: ["says serial 4, not 3"], 5: ["says serial 1, not 5"],
        6: ["serial stands in line 2"], 8: ["neither serial nor thumbprint"],
        9: ["thumbprint: 43"], 10: ["label: 1 to 64"], 11: ["custody: one of"],
        12: ["has 2 cells"], 13: ["held in software, not secure-element"],
    }.items()}  # fmt: skip  # a table
    assert sorted(wrong) == [3, 4, 5, 6, 8, 9, 10, 11, 12, 13]
    assert found["absent"] == [7]
    assert [row["label"] for row in found["approved"]] == ["robot-1"]  # type: ignore[attr-defined]
    assert [m.label for m in site.opened().members() if m.kind == "device"] == ["robot-1"]
    # By the folder, the gateway takes it within seconds.
    gateway.joining._looked_s = 0.0
    until(lambda: knock(gateway, code, signers[0], serial="1"), "the answer")


def test_who_is_enrolled_gets_the_same_enrolment_again(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    """A device that lost its configuration; a line that names it otherwise."""
    where = door_of(gateway)
    (code,) = codes(site, where, "--uses", "3")
    (signer,) = robots(tmp_path, 1)
    knock(gateway, code, signer, serial="1")
    path = listed(tmp_path, "serial,label\n1,robot-1\n")
    approve(site, where, "--from", path, "--yes")
    first = site.opened().member("device", "robot-1").identity.digest
    again = asking(code, signer, "another nonce", serial="1")
    assert gateway.joining is not None
    assert gateway.joining.joins.ask(again.encode(), int(time.time())) is None
    other = listed(tmp_path, "serial,label\n1,robot-x\n")
    found = approve(site, where, "--from", other, "--yes", code=1)
    assert "enrolled already, as device robot-1" in found["refused_lines"][0]["why"]  # type: ignore[index]
    approve(site, where, "--from", listed(tmp_path, "serial,label\n1,robot-1\n"), "--yes")
    answer = gateway.joining.joins.ask(again.encode(), int(time.time()))
    assert answer is not None
    credential = joinanswer.parse(answer).credential
    assert site.opened().member("device", "robot-1").identity.digest == first
    assert credential[0] == (site.opened().member("device", "robot-1").identity.enrolment.encode())


def test_killed_in_the_middle_and_called_again(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    """kill -9 at some places; afterwards everybody is enrolled once, with the key that asked."""
    where = door_of(gateway)
    (code,) = codes(site, where, "--uses", "40")
    signers = robots(tmp_path, 40)
    for n, signer in enumerate(signers):
        knock(gateway, code, signer, serial=str(n))
    path = listed(tmp_path, "serial,label\n" + "".join(f"{n},robot-{n}\n" for n in range(40)))
    program = "from tallystick.tools.main import main; main()"
    argv = [sys.executable, "-c", program, "fleet", "approve", str(site.folder)]
    argv += ["--gateway", where, "--from", path, "--yes"]
    for at_least in (3, 20):
        killed = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        devices = site.folder / "devices"
        until(lambda: sum(1 for _ in devices.glob("robot-*")) >= at_least, "some of them")  # noqa: B023 - used at once
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
    approve(site, where, "--from", path, "--yes")
    members = [member for member in site.opened().members() if member.kind == "device"]
    assert len(members) == 40
    assert {m.id for m in members} == {s.public_key().thumbprint() for s in signers}
    for n, signer in enumerate(signers):
        assert knock(gateway, code, signer, serial=str(n)) is not None
    assert approve(site, where, "--from", path, "--yes")["approved"] == []


def test_a_gateway_that_was_taken_over_invents_nobody(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    """It has the door key, and not the fleet's: a request of its own making is refused."""
    where = str(site.gateway)
    (code,) = codes(site, door_of(gateway))
    thief, honest = robots(tmp_path, 2)
    asked = asking(code, thief, serial="1")
    forged = asked.values()
    forged[5] = bytes(32)  # what it cannot make
    data = cbor.encode(forged)
    with gateway.store.write() as connection:
        connection.execute(
            "INSERT INTO join_requests (digest, key, code, data, since_ms) VALUES (?, ?, ?, ?, ?)",
            (bytes(32), asked.digest, asked.code, data, int(time.time()) * 1000),
        )
    knock(gateway, code, honest, serial="2")
    found = approve(site, where)
    assert [row["serial"] for row in found["waiting"]] == ["2"]  # type: ignore[attr-defined]
    (refused,) = list(found["refused_requests"])  # type: ignore[call-overload]
    assert "without the code" in refused["why"]
    said = site.tally("approve", str(site.folder))
    assert "not this fleet's" in said.output
    config = str(site.gateway / "gateway.toml")
    shown = CliRunner().invoke(gateway_command, ["status", "--config", config]).output
    assert "2 wait, 0 were let in, 1 codes are valid" in " ".join(shown.split())
    options = ["--kind", "gateway", "--broker", site.broker, "--join", "127.0.0.1:0"]
    site.tally("enroll", str(site.folder), "gw-2", *options)
    assert "gw-1, gw-2" in site.tally("approve", str(site.folder), code=2).output


def test_evidence_of_another_devices_chip(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    """Custody evidence is shown with what it proves; a chip's slot is enrolled once."""
    (code,) = codes(site, door_of(gateway), "--uses", "2")
    keys = [Signer.create(f"file:{tmp_path / name}", alg=ES256) for name in ("a", "b")]
    evidence = [["atecc608-config", heldkeys.atecc608().encode()]]
    for number, key in enumerate(keys, 1):
        key.custody = "secure-element"
        key.evidence = lambda context: evidence  # type: ignore[method-assign]
        knock(gateway, code, key, serial=str(number))
    path = listed(tmp_path, "serial,label,custody\n1,one,secure-element\n2,two,secure-element\n")
    found = approve(site, str(site.gateway), "--from", path, "--yes", code=1)
    assert [row["custody"] for row in found["waiting"]] == ["secure-element"] * 2  # type: ignore[attr-defined]
    assert found["waiting"][0]["shown"] and found["waiting"][0]["not_proven"]  # type: ignore[index]
    assert [row["label"] for row in found["approved"]] == ["one"]  # type: ignore[attr-defined]
    (refused,) = list(found["refused_lines"])  # type: ignore[call-overload]
    assert refused["line"] == 3 and "already-enrolled" in refused["why"]


def test_codes_are_kept_nowhere_and_withdrawn(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    where = door_of(gateway)
    said = site.tally("invite", str(site.folder), "--gateway", where)
    text, name = said.stdout.splitlines()[0], said.stdout.split("its name: ")[1].strip()
    for path in [*site.folder.rglob("*"), *site.gateway.rglob("*")]:
        if path.is_file():
            data = path.read_bytes()
            assert text.encode() not in data and text.replace("-", "").encode() not in data, path
    kept = site.folder / "invitations" / f"{name}.json"
    assert kept.stat().st_mode & 0o077 == 0
    site.tally("invite", str(site.folder), "--gateway", where, "--withdraw", name)
    (signer,) = robots(tmp_path, 1)
    with pytest.raises(Exception, match="withdrawn"):
        knock(gateway, text, signer)
    # Without a gateway the statement waits in the fleet's folder.
    said = site.tally("invite", str(site.folder))
    assert "no gateway knows it yet" in said.stderr


def test_what_is_wrong_with_a_gateway_is_said(site: JoinFleet, tmp_path: Path) -> None:
    for where, what, code in (
        (str(tmp_path), "neither http", 2),
        ("http://127.0.0.1:1", "127.0.0.1:1", 1),
    ):
        said = site.tally("invite", str(site.folder), "--gateway", where, code=code)
        assert what in said.output + str(said.exception)
    (site.folder / "invitations").mkdir(exist_ok=True)
    (site.folder / "invitations" / "x.json").write_text("{}")
    with site.running() as running:
        said = site.tally("approve", str(site.folder), "--gateway", door_of(running), code=1)
    assert "damaged" in str(said.exception)


def test_the_root_signs_orders_for_its_own_gateways_only(
    site: JoinFleet, gateway: Gateway, tmp_path: Path
) -> None:
    other = JoinFleet(tmp_path / "other", site.broker)
    said = other.tally("approve", str(other.folder), "--gateway", door_of(gateway), code=1)
    assert "is no gateway that acme enrolled" in str(said.exception)


def test_the_list_is_strict() -> None:
    for text, what in (
        ("", "needs the column"),
        ("label\nx\n", "needs the column"),
        ("serial,serial\n", "twice"),
        ("serial,colour\n", "no column 'colour'"),
        ('serial\n"open\n', "line 2"),
    ):
        with pytest.raises(Malformed, match=what):
            joincsv.parse(text, "robots.csv")
    rows, wrong = joincsv.parse("\ufeffserial , profile\r\n 1 , handover  own.toml \r\n\r\n", "x")
    assert wrong == [] and rows[0].profiles == ("handover", "own.toml")
    assert rows[0].serial == "1" and rows[0].label == "1" and rows[0].line == 2
    assert joincsv.parse("serial\na\x1b[2J\n", "x")[1][0].line == 2


def test_the_fleet_is_never_at_the_gateway(site: JoinFleet) -> None:
    """What the gateway has of joining holds no key that signs for the fleet."""
    assert sorted(path.name for path in site.gateway.iterdir()) == [
        "credential.cbor", "gateway.toml", "key", "peers",
    ]  # fmt: skip  # two lines
    assert limits.JOIN_STATEMENTS_MAX >= 16 and Fleet.open(site.folder).name == "acme"
