"""`tally gateway broker-config`: run by a real Mosquitto, attacked by its own members."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from support.authority import Authority
from support.brokersite import S_MAX, Client, Site, Written, good, run
from support.site import until
from tallystick.recorder import Recorder
from tallystick.tools.brokerfiles import authority

pytestmark = pytest.mark.usefixtures("mosquitto")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def broker(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with Written(tmp_path_factory.mktemp("broker"), site) as started:
        yield started


@pytest.mark.usefixtures("broker")
def test_members_go_through_it_as_they_were_written(site: Site) -> None:
    gateway = site.gateway()
    gateway.start()
    try:
        until(lambda: gateway.broker.subscribed, "the subscription")
        tally = Recorder.open(str(site.member("robot-1").path / "tallystick.json"))
        tally.decision("m@1", {"n": 1}, urgent=True)
        until(lambda: tally.health.custody, "custody")
        tally.close()
        assert tally.health.faults == {}
    finally:
        gateway.stop()


@pytest.mark.usefixtures("broker")
def test_a_stranger_is_refused(site: Site, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    robot = site.member("robot-1").id_text
    for cert, key in ((None, None), other.client(robot)):
        assert not Client(site, cert, key).taken()
    member = site.member("robot-1").path
    assert Client(site, member / "broker.pem", member / "broker.key").taken()


@pytest.mark.usefixtures("broker")
def test_a_device_has_its_own_topics_and_no_others(site: Site) -> None:
    prefix = "tallystick/1/acme"
    one, two = (site.member(label).id_text for label in ("robot-1", "robot-2"))
    with site.client("gw-1") as gateway, site.client("robot-1") as robot:
        gateway.hear(f"{prefix}/+/up")
        robot.hear("#")
        robot.say(f"{prefix}/{two}/up", b"as another")
        robot.say(f"{prefix}/{one}/down", b"to itself")
        robot.say(f"{prefix}/{one}/up", b"as itself")
        gateway.say(f"{prefix}/{two}/down", b"to another")
        gateway.say(f"{prefix}/{one}/up", b"as a device")
        gateway.say(f"{prefix}/{one}/down", b"to it")
        until(lambda: robot.heard and gateway.heard, "both messages")
        assert robot.heard == [(f"{prefix}/{one}/down", b"to it")]
        assert gateway.heard == [(f"{prefix}/{one}/up", b"as itself")]
    # MQTT 5 says what 3.1.1 hides.
    with site.client("robot-1", v5=True) as robot:
        robot.say(f"{prefix}/{two}/up", b"as another")
        assert robot.reasons == ["Not authorized"]


@pytest.mark.usefixtures("broker")
def test_nobody_takes_anothers_connection(site: Site) -> None:
    # The certificate's name is the client, whatever it calls itself.
    with site.client("gw-1", name="the-gateway") as gateway:
        with site.client("robot-1", name="the-gateway"), site.client("robot-2", name="the-gateway"):
            pass
        gateway.hear("tallystick/1/acme/+/up")
        assert not gateway.gone.is_set()


@pytest.mark.usefixtures("broker")
def test_nothing_is_retained_and_nothing_too_large_taken(site: Site) -> None:
    topic = f"tallystick/1/acme/{site.member('robot-1').id_text}/up"
    with site.client("robot-1") as robot:
        robot.throw(topic, b"kept?", retain=True)
        assert robot.gone.wait(S_MAX)
    with site.client("robot-1") as robot:
        robot.throw(topic, bytes(2 << 20))
        assert robot.gone.wait(S_MAX)
    with site.client("gw-1") as gateway:
        gateway.hear("tallystick/1/acme/+/up")
        gateway.hear("tallystick/1/acme/+/up")
        assert gateway.heard == []


def test_what_it_writes_and_what_a_second_time_leaves(site: Site) -> None:
    assert "bring these folders" in site.said
    for label in ("gw-1", "robot-1", "robot-2"):
        assert str(site.member(label).path) in site.said
    config = json.loads((site.member("robot-1").path / "tallystick.json").read_text())
    assert config["uplink"] == f"mqtts://localhost:{site.port}"
    assert config["tls"] == {"ca": "broker-ca.pem", "cert": "broker.pem", "key": "broker.key"}
    for name in ("ca.key", "server.key", "acl"):
        assert (site.files / name).stat().st_mode & 0o077 == 0, name
    before = {p: p.read_bytes() for p in site.fleet.rglob("*") if p.is_file()}
    assert "bring these folders" not in site.configure()
    assert {p: p.read_bytes() for p in site.fleet.rglob("*") if p.is_file()} == before
    # The authority's key went nowhere.
    secret = before[site.files / "ca.key"]
    assert [p for p, data in before.items() if secret in data] == [site.files / "ca.key"]


def test_it_renews_what_ends_and_adds_who_came(tmp_path: Path) -> None:
    site = Site(tmp_path)
    old = (site.files / "server.pem").read_bytes()
    site.configure("--valid-days", authority.RENEW_DAYS - 1)
    assert (site.files / "server.pem").read_bytes() == old
    (site.files / "server.pem").unlink()
    member = site.member("robot-1").path / "broker.pem"
    member.unlink()
    said = site.configure("--valid-days", authority.RENEW_DAYS - 1)
    assert "new certificate" in said
    assert str(member.parent) in said
    assert str(site.member("robot-2").path) not in said
    # Ends too soon to be left as it is.
    said = json.loads(site.configure("--json"))
    assert said["server"] is True
    assert said["members"] == ["robot-1"]
    good("fleet", "enroll", site.fleet, "gw-2", "--kind", "gateway", "--broker", "mqtt://old")
    good("fleet", "enroll", site.fleet, "robot-3", "--broker", "serial:/dev/ttyACM0")
    said = json.loads(site.configure("--json"))
    assert said == {**said, "server": False, "members": ["gw-2"]}
    acl = (site.files / "acl").read_text()
    assert acl.count("user ") == 3
    assert site.member("gw-2").id_text in acl
    # Another name: another certificate.
    said = json.loads(site.configure("--host", "10.0.0.2", "--json"))
    assert said["server"] is True
    made = x509.load_pem_x509_certificate((site.files / "server.pem").read_bytes())
    assert authority.names_of(made) == {"localhost", "127.0.0.1", "10.0.0.2"}


def test_what_it_refuses(site: Site, tmp_path: Path) -> None:
    fleet = site.fleet
    command = ("gateway", "broker-config", fleet)
    own = Authority(tmp_path / "own")
    for options, says in (
        ((), "--host"),
        (("--host", "broker:1883"), "without a port"),
        (("--host", "a b"), "without a port"),
        (("--host", "b", "--at", "relative"), "an absolute path"),
        (("--host", "b", "--at", "/with a blank"), "an absolute path"),
        (("--host", "b", "--persistence", "/x\nuser root"), "an absolute path"),
        (("--host", "b", "--ca", own.file), "both or neither"),
        (("--host", "b", "--ca", own.file, "--ca-key", own.server()[1]), "not the key of its"),
    ):
        done = run(*command, *options)
        assert done.exit_code != 0, options
        said = f"{done.output} {done.exception}"
        assert says in said, (options, said)
    assert run("gateway", "broker-config", tmp_path, "--host", "b").exit_code != 0
    lost = Site(tmp_path / "lost")
    (lost.files / "ca.key").unlink()
    done = run("gateway", "broker-config", lost.fleet, "--host", "b")
    assert "ca.key is gone" in str(done.exception)
