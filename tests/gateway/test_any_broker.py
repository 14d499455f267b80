"""What gateways and robots need of any broker: on Mosquitto here, on another one by its address.

    TALLYSTICK_BROKER=127.0.0.1:1883 TALLYSTICK_BROKER_RESTART='systemctl restart rabbitmq-server' \
        python -m pytest -s tests/gateway/test_any_broker.py

The broker takes clients without a name and is nobody else's. With TALLYSTICK_BROKER_PROTOCOLS=3.1.1
the gateway speaks that alone. docs/operations.md says which brokers were tried so.
"""

import os
import secrets
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from gateway.test_broker import custody_to
from recorder.test_resuming import Running
from support.devices import Fleet
from support.serialsite import decisions, robot
from support.site import Radio, Site, until
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.gateway.service import Gateway
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")
NAMED = os.environ.get("TALLYSTICK_BROKER", "")
RESTART = os.environ.get("TALLYSTICK_BROKER_RESTART", "")
PROTOCOLS = os.environ.get("TALLYSTICK_BROKER_PROTOCOLS", "3.1.1 5").split()
LARGE = 3_500  # records of one segment
WAIT_S = 90.0  # a broker in Erlang takes its time to start


@pytest.fixture
def port(mosquitto: Mosquitto) -> int:
    return int(NAMED.rpartition(":")[2]) if NAMED else mosquitto.port


def site_of(folder: Path, port: int, protocol: str) -> Site:
    """One whose name and topics no test before had: its session is new to the broker."""
    name = f"gw-{secrets.token_hex(4)}"
    site = Site(folder, ACME, port, name)
    text = site.path.read_text().replace("[broker]", f'[broker]\nprotocol = "{protocol}"')
    site.path.write_text(text)
    site.with_prefix(f"tallystick/{name}")
    return site


def cut(gateway: Gateway) -> None:
    """The line to the broker breaks."""
    client = gateway.broker._client
    assert client is not None
    line: Any = client.socket()
    line.shutdown(socket.SHUT_RDWR)


def forget(site: Site, protocol: str) -> None:
    """The broker's session of this gateway ends, as where a broker lost what it had on disk."""
    five = protocol == "5"
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=site.config.broker.client_id,
        clean_session=None if five else True,
        protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
    )
    clean = True if five else mqtt.MQTT_CLEAN_START_FIRST_ONLY
    client.connect("127.0.0.1", site.config.broker.port, clean_start=clean)
    client.loop_start()
    until(client.is_connected, "the connection")
    client.disconnect()
    client.loop_stop()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sessions_repetitions_and_size(tmp_path: Path, port: int, protocol: str) -> None:
    site = site_of(tmp_path / "gateway", port, protocol)
    made = ACME.device()
    for count in (4, 4, 4, 4, LARGE):
        made.record(count)
    assert SEGMENT_BYTES_MAX // 2 < len(made.segments()[4]) <= SEGMENT_BYTES_MAX
    site.enrol(made)
    with Radio(port, made, site.config.broker.prefix) as radio:
        with site.running() as gateway:
            radio.up(made.hello(), *made.segments()[:2])
            until(lambda: custody_to(radio, site) == made.stretches[1].to, "custody")
            # What is not acknowledged when the line breaks comes again, and counts once.
            gateway.broker.ack = lambda group: None  # type: ignore[method-assign]
            radio.up(made.segments()[2])
            until(lambda: custody_to(radio, site) == made.stretches[2].to, "custody")
            del gateway.broker.ack
            cut(gateway)
            until(lambda: gateway.broker.lost == 1, "the loss")
            until(lambda: gateway.broker.subscribed, "the connection")
            until(lambda: site.refused("replayed") >= 1, "the repetition")
            assert gateway.broker.sessions_lost == 0
        # The session stays with the broker, with what came while the gateway was away.
        radio.up(made.segments()[3])
        with site.running() as gateway:
            until(lambda: custody_to(radio, site) == made.stretches[3].to, "custody")
            assert gateway.broker.sessions_lost == 0
        # A session that was lost is seen, and the device goes on from its receipt.
        forget(site, protocol)
        with site.running() as gateway:
            until(lambda: gateway.broker.sessions_lost == 1, "that it was lost")
            radio.up(made.hello(), *made.segments()[4:])
            until(lambda: custody_to(radio, site) == made.size, "custody")
    assert site.status()["records"] == made.size


if NAMED:

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_robots_and_a_board_through_a_restart(
        tmp_path: Path, protocol: str, micropython64: MicroPython, device_library: Path
    ) -> None:
        port = int(NAMED.rpartition(":")[2])
        site = site_of(tmp_path / "gateway", port, protocol)
        prefix = site.config.broker.prefix
        config = robot(site, tmp_path / "board", f"mqtt://127.0.0.1:{port}", prefix=prefix)
        with site.running() as gateway:
            board = Running(micropython64, device_library, tmp_path / "board", 0, 1500)
            until(lambda: len(decisions(site)) > 200, "some custody", WAIT_S)
            if RESTART:
                subprocess.run(shlex.split(RESTART), check=True, timeout=WAIT_S)
                until(lambda: gateway.broker.lost >= 1, "the loss", WAIT_S)
                until(lambda: gateway.broker.subscribed, "the connection", WAIT_S)
            board.ended()
            print(f"\n{NAMED}, MQTT {protocol}: sessions lost {gateway.broker.sessions_lost}")
        assert decisions(site) == list(range(1500))
        assert config["uplink"].startswith("mqtt:")
