"""`tally gateway check`: each table of the file, good and with each thing that can be wrong."""

import contextlib
import datetime as dt
import json
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.authority import Authority
from support.devices import Fleet
from support.site import Radio, Site, until
from tallystick.evidence.errors import Malformed
from tallystick.gateway import checkfiles, limits
from tallystick.gateway.check import Check, check
from tallystick.gateway.service import Gateway
from tallystick.gateway.store import VERSION, Store
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
NAME = "gw-1.acme.example"
# The names that browsers and robots use, and one for `*`.
HOSTS = (NAME, "*.borealis.example", "127.0.0.1")
LOOPBACK = "127.0.0.1"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


class Place:
    """A gateway's folder whose configuration gets tables at its end."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.site = Site(folder, ACME, 1)
        self.folder = folder
        self.plain = self.site.path.read_text()
        self.put("door", *authority.server("door", HOSTS))
        (folder / "page.token").write_text("0123456789abcdef\n")
        (folder / "page.token").chmod(0o600)

    def put(self, name: str, cert: Path, key: Path) -> None:
        (self.folder / f"{name}.pem").write_bytes(cert.read_bytes())
        (self.folder / f"{name}.key").write_bytes(key.read_bytes())
        (self.folder / f"{name}.key").chmod(0o600)

    def look(self, tables: str, broker: str = "") -> dict[str, Check]:
        text = self.plain.replace("[broker]", f"[broker]\n{broker}") + tables
        if "url =" in broker:
            text = text.replace('url = "mqtt://127.0.0.1:1"\n', "")
        self.site.path.write_text(text)
        return {item.name: item for item in check(self.site.config)}


@pytest.fixture
def place(tmp_path: Path, authority: Authority) -> Place:
    return Place(tmp_path, authority)


@pytest.fixture
def port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server((LOOPBACK, 0)) as taken:
        yield taken.getsockname()[1]


PAGE = """
[page]
bind = "127.0.0.1:0"
cert = "door.pem"
key = "door.key"
token_file = "page.token"
names = ["gw-1.acme.example", "gw-1.borealis.example"]
"""
JOIN = """
[join]
bind = "127.0.0.1:0"
cert = "door.pem"
key = "door.key"
"""


@pytest.mark.parametrize(("name", "tables"), [("page", PAGE), ("join door", JOIN)])
def test_a_door_as_it_should_be(place: Place, authority: Authority, name: str, tables: str) -> None:
    found = place.look(tables)[name]
    assert found.good, found
    assert "https://127.0.0.1:0: " in found.found
    # Of the authority's 60 days 30 are over.
    assert re.search("certificate valid for (29|30) days", found.found)
    place.put("door", *authority.server("short", HOSTS, days=(1, 40)))
    assert "days; renew it soon" in place.look(tables)[name].found


@pytest.mark.parametrize(("name", "tables"), [("page", PAGE), ("join door", JOIN)])
def test_what_is_wrong_with_a_doors_files(
    place: Place, authority: Authority, name: str, tables: str
) -> None:
    def says(text: str) -> None:
        found = place.look(tables)[name]
        assert not found.good
        assert text in found.found, found
        assert ".cert" in found.what_to_do

    (place.folder / "door.key").chmod(0o640)
    says("door.key others may read it; chmod 600 it")
    place.put("door", authority.server("one", HOSTS)[0], authority.server("two", HOSTS)[1])
    says("KEY_VALUES_MISMATCH")
    place.put("door", *authority.server("old", HOSTS, days=(1, 20)))
    says("ended on")
    place.put("door", *authority.server("new", HOSTS, days=(40, 50)))
    says("is not valid before")
    (place.folder / "door.pem").write_text("nothing\n")
    says("door.pem holds no certificate in PEM")
    (place.folder / "door.pem").unlink()
    says("door.pem No such file or directory")


@pytest.mark.parametrize(("name", "tables"), [("page", PAGE), ("join door", JOIN)])
def test_an_address_that_a_door_cannot_have(
    place: Place, port: int, name: str, tables: str
) -> None:
    found = place.look(tables.replace("127.0.0.1:0", f"127.0.0.1:{port}"))[name]
    assert not found.good
    assert f".bind: 127.0.0.1:{port}: Address already in use" in found.found
    # TEST-NET-1 is nobody's.
    found = place.look(tables.replace("127.0.0.1:0", "192.0.2.7:8472"))[name]
    assert "Cannot assign requested address" in found.found
    # A gateway that runs has its address itself.
    store = Store(place.site.config.store)
    try:
        text = tables.replace("127.0.0.1:0", f"127.0.0.1:{port}")
        assert place.look(text)[name].good
    finally:
        store.close()


def test_a_page_whose_certificate_is_for_other_names(place: Place, authority: Authority) -> None:
    place.put("door", *authority.server("other", ("other.example",)))
    found = place.look(PAGE)["page"]
    assert not found.good
    assert f"door.pem is not for {NAME}" in found.found
    place.put("door", *authority.client("nameless"))
    assert f"is not for {NAME}" in place.look(PAGE)["page"].found


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ('bind = "0.0.0.0:8472"', "page.bind: 0.0.0.0 can be reached from a network"),
        ('token_file = "open.token"', "others may read it; chmod 600"),
        ('token_file = "none.token"', "none.token: No such file or directory"),
        ('cert = "door.pem"', "page.cert and page.key: both or neither"),
    ],
)
def test_a_page_that_must_not_be_is_named_with_its_line(
    place: Place, lines: str, says: str
) -> None:
    (place.folder / "open.token").write_text("0123456789abcdef\n")
    (place.folder / "open.token").chmod(0o644)
    place.site.path.write_text(f"{place.plain}\n[page]\n{lines}\n")
    done = CliRunner().invoke(cli, ["gateway", "check", "--config", str(place.site.path)])
    assert done.exit_code == 1
    said = str(done.exception) + done.output
    line = place.site.path.read_text().splitlines().index(lines) + 1
    assert says in said
    assert f"line {line}" in said


def test_a_mistake_in_the_second_of_two_tables_is_named_there(place: Place) -> None:
    table = f'[[validators]]\nname = "v{{n}}"\nkey = "{ACME.root_line}"\nurl = "{{url}}"\n'
    good = "https://v.example"
    for bad in ('"ftp://v.example"', "7"):
        text = place.plain + table.format(n=1, url=good) + table.format(n=2, url=good)
        head, _, tail = text.rpartition(f'"{good}"')
        place.site.path.write_text(head + bad + tail)
        line = len(head.splitlines())
        with pytest.raises(Malformed, match=rf"\(line {line}\)"):
            _ = place.site.config


def test_what_a_broker_is_shown(place: Place, authority: Authority) -> None:
    place.put("own", *authority.client("gw-1"))
    (place.folder / "ca.pem").write_bytes(authority.file.read_bytes())
    tls = 'url = "mqtts://127.0.0.1:1"\nca = "ca.pem"\ncert = "own.pem"\nkey = "own.key"\n'
    found = place.look("", tls)["broker files"]
    assert found.good, found
    assert re.match(r"authority valid for \d+ days.*; own certificate valid for \d+ ", found.found)
    (place.folder / "own.key").chmod(0o604)
    assert "others may read it" in place.look("", tls)["broker files"].found
    (place.folder / "ca.pem").write_text("no")
    assert "broker.ca: " in place.look("", tls)["broker files"].found
    assert "no TLS" in place.look("")["broker files"].found
    word = place.folder / "word"
    word.write_text("canary-word")
    word.chmod(0o644)
    user = 'username = "gw"\npassword_file = "word"\n'
    found = place.look("", user)["broker files"]
    assert not found.good
    assert "word others may read it" in found.found
    word.chmod(0o600)
    found = place.look("", user)["broker files"]
    assert found.good
    assert "canary" not in found.found


def test_the_key_for_a_validator_is_private(place: Place, authority: Authority) -> None:
    place.put("link", *authority.client("gw-1"))
    (place.folder / "ca.pem").write_bytes(authority.file.read_bytes())
    table = (
        f'[[validators]]\nname = "own"\nurl = "https://127.0.0.1:1"\nkey = "{ACME.root_line}"\n'
        'ca = "ca.pem"\ncert = "link.pem"\ncert_key = "link.key"\n'
    )
    assert "refused" in place.look(table)["validator own"].found
    (place.folder / "link.key").chmod(0o644)
    found = place.look(table)["validator own"]
    assert "link.key others may read it" in found.found
    assert "certificates" in found.what_to_do


def test_what_a_store_may_take_and_what_may_go(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = place.look('[limits]\nstore_bytes_max = 134217728\n[retention]\ndecisions = "30 d"\n')
    assert "128 MiB for the store, by limits.store_bytes_max" in found["limits"].found
    assert "nobody; then decisions after 720 h" in found["retention"].found
    found = place.look('[retention]\nvalidators = ["insurer"]\n')
    assert not found["retention"].good
    assert "no table and no peer is of insurer" in found["retention"].found
    # A folder for peers, which every configuration that was made for one names, hides no mistake.
    place.plain = 'peer_files = "peers"\n' + place.plain
    found = place.look('[retention]\nvalidators = ["insurer"]\n')
    assert "no table and no peer is of insurer" in found["retention"].found
    monkeypatch.setattr(limits, "DISK_RESERVE_BYTES", 1 << 60)
    found = place.look("")
    assert not found["limits"].good
    assert "MiB free" in found["limits"].found


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_what_the_next_start_does_to_a_store(place: Place, more: int) -> None:
    path = place.site.config.store
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + more}")
    connection.close()
    found = place.look("")["store"]
    assert found.good == (more <= 0)
    says = {-1: f"the next start brings it to {VERSION}", 0: "is a gateway's store", 1: "upgrade"}
    assert says[more] in found.found
    assert more == -1 or "next start" not in found.found


def test_it_prints_every_table(place: Place) -> None:
    place.look(PAGE + JOIN)
    done = CliRunner().invoke(cli, ["gateway", "check", "--json", "--config", str(place.site.path)])
    rows = {row["check"]: row for row in json.loads(done.output)["checks"]}
    assert {"page", "join door", "broker files", "limits", "retention"} < set(rows)
    assert "0123456789abcdef" not in done.output
    assert rows["broker"]["what_to_do"]


def test_which_names_lead_here() -> None:
    assert checkfiles.is_here("localhost")
    assert checkfiles.is_here("127.9.9.9")
    with contextlib.suppress(OSError):  # a container without a network may not know its own name
        socket.getaddrinfo(socket.gethostname(), 0)
        assert checkfiles.is_here(socket.gethostname())
    assert not checkfiles.is_here("192.0.2.7")


def test_a_star_stands_for_one_label(authority: Authority) -> None:
    cert, _ = authority.server("stars", HOSTS)
    found = checkfiles.valid("x", cert, int(dt.datetime.now(dt.timezone.utc).timestamp()))
    assert checkfiles.serves(found, "gw-2.borealis.example")
    for other in ("borealis.example", "a.gw-2.borealis.example", "acme.example"):
        assert not checkfiles.serves(found, other)


def test_a_look_takes_no_connection_and_no_session(tmp_path: Path, mosquitto: Mosquitto) -> None:
    site = Site(tmp_path, ACME, mosquitto.port)
    gateway = Gateway(site.config)
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        session = gateway.broker._session
        # It has not told yet that it is connected: the look waits for that.
        said = threading.Timer(0.3, gateway._telling.turn)
        said.start()
        found = {item.name: item for item in check(site.config)}["broker"]
        said.join()
        assert "the running gateway is connected" in found.found, found
        assert gateway.broker._session == session
    finally:
        gateway.stop()
    robot = ACME.device()
    robot.record(1)
    with Radio(mosquitto.port, robot) as radio:
        radio.up(robot.hello())
    # It is stopped, and the broker keeps what came: that is there after a look, too.
    assert {item.name: item for item in check(site.config)}["broker"].good
    again = Gateway(site.config)
    again.start()
    try:
        until(lambda: site.status()["devices"] == 1, "what waited at the broker")
        assert again.broker.sessions_lost == 0
    finally:
        again.stop()


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (OSError(28, "No space left on device"), "make room"),
        (PermissionError(13, "no"), "writable"),
    ],
)
def test_what_is_wrong_with_a_store_says_what_to_do(
    place: Place, monkeypatch: pytest.MonkeyPatch, fault: OSError, advice: str
) -> None:
    def fails(_descriptor: int) -> None:
        raise fault

    with monkeypatch.context() as disk:
        disk.setattr("os.fsync", fails)
        found = place.look("")["store"]
    assert not found.good and advice in found.what_to_do, found
    place.site.config.store.write_text("nothing of ours")
    found = place.look("")["store"]
    assert "no database" in found.found or "not a database" in found.found
    assert "is lost" in found.what_to_do
