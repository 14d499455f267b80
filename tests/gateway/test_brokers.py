"""Any broker, MQTT 3.1.1 and 5; sessions lost, messages twice, a client that hangs."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.test_broker import custody_to
from support.devices import Device, Fleet
from support.rawbroker import FIVE, RawBroker
from support.serialsite import decisions, robot
from support.site import Radio, Site, until
from tallystick.evidence.errors import Malformed
from tallystick.gateway import check, limits
from tallystick.gateway.broker import Broker
from tallystick.gateway.config import BrokerConfig, Protocol
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.service import Gateway
from tallystick.recorder import Recorder
from tallystick.tools.embedded_broker import EmbeddedBroker
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
VERSIONS = ("3.1.1", "5")


def speaking(site: Site, protocol: str) -> Site:
    text = site.path.read_text().replace("[broker]", f'[broker]\nprotocol = "{protocol}"')
    site.path.write_text(text)
    return site


def device(site: Site, name: str = "robot-1", segments: int = 5) -> Device:
    made = ACME.device(name)
    for _ in range(segments):
        made.record(4)
    site.enrol(made)
    return made


# --- both versions, several brokers -------------------------------------------------------------


@pytest.mark.parametrize("protocol", VERSIONS)
def test_the_whole_way_and_what_waits_while_the_gateway_is_away(
    tmp_path: Path, mosquitto: Mosquitto, protocol: str
) -> None:
    site = speaking(Site(tmp_path / "gateway", ACME, mosquitto.port, f"gw-{protocol}"), protocol)
    site.with_prefix(f"tallystick/{protocol}")
    made = device(site)
    with Radio(mosquitto.port, made, f"tallystick/{protocol}") as radio:
        with site.running():
            radio.up(made.hello(), *made.segments()[:2])
            until(lambda: custody_to(radio, site) == made.stretches[1].to, "custody")
        # The session stays, of either version.
        radio.up(*made.segments()[2:])
        with site.running() as gateway:
            until(lambda: custody_to(radio, site) == made.size, "custody")
            assert gateway.broker.sessions_lost == 0
            assert gateway.broker.lost == 0
    assert site.status()["records"] == made.size


def test_another_maker_s_broker(tmp_path: Path) -> None:
    with EmbeddedBroker() as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        made = device(site)
        with site.running(), Radio(broker.port, made) as radio:
            radio.up(made.hello(), *made.segments())
            until(lambda: custody_to(radio, site) == made.size, "custody")
    assert site.status()["records"] == made.size


@pytest.mark.parametrize(("protocol", "other"), [VERSIONS, VERSIONS[::-1]])
def test_a_broker_of_the_other_version_says_what_to_set(
    tmp_path: Path, protocol: Protocol, other: Protocol
) -> None:
    raw = RawBroker(versions=(FIVE,) if protocol == "3.1.1" else (4,))
    site = speaking(Site(tmp_path / "gateway", ACME, raw.port), protocol)
    broker = Broker(site.config.broker, Inbox())
    broker.start()
    until(lambda: f'broker.protocol = "{other}"' in broker.error, "the advice")
    broker.stop()
    found = {one.name: one for one in check.check(site.config)}["broker"]
    assert not found.good
    assert f'broker.protocol = "{other}"' in found.found
    # And with that it goes.
    broker = Broker(BrokerConfig(port=raw.port, client_id="x", protocol=other), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the subscription")
    broker.stop()
    raw.close()


def test_a_broker_that_hangs_up_on_mqtt_5_may_speak_3_1_1(tmp_path: Path) -> None:
    # Seen of RabbitMQ 3.10.
    raw = RawBroker(versions=(4,), curt=True)
    site = speaking(Site(tmp_path / "gateway", ACME, raw.port), "5")
    broker = Broker(site.config.broker, Inbox())
    broker.start()
    until(lambda: 'broker.protocol = "3.1.1"' in broker.error, "the advice")
    broker.stop()
    found = {one.name: one for one in check.check(site.config)}["broker"]
    assert 'broker.protocol = "3.1.1"' in found.found
    raw.close()


def test_a_version_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"protocol"):
        _ = speaking(Site(tmp_path / "gateway", ACME, 1), "3.1").config


def test_mqtt_5_says_what_the_access_list_denies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)
    acl = tmp_path / "acl"
    acl.write_text("topic read tallystick/1/+/up\n")
    acl.chmod(0o600)
    with Mosquitto(tmp_path / "broker", settings=f"acl_file {acl}") as broker:
        site = speaking(Site(tmp_path / "gateway", ACME, broker.port), "5")
        made = device(site)
        with site.running() as gateway:
            gateway.broker.publish(made.id, b"x")
            until(lambda: "Not authorized" in gateway.broker.error, "the refusal")
            assert gateway.broker.down_dropped == 1
            until(
                lambda: "access list" in site.status()["process"].get("error", ""), "what is told"
            )


# --- sessions -----------------------------------------------------------------------------------


def wipe(broker: Mosquitto) -> None:
    """Kill it, lose what it had on disk, start it."""
    broker.kill()
    (broker.folder / "mosquitto.db").unlink(missing_ok=True)
    broker.start()


@pytest.mark.parametrize("protocol", VERSIONS)
@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_a_broker_that_lost_its_sessions_is_seen_and_nothing_is_missing_in_the_end(
    tmp_path: Path, protocol: str
) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        site = speaking(Site(tmp_path / "gateway", ACME, broker.port), protocol)
        uplink = f"mqtt://{broker.host}:{broker.port}"
        config = robot(site, tmp_path / "robot", uplink, checkpoint_records=1, resend_s=1)
        tally = Recorder.open(config)
        with site.running() as gateway:
            for number in range(50):
                tally.decision("m@1", {"n": number})
            until(lambda: gateway.broker.session_at, "the session")
            wipe(broker)
            until(lambda: gateway.broker.sessions_lost == 1, "that it was lost")
            until(lambda: gateway.broker.subscribed, "the subscription")
            for number in range(50, 100):
                tally.decision("m@1", {"n": number})
            tally.flush()
            until(lambda: decisions(site) == list(range(100)), "all of them")
        # The gateway is away this time, and knows when it comes back.
        wipe(broker)
        with site.running() as gateway:
            assert gateway.broker.sessions_lost == 1
            tally.decision("m@1", {"n": 100})
            tally.flush()
            until(lambda: decisions(site) == list(range(101)), "the last")
            until(lambda: site.status()["process"]["sessions_lost"] == 1, "what is told")
        tally.close()


# --- what comes twice, and what hangs -----------------------------------------------------------


@pytest.fixture
def raw() -> Iterator[RawBroker]:
    made = RawBroker()
    yield made
    made.close()


@pytest.mark.parametrize("protocol", VERSIONS)
def test_a_message_that_comes_twice_is_counted_and_acknowledged_once(
    raw: RawBroker, protocol: Protocol
) -> None:
    inbox = Inbox()
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw", protocol=protocol), inbox)
    broker.start()
    assert raw.subscribed.wait(60)
    until(lambda: broker.subscribed, "the subscription")
    raw.publish("tallystick/1/x/up", b"one", 7)
    raw.publish("tallystick/1/x/up", b"one", 7, dup=True)
    raw.publish("tallystick/1/x/up", b"two", 8)
    until(lambda: len(inbox) >= 2, "both")
    taken = inbox.take(1.0)
    assert [one.message.payload for one in taken] == [b"one", b"two"]
    assert broker.duplicates == 1
    assert raw.acked == []
    broker.ack(taken)
    until(lambda: len(raw.acked) == 2, "the acknowledgements")
    # Then the number means another message.
    raw.publish("tallystick/1/x/up", b"three", 7)
    (third,) = until(lambda: inbox.take(0.1), "the third")
    broker.ack([third])
    until(lambda: len(raw.acked) == 3, "its acknowledgement")
    assert raw.acked == [7, 8, 7]
    broker.stop()


def test_what_waits_goes_down_once_a_connection_is_made_whole(
    raw: RawBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """paho goes through what is not acknowledged meanwhile, in a table that must not grow then."""
    monkeypatch.setattr(limits, "RECONNECT_S_MIN", 0.1)
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the subscription")
    client = broker._client
    assert client is not None
    for _ in range(3):
        assert broker.publish(bytes(32), b"one")
    until(lambda: len(client._out_messages) == 3, "what is not acknowledged")
    raw.hang_up()
    until(lambda: broker.lost == 1, "the loss")
    for _ in range(3):
        broker._downs.append(("tallystick/1/x/down", b"two"))
    until(lambda: broker.subscribed, "the connection")
    until(lambda: len(client._out_messages) == 6, "the others")
    assert client.thread is not None and client.thread.is_alive()
    broker.stop()


def test_a_process_that_was_stopped_as_a_whole_keeps_its_client(raw: RawBroker) -> None:
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the subscription")
    client = broker._client
    assert client is not None
    client.beat = lambda: None
    for passed_s, replaced in ((2 * limits.WATCHDOG_S, 0), (0.0, 1)):
        broker._beat_s -= 2 * limits.WATCHDOG_S
        broker._watched_s -= passed_s
        broker.watch()
        assert broker.replaced == replaced
    broker.stop()


def test_a_client_whose_thread_ended_is_replaced_at_once(
    raw: RawBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda *_: None)
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the subscription")
    broker.watch()
    client = broker._client
    assert client is not None and broker.replaced == 0

    def defect() -> None:
        raise ZeroDivisionError

    client.beat = defect
    until(lambda: client.thread is None, "its end")
    broker.watch()
    assert broker.replaced == 1
    until(lambda: broker.subscribed, "the connection")
    assert broker.hung == []
    broker.stop()


def test_a_callback_that_stands_still_is_found_and_the_message_comes_again(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)
    site = Site(tmp_path / "gateway", ACME, mosquitto.port, "gw-still")
    site.with_prefix("tallystick/1/still")
    made = device(site)
    released = threading.Event()
    with site.running() as gateway, Radio(mosquitto.port, made, "tallystick/1/still") as radio:
        real = gateway.inbox.put
        stood: list[Delivery] = []

        def stand(delivery: Delivery, alive: object) -> bool:
            if not stood:
                stood.append(delivery)
                released.wait(60)
                return False
            return real(delivery, alive)  # type: ignore[arg-type]

        monkeypatch.setattr(gateway.inbox, "put", stand)
        monkeypatch.setattr(limits, "WATCHDOG_S", 1.5)
        radio.up(made.hello(), *made.segments())
        until(lambda: gateway.broker.replaced >= 1, "the watchdog")
        # The new client may take its time to connect.
        monkeypatch.setattr(limits, "WATCHDOG_S", 60.0)
        # What the old client had and never acknowledged comes to the new one.
        until(lambda: custody_to(radio, site) == made.size, "custody")
        until(lambda: site.status()["process"]["clients_replaced"] >= 1, "what is told")
        released.set()


def test_a_broker_that_takes_connections_and_says_nothing_is_left_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "KEEPALIVE_S", 1)
    raw = RawBroker(mute=True)
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.error, "that it is seen")
    assert not broker.connected
    raw._mute = False
    until(lambda: broker.subscribed, "the connection")
    broker.stop()
    raw.close()


def test_a_client_that_was_given_up_gives_no_sign_of_life_for_the_one_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    raw = RawBroker()
    broker = Broker(BrokerConfig(port=raw.port, client_id="gw"), Inbox())
    broker.start()
    until(lambda: broker.subscribed, "the connection")
    old = broker._client
    assert old is not None
    monkeypatch.setattr(limits, "WATCHDOG_S", -1.0)
    broker.watch()
    monkeypatch.setattr(broker, "_beat_s", -1.0)
    monkeypatch.setattr(broker, "_client", None)  # so that the new one is silent
    old.beat()
    assert broker._beat_s == -1.0
    monkeypatch.undo()
    broker.stop()
    raw.close()


def test_a_refused_subscription_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WATCHDOG_TICK_S", 0.1)
    asked: list[str] = []
    with Mosquitto(tmp_path / "broker") as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        gateway = Gateway(site.config)
        try:
            gateway.broker.start()
            until(lambda: gateway.broker.subscribed, "the subscription")
            client = gateway.broker._client
            assert client is not None
            monkeypatch.setattr(client, "subscribe", lambda topic, **_: asked.append(topic))
            gateway.broker.subscribed = False
            gateway.broker.watch()
            assert asked == []  # not at once
            gateway.broker._asked_s -= limits.KEEPALIVE_S
            gateway.broker.watch()
            until(lambda: asked, "the client's thread")
            assert asked == ["tallystick/1/+/up"]
        finally:
            gateway.stop()
