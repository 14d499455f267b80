"""The broker that tests and replay start; a device's MQTT client reaches it."""

import queue
import socket
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.evidence.errors import TransportError
from tallystick.tools import _ports, device_library
from tallystick.tools._ports import free_port
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ANSWER_TIMEOUT_S = 60

PUBLISH = """
import sys
from umqtt.simple import MQTTClient
client = MQTTClient("device", sys.argv[1], int(sys.argv[2]))
client.connect()
client.publish(b"tally/test", b"from a device", False, 1)
client.disconnect()
"""


def listen(
    broker: Mosquitto, client_id: str
) -> tuple[mqtt.Client, queue.Queue[bytes], queue.Queue[None]]:
    """A durable subscriber, the payloads that it gets, and a mark when it has subscribed."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=False)
    payloads: queue.Queue[bytes] = queue.Queue()
    subscribed: queue.Queue[None] = queue.Queue()
    client.on_message = lambda _client, _data, message: payloads.put(bytes(message.payload))
    client.on_connect = lambda one, *_: one.subscribe("tally/#", qos=1)
    client.on_subscribe = lambda *_: subscribed.put(None)
    client.connect(broker.host, broker.port)
    client.loop_start()
    return client, payloads, subscribed


def end(client: mqtt.Client) -> None:
    client.disconnect()
    client.loop_stop()


def test_a_device_publishes(
    mosquitto: Mosquitto, micropython32: MicroPython, tmp_path: Path
) -> None:
    client, payloads, subscribed = listen(mosquitto, "test-a-device-publishes")
    try:
        subscribed.get(timeout=ANSWER_TIMEOUT_S)
        (tmp_path / "publish.py").write_text(PUBLISH)
        done = micropython32.run(
            str(tmp_path / "publish.py"),
            mosquitto.host,
            str(mosquitto.port),
            heap="64k",
            path=[device_library.micropython_lib(["umqtt.simple"])],
        )
        assert (done.returncode, done.stdout) == (0, "")
        assert payloads.get(timeout=ANSWER_TIMEOUT_S) == b"from a device"
    finally:
        end(client)


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_sessions_outlive_a_clean_restart(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        client, _, subscribed = listen(broker, "durable")
        subscribed.get(timeout=ANSWER_TIMEOUT_S)
        end(client)
        sender = mqtt.Client(CallbackAPIVersion.VERSION2)
        sender.connect(broker.host, broker.port)
        sender.loop_start()
        sender.publish("tally/test", b"kept", qos=1).wait_for_publish(ANSWER_TIMEOUT_S)
        end(sender)
        broker.stop()
        assert not broker.running
        broker.start()
        client, payloads, _ = listen(broker, "durable")
        try:
            assert payloads.get(timeout=ANSWER_TIMEOUT_S) == b"kept"
        finally:
            end(client)
    assert not broker.running


def test_one_broker_runs_once(mosquitto: Mosquitto) -> None:
    with pytest.raises(TransportError, match="runs already"):
        mosquitto.start()
    assert mosquitto.running


def test_a_broker_that_cannot_start_says_why(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"(?i)no_such_setting"):
        Mosquitto(tmp_path, settings="no_such_setting true").start()


def test_a_free_port_is_nobody_elses() -> None:
    given = [free_port() for _ in range(50)]
    assert len(set(given)) == len(given)
    # Nobody who asks the system for any port is given one of these.
    assert all(port < 32_000 for port in given)
    with socket.create_server(("127.0.0.1", 0)) as any_port:
        assert any_port.getsockname()[1] not in given
    # Two beside each other, of which neither is taken.
    first = free_port(2)
    with socket.create_server(("127.0.0.1", first)), socket.create_server(("127.0.0.1", first + 1)):
        assert free_port() not in {first, first + 1}


def test_processes_that_were_started_in_a_row_begin_far_apart() -> None:
    # One that walked into another's ports would take that of a program that is away for a moment.
    apart = [after * _ports.STRIDE % _ports.PORTS for after in range(1, 13)]
    assert min(min(one, _ports.PORTS - one) for one in apart) > 600
