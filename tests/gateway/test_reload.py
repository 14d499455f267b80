"""F20: on SIGHUP all of a new configuration comes into force, or nothing, and the line is named."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.authority import Authority
from support.brokersite import Site as BrokerSite
from support.brokersite import Written
from support.devices import Fleet
from support.notary import Notary
from support.site import Site, until
from tallystick.evidence import cbor, enrolment
from tallystick.evidence.errors import Malformed
from tallystick.gateway import configlines
from tallystick.gateway.service import Gateway
from tallystick.gateway.status import status_of
from tallystick.tools.mosquitto import Mosquitto

ACME, OTHER = Fleet("acme"), Fleet("borealis")


class House:
    """A gateway that runs without a broker, and the file that it was started with."""

    def __init__(self, folder: Path, tables: str = "") -> None:
        self.notary = Notary(folder / "notary", ACME)
        self.other = Notary(folder / "other", ACME, name="other")
        self.site = Site(folder / "site", ACME, 1, validators=self.notary.toml, limits=tables)
        self.gateway = Gateway(self.site.config)
        for way in self.gateway.ways:
            way.start()

    def write(self, text: str) -> None:
        self.site.path.write_text(text)
        self.gateway.reloading.turn()

    @property
    def text(self) -> str:
        return self.site.path.read_text()

    def line(self, wanted: str) -> int:
        lines = self.text.splitlines()
        return next(n for n, line in enumerate(lines, 1) if wanted in line)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.gateway.stop()


def test_what_can_change_changes(house: House) -> None:
    gateway = house.gateway
    before = gateway.ways
    house.write(
        house.text + '[limits]\nstore_bytes_max = 99_000_000\n[retention]\nevents = "2 d"\n'
    )
    assert gateway.reloading.error == ""
    assert gateway.worker.gauge.bytes_max == 99_000_000
    assert gateway.pruner.retention.ages_ms == {2: 2 * 86_400_000}
    # Nothing changed for the validator: its way goes on.
    assert gateway.ways == before
    house.write(house.text.replace("99_000_000", "98_000_000"))
    assert gateway.worker.gauge.bytes_max == 98_000_000
    assert gateway.pruner.retention.validators == ("notary",)


def test_validators_come_change_and_go(house: House) -> None:
    gateway = house.gateway
    (first,) = gateway.ways
    house.write(house.text + house.other.toml)
    assert [way.peer.config.name for way in gateway.ways] == ["notary", "other"]
    assert gateway.ways[0] is first
    assert all(thread.is_alive() for way in gateway.ways for thread in way.threads)
    assert gateway.pruner.retention.validators == ("notary", "other")
    house.write(
        house.text.replace(house.other.toml, "").replace('send = "full"', 'send = "hashes"')
    )
    assert gateway.reloading.error == ""
    (changed,) = gateway.ways
    assert changed is not first
    assert changed.peer.config.send == "hashes"
    assert not any(thread.is_alive() for thread in first.threads)


def test_roots_come_and_go(house: House) -> None:
    gateway = house.gateway
    robot = OTHER.device("robot-b")
    live = gateway.config.roots
    assert set(live) == {"acme"}
    both = house.text.replace(f'["{ACME.root_line}"]', f'["{ACME.root_line}", "{OTHER.root_line}"]')
    plain = house.text
    house.write(both)
    assert set(live) == {"acme", "borealis"}
    assert gateway.config.roots is live
    gateway.worker.add_credential(robot.credential)
    gateway.worker.turn(0)
    assert gateway.worker.core.identities.find(robot.id) is not None
    house.write(plain)
    assert set(live) == {"acme"}
    gateway.worker.turn(0)
    assert gateway.worker.core.identities.find(robot.id) is None


@pytest.mark.parametrize(
    ("old", "new", "said", "wanted"),
    [
        ('fleet = "acme"', 'fleet = "acme', "line 3", ""),
        ('store = "gateway.sqlite"', 'store = "other.sqlite"', "store", "other.sqlite"),
        ('name = "dock-north"', 'name = "dock-south"', "broker.client_id, name", "[broker]"),
        ("[broker]", "[broker]\ncolour = 1", "colour", "colour"),
        ('roots = ["', 'roots = ["no.pub", "', "no.pub", "no.pub"),
        ("[broker]", "[limits]\nretry_s_max = 0\n[broker]", "0.05", "retry_s_max"),
        ("[broker]", '[limits]\nstore_bytes_max = "9"\n[broker]', "int", "store_bytes_max"),
        ("[broker]", '[retention]\nclaims = "ever"\n[broker]', "ever", "claims"),
        ('credential = "credential.cbor"', 'credential = "gone.cbor"', "gone.cbor", "gone.cbor"),
    ],
)
def test_a_bad_file_changes_nothing_and_names_the_line(
    old: str, new: str, said: str, wanted: str, house: House
) -> None:
    gateway = house.gateway
    config, ways = gateway.config, gateway.ways
    good = house.text
    assert old in good
    # A good change beside the bad one does not come into force either.
    house.write(good.replace(old, new) + house.other.toml)
    error = gateway.reloading.error
    assert said in error
    assert str(house.site.path) in error
    assert not wanted or f"line {house.line(wanted)})" in error
    assert gateway.config is config
    assert gateway.ways == ways
    house.write(good)
    assert gateway.reloading.error == ""


def test_lines_of_settings() -> None:
    data = b'a = 1\n[limits]\nb = 2\n[[validators]]\nurl = "x"\n[other]\nb = 3\n'
    assert configlines.of_setting(data, "limits.b") == " (line 3)"
    assert configlines.of_setting(data, "a") == " (line 1)"
    assert configlines.of_setting(data, "limits.missing") == " (line 2)"
    assert configlines.of_setting(data, "nowhere") == ""
    assert configlines.of_setting(b"\xff", "a") == ""
    assert configlines.hint(data, "Expected `int` - at `$.validators[0].url`") == " (line 5)"
    assert configlines.hint(data, "bad (at line 3, column 2)") == ""


def put(folder: Path, name: str, files: tuple[Path, Path]) -> None:
    """A certificate and its key, in place of those that lie there."""
    for file, suffix in zip(files, ("pem", "key"), strict=True):
        (folder / f"{name}.{suffix}").write_bytes(file.read_bytes())
        (folder / f"{name}.{suffix}").chmod(0o600)


PAGE = """[page]
bind = "127.0.0.1:0"
cert = "page.pem"
key = "page.key"
token_file = "page.token"
"""


class Seen(House):
    """One with a page over TLS."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "ca")
        self.folder = folder / "site"
        self.folder.mkdir(parents=True)
        self.renew((1, 60))
        self.token("the token of before")
        super().__init__(folder, PAGE)
        assert self.gateway.page is not None
        self.page = self.gateway.page
        self.page.start()

    def renew(self, days: tuple[int, int]) -> None:
        put(self.folder, "page", self.authority.server("page", days=days))

    def token(self, text: str) -> None:
        (self.folder / "page.token").write_text(text.replace(" ", "-"))
        (self.folder / "page.token").chmod(0o600)

    def ask(self, token: str) -> int:
        verify = ssl.create_default_context(cafile=self.authority.file)
        headers = {"Authorization": f"Bearer {token.replace(' ', '-')}"}
        url = f"{self.page.url}/v1/status"
        return httpx2.get(url, headers=headers, verify=verify, timeout=60).status_code

    def shown(self) -> bytes:
        host, port = self.page.url.removeprefix("https://").split(":")
        return ssl.get_server_certificate((host, int(port)), timeout=60).encode()

    def ends_ms(self) -> int:
        self.page.watch.look(0, 0.0)
        newest = self.page.watch.newest
        assert newest is not None
        ends = {one.what: one.until_ms for one in newest.snapshot.expiries}
        return ends["The page's certificate"]


def test_the_page_gets_another_token_and_certificate(tmp_path: Path) -> None:
    house = Seen(tmp_path)
    try:
        first, ends_ms = house.shown(), house.ends_ms()
        assert house.ask("the token of before") == 200
        house.token("the token of today")
        house.renew((1, 50))
        # Until somebody says so, what was read is in force, and the page speaks of that.
        assert (house.shown(), house.ends_ms()) == (first, ends_ms)
        house.write(house.text.replace("[page]", "[page]\nlag_s = 7.0"))
        assert house.gateway.reloading.error == ""
        assert (house.ask("the token of before"), house.ask("the token of today")) == (401, 200)
        assert house.shown() == (house.folder / "page.pem").read_bytes() != first
        assert house.ends_ms() == ends_ms - 10 * 86_400_000
        assert house.page.watch._thresholds.lag_s == 7.0
        # A key that does not belong to it: all stays, and the line is named.
        second = house.shown()
        (house.folder / "page.key").write_bytes(house.authority.server("other")[1].read_bytes())
        house.write(house.text.replace("lag_s = 7.0", "lag_s = 9.0"))
        assert f"(line {house.line('cert = ')})" in house.gateway.reloading.error
        assert house.shown() == second
        assert house.page.watch._thresholds.lag_s == 7.0
        (house.folder / "page.key").unlink()
        house.write(house.text)
        assert "page.key" in house.gateway.reloading.error
    finally:
        house.page.stop()
        house.gateway.stop()


@pytest.mark.parametrize(
    ("old", "new", "setting"),
    [
        ('bind = "127.0.0.1:0"', 'bind = "127.0.0.1:1"', "page.bind"),
        ('cert = "page.pem"\nkey = "page.key"\n', "", "page.cert"),
        (PAGE, "", "page"),
    ],
)
def test_where_the_page_is_wants_a_restart(
    tmp_path: Path, old: str, new: str, setting: str
) -> None:
    house = Seen(tmp_path)
    try:
        assert old in house.text
        house.write(house.text.replace(old, new))
        assert f"{setting}" in house.gateway.reloading.error
        assert "only a restart changes this" in house.gateway.reloading.error
    finally:
        house.page.stop()
        house.gateway.stop()


def test_a_validators_certificates_are_read_again(house: House, tmp_path: Path) -> None:
    folder = house.site.folder
    key = house.notary.toml.split("key = ")[1].split("\n")[0]
    table = f"""[[validators]]
name = "far"
url = "https://127.0.0.1:9"
key = {key}
ca = "far.pem"
"""
    (folder / "far.pem").write_bytes(Authority(tmp_path / "one").file.read_bytes())
    house.write(house.text + table)
    assert house.gateway.reloading.error == ""
    before = {way.peer.config.name: way for way in house.gateway.ways}
    (folder / "far.pem").write_text("no certificate")
    house.write(house.text)
    assert f"(line {house.line('ca = ')})" in house.gateway.reloading.error
    (folder / "far.pem").write_bytes(Authority(tmp_path / "two").file.read_bytes())
    house.write(house.text)
    assert house.gateway.reloading.error == ""
    after = {way.peer.config.name: way for way in house.gateway.ways}
    assert after["far"] is not before["far"]
    assert after["notary"] is before["notary"]
    assert not any(thread.is_alive() for thread in before["far"].threads)


def test_a_longer_enrolment_counts_and_another_key_does_not(house: House) -> None:
    (way,) = house.gateway.ways
    file = house.site.folder / "credential.cbor"
    signer, _ = ACME.member(house.site.name, enrolment.SUBJECT_GATEWAY)
    now_s = int(time.time())
    longer = ACME.enrol(signer, enrolment.SUBJECT_GATEWAY, (now_s - 60, now_s + 86_400))
    file.write_bytes(cbor.encode(longer))
    house.write(house.text)
    assert house.gateway.reloading.error == ""
    assert house.gateway.config.credential == tuple(longer)
    # It goes to validators with the next batch.
    assert house.gateway.ways[0] is not way
    other = Site(house.site.folder / "other", ACME, 1, "dock-west")
    file.write_bytes((other.folder / "credential.cbor").read_bytes())
    house.write(house.text)
    assert f"(line {house.line('credential = ')})" in house.gateway.reloading.error
    assert house.gateway.config.credential == tuple(longer)


def test_another_folder_of_enrolments(house: House) -> None:
    robot = ACME.device("robot-c")
    (house.site.folder / "more").mkdir()
    (house.site.folder / "more" / "one.cbor").write_bytes(cbor.encode(list(robot.credential)))
    house.write(house.text.replace('enrolments = "enrolments"', 'enrolments = "more"'))
    assert house.gateway.reloading.error == ""
    house.gateway._read_folder()
    house.gateway.worker.turn(0)
    assert house.gateway.worker.core.identities.find(robot.id) is not None


def test_the_broker_sees_another_certificate(tmp_path: Path, mosquitto: Mosquitto) -> None:
    assert mosquitto.port
    site = BrokerSite(tmp_path / "site")
    member = site.member("gw-1").path
    text = (member / "gateway.toml").read_text()
    with Written(tmp_path / "broker", site):
        gateway = site.gateway()
        gateway.start()
        try:
            until(lambda: gateway.broker.subscribed, "the subscription")
            session, good = gateway.broker._session, (member / "broker.pem").read_bytes()
            (member / "broker.pem").write_text("no certificate")
            gateway.reloading.turn()
            line = text.splitlines().index('cert = "broker.pem"') + 1
            assert f"(line {line})" in gateway.reloading.error
            assert (gateway.broker._session, gateway.broker.subscribed) == (session, True)
            # What no look found out beforehand takes no connection either.
            with pytest.raises(Malformed, match="cert"):
                gateway.broker.renew(gateway.config.broker)
            assert (gateway.broker._session, gateway.broker.subscribed) == (session, True)
            (member / "broker.pem").unlink()
            site.configure()
            assert (member / "broker.pem").read_bytes() != good
            gateway.reloading.turn()
            assert gateway.reloading.error == ""
            until(lambda: gateway.broker._session > session + 1, "another connection")
            until(lambda: gateway.broker.subscribed, "the subscription")
            # The session stayed, and nothing was to be found out by a time-out.
            assert (gateway.broker.sessions_lost, gateway.broker.replaced) == (0, 0)
        finally:
            gateway.stop()


def test_sighup_of_the_process(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    systemd.bind(str(tmp_path / "notify"))
    systemd.settimeout(120)
    folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools"])
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from tallystick.tools.main import main; main()"),
            *("gateway", "run", "--config", str(site.path)),
        ],
        env=os.environ | {"PYTHONPATH": folders, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )

    def told() -> dict[str, object]:
        try:
            found: dict[str, object] = status_of(tmp_path / "gateway.sqlite")["process"]
        except Exception:  # noqa: BLE001 - it has only begun
            return {}
        return found

    try:
        until(lambda: told().get("running"), "the start")
        good = site.path.read_text()
        site.path.write_text(good.replace("[broker]", "[brokr]"))
        process.send_signal(signal.SIGHUP)
        until(lambda: "brokr" in str(told().get("reload_error")), "the error")
        # `systemctl status` shows it, while the reload itself had to be called well.
        while "brokr" not in systemd.recv(4096).decode():
            pass
        site.path.write_text(good)
        process.send_signal(signal.SIGHUP)
        until(lambda: told().get("reload_error") == "", "the good one")
        while "STATUS=gateway dock-north" not in systemd.recv(4096).decode():
            pass
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        out = process.communicate(timeout=90)[0]
        systemd.close()
    assert process.returncode == 0
    assert b"the old configuration stays in force" in out
    assert json.dumps(site.name) in good
