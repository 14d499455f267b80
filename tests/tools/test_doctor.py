"""`tally doctor`: a site as it should be, and each risk by its name on a broker that has it."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.brokersite import Site, Written
from support.devices import Fleet
from support.notary import Notary
from support.site import until
from tallystick.gateway.config import Config, load
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.pageconfig import PageConfig
from tallystick.gateway.service import Gateway
from tallystick.gateway.validatorconfig import Tls, ValidatorConfig
from tallystick.tools._ports import free_port
from tallystick.tools.doctor import brokerconf, brokerprobe, certificates, machine, validators
from tallystick.tools.doctor.findings import BAD, GOOD, NOT_CHECKED, RISK, Finding
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto

pytestmark = pytest.mark.usefixtures("mosquitto")
DAY_S = 86_400


def doctor(*options: object) -> tuple[int, dict[str, dict[str, str]]]:
    done = CliRunner().invoke(cli, ["doctor", *map(str, options), "--json"])
    assert done.exit_code in {0, 1}, done.exception
    return done.exit_code, {row["check"]: row for row in json.loads(done.output)["checks"]}


def levels(found: list[Finding]) -> dict[str, str]:
    return {item.name: item.level for item in found}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def broker(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with Written(tmp_path_factory.mktemp("broker"), site) as started:
        yield started


@pytest.fixture
def config(site: Site) -> Config:
    return load(site.member("gw-1").path / "gateway.toml")


@pytest.mark.usefixtures("broker")
def test_a_broker_as_it_was_written_is_good(site: Site, config: Config) -> None:
    _, found = doctor("--config", config.source)
    expected = {
        "credential", "key", "broker's certificate", "broker.ca", "broker.cert",
        "enrolment of this gateway", "anonymous clients", "retained messages", "packet limit",
        "access list", "broker's file", "broker: persistence", "broker: autosave", "broker: queue",
        "broker: anonymous clients", "broker: TLS", "broker: access list", "broker: client names",
        "broker: old sessions", "broker: retain_available", "broker: max_packet_size",
    }  # fmt: skip
    assert {name for name in expected if found[name]["level"] != GOOD} == set()
    # It saw the file of the broker that runs, by itself.
    assert "process" in found["broker's file"]["found"]
    # Nobody configured a validator here.
    assert found["validators"]["level"] == RISK
    # And on the broker's machine alone.
    code, alone = doctor("--config", "none.toml", "--broker-conf", site.files / "mosquitto.conf")
    assert code == 0
    assert {row["level"] for row in alone.values()} == {GOOD}


@pytest.mark.usefixtures("broker")
def test_a_gateway_that_runs_keeps_its_connection(config: Config) -> None:
    gateway = Gateway(config)
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        session = gateway.broker._session
        gateway._telling.turn()
        _, found = doctor("--config", config.source)
        assert found["anonymous clients"]["level"] == GOOD
        assert found["access list"]["level"] == GOOD
        assert "broker" not in found
        assert gateway.broker.subscribed
        assert gateway.broker._session == session
    finally:
        gateway.stop()


def test_an_open_broker_is_named_risk_by_risk(config: Config, tmp_path: Path) -> None:
    settings = "retain_available true\nmax_packet_size 1000\n"
    with Mosquitto(tmp_path, settings=settings) as running:
        plain = replace(
            config.broker, host="127.0.0.1", port=running.port, tls=False, cert=None, key=None
        )
        found = brokerprobe.look(plain, tmp_path)
    said = {item.name: item for item in found}
    assert said["anonymous clients"].level == BAD
    assert "allow_anonymous false" in said["anonymous clients"].what_to_do
    assert said["access list"].level == NOT_CHECKED
    assert levels(found) == {
        "anonymous clients": BAD,
        "retained messages": RISK,
        "packet limit": BAD,
        "access list": NOT_CHECKED,
    }


def test_an_access_list_that_lets_all_through_is_bad(
    site: Site, config: Config, tmp_path: Path
) -> None:
    class Open(Written):
        def _configuration(self) -> str:
            lines = super()._configuration().splitlines()
            return "\n".join(line for line in lines if not line.startswith("acl_file")) + "\n"

    port = free_port()
    with Open(tmp_path, site, port):
        found = levels(
            brokerprobe.look(replace(config.broker, port=port), site.member("gw-1").path)
        )
        assert found["access list"] == BAD
        assert found["anonymous clients"] == GOOD
        file = brokerconf.running(port)
        assert file is not None
        assert levels(brokerconf.look(port, None))["broker: access list"] == RISK
        os.utime(file.file, (file.file.stat().st_mtime + 60,) * 2)
        assert levels(brokerconf.look(port, None))["broker's file"] == RISK
    assert levels(brokerconf.look(port, None)) == {"broker's file": NOT_CHECKED}


GOOD_FILE = """\
persistence true
autosave_interval 60
max_queued_messages 100000
max_queued_bytes 536870912
persistent_client_expiration 30d
retain_available false
max_packet_size 1048576
max_inflight_messages 256
allow_anonymous false
listener 8883
cafile a
certfile a
keyfile a
require_certificate true
use_identity_as_username true
use_username_as_clientid true
acl_file a
"""
OPEN_DOOR = "listener 1883\n"


def judged(text: str) -> dict[str, str]:
    lines = [(line.partition(" ")[0], line.partition(" ")[2]) for line in text.splitlines()]
    return levels(brokerconf.judge(lines))


def changed(name: str, value: str | None) -> str:
    kept = [line for line in GOOD_FILE.splitlines() if line.partition(" ")[0] != name]
    return "\n".join([*kept, *([] if value is None else [f"{name} {value}"])])


@pytest.mark.parametrize(
    ("name", "value", "risk", "level"),
    [
        ("persistence", "false", "broker: persistence", RISK),
        ("persistence", None, "broker: persistence", RISK),
        ("autosave_interval", "0", "broker: autosave", RISK),
        ("autosave_interval", None, "broker: autosave", RISK),
        ("max_queued_messages", "1000", "broker: queue", RISK),
        ("max_queued_messages", None, "broker: queue", RISK),
        ("max_queued_bytes", "1000", "broker: queue", RISK),
        ("certfile", None, "broker: TLS", RISK),
        ("require_certificate", "false", "broker: TLS", RISK),
        ("use_identity_as_username", None, "broker: TLS", RISK),
        ("use_username_as_clientid", None, "broker: client names", RISK),
        ("persistent_client_expiration", None, "broker: old sessions", RISK),
        ("acl_file", None, "broker: access list", RISK),
        ("retain_available", None, "broker: retain_available", RISK),
        ("max_packet_size", None, "broker: max_packet_size", RISK),
        ("max_packet_size", "1000", "broker: max_packet_size", BAD),
        ("max_inflight_messages", None, "broker: in flight", RISK),
        ("max_inflight_messages", "20", "broker: in flight", RISK),
    ],
)
def test_each_line_that_a_file_lacks(name: str, value: str | None, risk: str, level: str) -> None:
    assert set(judged(GOOD_FILE).values()) == {GOOD}
    found = judged(changed(name, value))
    assert {key: state for key, state in found.items() if state != GOOD} == {risk: level}


def test_anonymous_clients_and_queues_without_an_end() -> None:
    anonymous = changed("allow_anonymous", "true")
    assert judged(anonymous)["broker: anonymous clients"] == GOOD
    open_ = anonymous.replace("require_certificate true", "require_certificate false")
    assert judged(open_)["broker: anonymous clients"] == BAD
    endless = changed("max_queued_messages", "0").replace("536870912", "0")
    assert judged(endless)["broker: queue"] == RISK


@pytest.mark.parametrize("first", [True, False], ids=["before", "behind"])
def test_one_open_listener_is_seen_beside_a_closed_one(first: bool) -> None:
    # One listener's certificates keep nobody out of another.
    both = (OPEN_DOOR, GOOD_FILE) if first else (GOOD_FILE, OPEN_DOOR)
    text = "".join(both)
    assert judged(text)["broker: anonymous clients"] == GOOD  # refused at both
    assert judged(text)["broker: TLS"] == RISK
    text = text.replace("allow_anonymous false", "allow_anonymous true")
    assert judged(text)["broker: anonymous clients"] == BAD
    lines = [(line.partition(" ")[0], line.partition(" ")[2]) for line in text.splitlines()]
    (said,) = [one for one in brokerconf.judge(lines) if one.name == "broker: anonymous clients"]
    assert said.found.startswith("listener 1883: anybody")
    # On loopback it is this machine's own risk.
    local = text.replace("listener 1883", "listener 1883 127.0.0.1")
    assert judged(local)["broker: anonymous clients"] == RISK


def test_each_listener_has_its_own_settings_where_the_file_says_so() -> None:
    own = "per_listener_settings true\n"
    door = OPEN_DOOR + "allow_anonymous true\n"
    # The last value is the closed listener's; before, it stood for both.
    text = own + door + GOOD_FILE.replace("allow_anonymous false\n", "")
    assert judged(text)["broker: anonymous clients"] == BAD
    assert judged(text)["broker: access list"] == RISK
    assert judged(text.replace(own, ""))["broker: access list"] == GOOD
    # Who may come in makes no listener where one is named.
    assert judged(own + "allow_anonymous true\n" + GOOD_FILE)["broker: anonymous clients"] == GOOD


def test_what_stands_before_the_first_listener_is_the_default_ones() -> None:
    old = GOOD_FILE.replace("listener 8883", "port 8883")
    assert set(judged(old).values()) == {GOOD}
    # TLS options of the default listener do nothing for the one that is named.
    above = "".join(line + "\n" for line in GOOD_FILE.splitlines() if line != "listener 8883")
    assert judged(above + "listener 8884\n")["broker: TLS"] == RISK
    # And it is there beside those that are named.
    assert judged("port 1883\n" + GOOD_FILE)["broker: TLS"] == RISK
    # Without any listener Mosquitto is open, and for its own machine only.
    assert judged("persistence true\n")["broker: anonymous clients"] == RISK


def test_a_broker_that_is_away_refuses_nobody(config: Config, tmp_path: Path) -> None:
    away = replace(config.broker, host="127.0.0.1", port=free_port())
    assert set(levels(brokerprobe.look(away, tmp_path)).values()) == {NOT_CHECKED}


def test_nor_does_one_that_says_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brokerprobe, "ANSWER_S_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        plain = replace(
            config.broker, host="127.0.0.1", port=silent.getsockname()[1],
            tls=False, cert=None, key=None,
        )  # fmt: skip
        found = brokerprobe.look(plain, tmp_path)
    assert set(levels(found).values()) == {NOT_CHECKED}
    assert "says nothing" in found[0].found


@pytest.mark.parametrize("tls", [True, False])
def test_nor_does_one_that_hangs_up(config: Config, tmp_path: Path, tls: bool) -> None:
    # What speaks no TLS, or no MQTT, is no broker that turned somebody away.
    with socket.create_server(("127.0.0.1", 0)) as rude:
        rude.settimeout(0.1)
        done = threading.Event()

        def hang_up() -> None:
            while not done.is_set():
                with contextlib.suppress(TimeoutError):
                    taken, _ = rude.accept()
                    taken.recv(1)
                    taken.close()  # with bytes unread, so by a reset

        thread = threading.Thread(target=hang_up)
        thread.start()
        at = replace(config.broker, host="127.0.0.1", port=rude.getsockname()[1])
        try:
            found = brokerprobe.look(
                at if tls else replace(at, tls=False, cert=None, key=None), tmp_path
            )
        finally:
            done.set()
            thread.join()
    assert set(levels(found).values()) == {NOT_CHECKED}


def test_files_that_a_file_includes_are_read(tmp_path: Path) -> None:
    more = tmp_path / "conf.d"
    more.mkdir()
    (more / "b.conf").write_text("persistence true\n# allow_anonymous true\n")
    (more / "a.conf").write_text("persistence false\n")
    (tmp_path / "m.conf").write_text(f"  listener 1883\ninclude_dir {more}\nallow_anonymous  false")
    said = brokerconf.read(tmp_path / "m.conf")
    assert said == [
        ("listener", "1883"), ("persistence", "false"), ("persistence", "true"),
        ("allow_anonymous", "false"),
    ]  # fmt: skip
    (more / "c.conf").write_text(f"include_dir {more}\n")
    with pytest.raises(Exception, match="includes more than"):
        brokerconf.read(tmp_path / "m.conf")


def test_what_ends_soon_and_what_has_ended(config: Config) -> None:
    end_s = certificates._days(config, config.credential, 0) * DAY_S
    for before_s, level in ((40 * DAY_S, GOOD), (20 * DAY_S, RISK), (-2 * DAY_S, BAD)):
        found = levels(certificates.look(config, end_s - before_s))
        assert found["enrolment of this gateway"] == level
        assert found["broker.cert"] == GOOD
    # Those that `broker-config` does not write are looked at, too.
    page = PageConfig(host="127.0.0.1", port=0, cert=config.broker.cert)
    join = JoinConfig(host="127.0.0.1", port=0, cert=config.broker.ca, inbox=Path("join"))
    tls = Tls(ca=config.broker.ca, cert=config.broker.cert)
    other = ValidatorConfig(name="own", url="https://v.example", tls=tls)
    found = levels(certificates.look(replace(config, page=page, join=join, validators=(other,))))
    expected = {"page.cert", "join.cert", "ca of validator own", "cert for validator own"}
    assert {name for name in expected if found[name] == GOOD} == expected


def test_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room, speed = machine.disk(tmp_path / "not" / "yet")
    assert (room.name, speed.name) == ("disk", "fsync")
    for took_s, level in ((0.000_001, RISK), (0.002, GOOD), (0.2, RISK)):
        monkeypatch.setattr(machine, "fsync_s", lambda _folder, took_s=took_s: [took_s] * 3)
        monkeypatch.setattr(machine, "file_system", lambda _folder: "ext4")
        assert machine.disk(tmp_path)[1].level == level
    monkeypatch.setattr(machine, "file_system", lambda _folder: "tmpfs")
    assert machine.disk(tmp_path)[1].level == BAD

    class Full:
        f_bavail, f_blocks, f_frsize = 1, 100, 4096

    monkeypatch.setattr(os, "statvfs", lambda _folder: Full)
    assert machine.disk(tmp_path)[0].level == BAD
    Full.f_bavail = 10
    assert machine.disk(tmp_path)[0].level == RISK


def test_a_clock_that_nobody_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "timedatectl"
    monkeypatch.setattr(shutil, "which", lambda _name: str(program))
    for says, level in (("yes", GOOD), ("no", RISK), ("", NOT_CHECKED)):
        program.write_text(f"#!/bin/sh\necho {says}\n")
        program.chmod(0o700)
        assert machine.clock()[0].level == level
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    assert machine.clock()[0].level == NOT_CHECKED


def test_validators(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notary = Notary(tmp_path / "notary", Fleet("acme")).start()
    item = notary.peer().config
    try:
        found = validators.look(replace(config, validators=(item,)))
        assert levels(found) == {"validator notary": GOOD, "validator notary: clock": GOOD}
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 60)
        found = validators.look(replace(config, validators=(item,)))
        assert found[1].level == RISK
        assert "ahead of ours" in found[1].found
        monkeypatch.undo()
    finally:
        notary.stop()
    assert levels(validators.look(replace(config, validators=(item,)))) == {"validator notary": BAD}


@pytest.mark.parametrize(
    ("fault", "advice"), [(OSError(28, "full"), "make room"), (PermissionError(13, "no"), "a user")]
)
def test_a_disk_that_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError, advice: str
) -> None:
    def fails(_descriptor: int) -> None:
        raise fault

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", fails)
        room, speed = machine.disk(tmp_path)
    # How full it is is said all the same.
    assert (room.name, speed.name, speed.level) == ("disk", "fsync", BAD)
    assert "MiB free" in room.found and advice in speed.what_to_do


@pytest.mark.usefixtures("broker")
def test_without_a_certificate_of_its_own_it_takes_no_gateways_place(
    config: Config, tmp_path: Path
) -> None:
    gateway = Gateway(config)
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        session = gateway.broker._session
        found = levels(brokerprobe.look(config.broker, tmp_path))
        assert found == {
            "anonymous clients": GOOD,
            "retained messages": NOT_CHECKED,
            "packet limit": NOT_CHECKED,
            "access list": NOT_CHECKED,
        }
        assert (gateway.broker._session, gateway.broker.lost) == (session, 0)
    finally:
        gateway.stop()
