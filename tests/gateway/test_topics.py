"""A13: whose topic, whose client id, whose last will: what a broker lets through proves nothing."""

from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from support.devices import Fleet
from support.site import Radio, Site, until
from support.watching import Looking
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


@pytest.fixture
def site(tmp_path: Path, mosquitto: Mosquitto) -> Site:
    made = Site(tmp_path, ACME, mosquitto.port, "topics")
    made.with_prefix("topics")
    return made


def counts(site: Site) -> dict[str, int]:
    """What was refused, by reason."""
    return {name: row["count"] for name, row in site.status()["refused"].items()}


def stranger(port: int, name: str, topic: str = "", will: bytes = b"") -> mqtt.Client:
    """A connection that is not ours, with a last will perhaps."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    if will:
        client.will_set(topic, will, qos=1)
    joined: list[bool] = []
    client.on_connect = lambda *_: joined.append(True)
    client.connect("127.0.0.1", port)
    client.loop_start()
    until(lambda: joined, "the stranger")
    return client


def killed(client: mqtt.Client) -> None:
    """Its link breaks, so that the broker speaks its last will."""
    client._thread_terminate = True
    sock = client.socket()
    assert sock is not None
    sock.close()


def test_a_forged_last_will_is_refused_and_counted(site: Site, mosquitto: Mosquitto) -> None:
    robot, other = ACME.device("robot"), ACME.device("other")
    other.record(2)
    for device in (robot, other):
        site.enrol(device)
    with site.running(), Radio(mosquitto.port, robot, "topics") as radio:
        until(lambda: site.status()["devices"] == 2, "the devices")
        forged = bytearray(other.segment())
        forged[4:36] = robot.id
        # Garbage, another's segment, and one that names the robot under the other's signature.
        for number, (will, reason) in enumerate(
            ((b"gone", "unknown-kind"), (other.segment(), "wrong-device"), (bytes(forged), "any"))
        ):
            before = counts(site)
            killed(stranger(mosquitto.port, f"ghost-{number}", radio.topic, will))

            def counted(before: dict[str, int] = before, reason: str = reason) -> bool:
                now = counts(site)
                grown = {name for name in now if now[name] > before.get(name, 0)}
                return bool(grown) and (reason == "any" or reason in grown)

            until(counted, f"the refusal of a will: {reason}")
        assert site.status()["records"] == 0
        robot.record(2)
        radio.up(*robot.segments())
        until(lambda: site.status()["records"] == 3, "the robot's own")


def test_who_takes_the_gateways_client_id_ends_nothing(site: Site, mosquitto: Mosquitto) -> None:
    robot = ACME.device("robot")
    site.enrol(robot)
    with site.running() as gateway, Radio(mosquitto.port, robot, "topics") as radio:
        looking = Looking(gateway)
        robot.record(2)
        radio.up(*robot.segments())
        until(radio.statements, "the first receipt")
        thief = stranger(mosquitto.port, site.config.broker.client_id)
        thief.disconnect()
        thief.loop_stop()
        until(lambda: gateway.broker.lost >= 1, "the loss")
        until(lambda: gateway.broker.subscribed, "the gateway again")
        # The thief's clean session took what the broker kept, so the robot sends it again.
        receipts = len(radio.statements())
        robot.record(2)
        radio.up(*robot.segments())
        until(lambda: site.status()["records"] == 5, "all of it")
        until(lambda: len(radio.statements()) > receipts, "the second receipt")
        assert looking.look().snapshot.process.connections_lost >= 1
        looking.close()
