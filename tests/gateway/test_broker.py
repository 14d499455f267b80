"""The gateway on a real Mosquitto: the whole way, bad input, restarts, silence."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.devices import Device, Fleet
from support.notary import Notary
from support.site import Radio, Site, until
from tallystick.evidence import custody
from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.evidence.kinds import NOTICE, RESEND_REQUEST, WELCOME
from tallystick.gateway import limits
from tallystick.gateway.brokerclient import make_client
from tallystick.gateway.inbox import Delivery
from tallystick.gateway.ingest import Message
from tallystick.gateway.service import Gateway, run
from tallystick.gateway.store import StoreBusy
from tallystick.tools._ports import free_port
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker of this test's own, which keeps retained messages, as careless ones do."""
    settings = "retain_available true"
    made = Mosquitto(tmp_path / "broker", settings=settings)
    text = made._configuration().replace("retain_available false\n", "")
    made._configuration = lambda: text  # type: ignore[method-assign]
    with made:
        yield made


@pytest.fixture
def site(tmp_path: Path, broker: Mosquitto) -> Site:
    return Site(tmp_path / "gateway", ACME, broker.port)


@pytest.fixture
def robot(site: Site) -> Device:
    made = ACME.device()
    for _ in range(5):
        made.record(4)
    site.enrol(made)
    return made


def custody_to(radio: Radio, site: Site) -> int:
    found = 0
    for data in radio.statements():
        try:
            found = max(found, custody.parse(data).verify(site.key).to)
        except TallyError:
            continue
    return found


def test_the_whole_way(site: Site, broker: Mosquitto, robot: Device) -> None:
    with site.running(), Radio(broker.port, robot) as radio:
        radio.up(robot.hello(), *robot.segments())
        until(lambda: custody_to(radio, site) == robot.size, "custody")
        assert radio.of_kind(WELCOME)
        status = site.status()  # while it runs
        assert (status["devices"], status["records"], status["refused"]) == (1, 21, {})
        until(lambda: site.status()["process"].get("connected"), "the state")
    process = site.status()["process"]
    assert process.pop("store")["level"] == "ok"
    assert process == {
        "running": False,
        "connected": False,
        "error": "",
        "not_taken": 0,
        "not_sent_down": 0,
        "clients_replaced": 0,
        "sessions_lost": 0,
        "duplicates": 0,
        "session_at": f"{site.config.broker} {site.config.broker.client_id}",
        "reload_error": "",
        "left_to_others": 0,
        "parked_dropped": 0,
        "circuits": {},
    }


def test_a_device_may_bring_its_own_credential(site: Site, broker: Mosquitto) -> None:
    newcomer = ACME.device("newcomer")
    newcomer.record(3)
    with site.running(), Radio(broker.port, newcomer) as radio:
        radio.up(newcomer.segment())
        until(lambda: radio.of_kind(NOTICE), "the notice")
        assert site.refused("unknown-device") in {0, 1}  # counted within a second
        radio.up(newcomer.hello(), newcomer.segment())
        until(lambda: custody_to(radio, site) == newcomer.size, "custody")
    assert site.refused("unknown-device") == 1


def test_an_enrolment_that_is_added_later_is_found(
    site: Site, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ENROLMENTS_RESCAN_S", 0.1)
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)
    late = ACME.device("late")
    late.record(3)
    with site.running(), Radio(broker.port, late) as radio:
        site.enrol(late)
        (site.folder / "enrolments" / "broken.cbor").write_bytes(b"nonsense")

        def taken() -> bool:
            radio.up(late.segment())
            return custody_to(radio, site) == late.size

        until(taken, "custody")


def test_bad_input_is_refused_by_name_and_the_good_goes_through(
    site: Site, broker: Mosquitto, robot: Device
) -> None:
    other = ACME.device("other")
    other.record(4)
    site.enrol(other)
    stranger = Fleet("nobody").device()
    stranger.record(2)
    good = robot.segment(0, 1)
    damaged = bytearray(good)
    damaged[-1] ^= 1
    with site.running(), Radio(broker.port, robot) as radio:
        radio.up(good[:-3], good + b"\x00", bytes(damaged), bytes(300_000), b"", b"hello")
        radio.up(good.replace(b"grip", b"drop", 1))
        radio.up(good[:46] + b"\x18\x00" + good[47:])
        radio.up(other.segment())
        radio.up(good, topic="tallystick/1/robot-1/up")
        radio.up(stranger.segment(), topic=f"tallystick/1/{stranger.text}/up")
        radio.up(good, topic="tallystick/1/elsewhere")
        radio.up(*reversed(robot.segments()))
        radio.up(good, retain=True)
        radio.up(*robot.segments())
        until(lambda: custody_to(radio, site) == robot.size, "custody")
        # The retained copy comes with the next subscription.
    with site.running(), Radio(broker.port, robot) as radio:
        until(lambda: site.refused("retained") == 1, "the retained message")
        radio.up(*robot.segments()[:1])
    refused = {reason: row["count"] for reason, row in site.status()["refused"].items()}
    assert refused.pop("replayed") >= 4
    assert refused == {
        "truncated": 2,
        "trailing-bytes": 1,
        "bad-signature": 1,
        "too-large": 1,
        "unknown-kind": 1,
        "bad-root": 1,
        "non-canonical": 1,
        "wrong-device": 1,
        "wrong-topic": 1,
        "unknown-device": 1,
        "retained": 1,
    }
    assert site.status()["records"] == robot.size


def test_what_came_while_the_gateway_was_away_is_not_lost(
    site: Site, broker: Mosquitto, robot: Device
) -> None:
    with site.running():
        pass  # the durable session exists now
    with Radio(broker.port, robot) as radio:
        radio.up(*robot.segments())
        with site.running():
            until(lambda: custody_to(radio, site) == robot.size, "custody")


def test_the_broker_is_restarted_in_the_middle(
    site: Site, broker: Mosquitto, robot: Device
) -> None:
    with site.running() as gateway:
        with Radio(broker.port, robot) as radio:
            radio.up(*robot.segments()[:2])
            until(lambda: custody_to(radio, site) == robot.stretches[1].to, "custody")
        broker.kill()
        until(lambda: not gateway.broker.connected, "the loss of the connection")
        broker.start()
        until(lambda: gateway.broker.subscribed, "the connection")
        with Radio(broker.port, robot) as radio:
            # The device goes on where its receipts end.
            radio.up(robot.hello(), *robot.segments()[2:])
            until(lambda: custody_to(radio, site) == robot.size, "custody")
    assert site.status()["segments"] == 5


def test_nothing_is_acknowledged_before_it_is_durable(
    site: Site, broker: Mosquitto, robot: Device
) -> None:
    seen: list[int] = []
    with site.running() as gateway, Radio(broker.port, robot) as radio:
        real = gateway.broker.ack

        def look(group: list[Delivery]) -> None:
            stored = site.status()["segments"]  # what another process can read
            seen.extend(stored for _ in group)
            real(group)

        gateway.broker.ack = look  # type: ignore[method-assign]
        radio.up(*robot.segments())
        until(lambda: custody_to(radio, site) == robot.size, "custody")
    assert len(seen) == 5
    assert all(stored >= acked for acked, stored in enumerate(seen, 1))


def test_a_hanging_client_is_replaced(
    site: Site, broker: Mosquitto, robot: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)
    with site.running() as gateway, Radio(broker.port, robot) as radio:
        hanging = gateway.broker._client
        assert hanging is not None
        release: list[bool] = []
        # Its thread stops in the middle of a turn and shows no life any more.
        monkeypatch.setattr(
            hanging, "loop_misc", lambda: until(lambda: release, "the test's end", 110)
        )
        monkeypatch.setattr(limits, "WATCHDOG_S", 2.5)
        until(lambda: gateway.broker.replaced >= 1, "the watchdog")
        # The new client may take its time to connect.
        monkeypatch.setattr(limits, "WATCHDOG_S", 60.0)
        until(lambda: gateway.broker.subscribed, "the new connection")
        radio.up(*robot.segments())
        until(lambda: custody_to(radio, site) == robot.size, "custody")
        release.append(True)


def test_two_gateways_in_one_process_share_a_broker(tmp_path: Path, broker: Mosquitto) -> None:
    globex = Fleet("globex")
    sites = [
        Site(tmp_path / "one", ACME, broker.port, name="one"),
        Site(tmp_path / "two", globex, broker.port, name="two"),
    ]
    robots = [ACME.device(), globex.device()]
    with sites[0].running(), sites[1].running():
        for robot, site in zip(robots, sites, strict=True):
            robot.record(4)
            with Radio(broker.port, robot) as radio:
                radio.up(robot.hello(), robot.segment())
                until(lambda: custody_to(radio, site) == robot.size, "custody")  # noqa: B023
    assert [site.status()["devices"] for site in sites] == [1, 1]


def test_a_second_process_may_not_open_the_store(site: Site) -> None:
    with site.running(), pytest.raises(StoreBusy, match="another process"):
        Gateway(site.config)


def test_it_starts_without_a_broker_and_connects_when_there_is_one(
    tmp_path: Path, robot: Device
) -> None:
    port = free_port()
    site = Site(tmp_path / "waiting", ACME, port, name=f"waiting-{secrets.token_hex(2)}")
    gateway = Gateway(site.config)
    try:
        gateway.start()
        until(lambda: gateway.broker.error, "the error")
        with Mosquitto(tmp_path / "late", port):
            until(lambda: gateway.broker.subscribed, "the connection")
    finally:
        began_s = time.monotonic()
        gateway.stop()
    assert time.monotonic() - began_s < 20


def test_a_hole_is_asked_for(site: Site, broker: Mosquitto, robot: Device) -> None:
    with site.running(), Radio(broker.port, robot) as radio:
        radio.up(*robot.segments()[2:])
        until(lambda: radio.of_kind(RESEND_REQUEST), "the request")
        radio.up(*robot.segments()[:2])
        until(lambda: custody_to(radio, site) == robot.size, "custody")


def test_an_acknowledgement_belongs_to_its_connection(
    site: Site, broker: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    acked: list[int] = []
    with site.running() as gateway:
        client = gateway.broker._client
        assert client is not None
        monkeypatch.setattr(client, "acknowledge", acked.extend)
        session = gateway.broker._session
        message = Message("tallystick/1/x/up", b"")
        gateway.broker.ack(
            [
                Delivery(message, 1, 1, session),
                Delivery(message, 2, 1, session - 1),  # its number means another now
                Delivery(message, 3, 0, session),
                Delivery(message, 4, 1, session),
            ]
        )
        gateway.broker.ack([Delivery(message, 5, 0, session)])
        until(lambda: acked, "the client's thread")
    assert acked == [1, 4]


def test_a_store_goes_on_with_its_own_gateway_only(tmp_path: Path, site: Site) -> None:
    with site.running():
        pass
    other = Site(tmp_path / "other", ACME, 1, name="other")
    with pytest.raises(CouldNotCheck, match="another gateway"):
        Gateway(replace(other.config, store=site.config.store))


def test_a_gateway_that_lost_its_store_stops_with_a_sentence(
    tmp_path: Path, broker: Mosquitto
) -> None:
    notary = Notary(tmp_path / "notary", ACME).start()
    try:
        site = Site(tmp_path / "gateway", ACME, broker.port, validators=notary.toml)
        robot = ACME.device()
        robot.record(4)
        site.enrol(robot)
        with site.running(), Radio(broker.port, robot) as radio:
            radio.up(robot.hello(), *robot.segments())
            until(lambda: site.status()["validators"][0]["cursor"] == 1, "what was sent")
        for file in site.folder.glob("gateway.sqlite*"):
            file.unlink()
        stop = threading.Event()
        late = threading.Timer(20, stop.set)
        late.start()
        # Under another name: of its old session the broker may repeat what was stored and not yet
        # acknowledged, and then the new store has all that was signed.
        broker_config = replace(site.config.broker, client_id="another-client")
        with pytest.raises(CouldNotCheck, match="under a new key and enrolment"):
            run(replace(site.config, broker=broker_config), stop)
        late.cancel()
    finally:
        notary.stop()


def test_a_receipt_does_not_wait_for_the_broker_to_acknowledge_a_packet(site: Site) -> None:
    # It would for 40 ms: a receipt is a small packet after another one, the segment's PUBACK.
    client = make_client(site.config.broker)
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        client.connect("127.0.0.1", nobody.getsockname()[1])
        opened: Any = client.socket()
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        opened.close()
