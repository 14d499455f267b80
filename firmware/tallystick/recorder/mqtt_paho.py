# CPython only
"""MQTT 3.1.1 on CPython, by paho. Callbacks only enqueue."""

import queue
import ssl
from collections.abc import Iterable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tallystick.evidence.errors import TransportError
from tallystick.recorder.config import parse_uplink
from tallystick.recorder.uplink import Uplink

KEEPALIVE_S = 30
RECONNECT_S_MIN = 1
RECONNECT_S_MAX = 60
QUEUE_MESSAGES_MAX = 64
IN_FLIGHT_MAX = 20
DOWN_MESSAGES_MAX = 256


class Mqtt(Uplink):
    """Publishes to <prefix>/<device>/up with QoS 1, listens to <prefix>/<device>/down."""

    def __init__(self, config: dict[str, Any], device: str) -> None:
        scheme, self._host, self._port = parse_uplink(config["uplink"])
        self._up = f"{config['prefix']}/{device}/up"
        self._down = f"{config['prefix']}/{device}/down"
        self._messages: queue.Queue[bytes] = queue.Queue(DOWN_MESSAGES_MAX)
        self._started = False
        # Why the last attempt to connect failed, until connect() has said so.
        self._error: TransportError | None = None
        self.connected = False
        self.session = 0
        # Messages that came faster than they were handled; a lost one is sent again by its sender.
        self.overflowed = 0
        self._tls = tls_context(config["tls"]) if scheme == "mqtts" else None
        self._device = device
        self._client = self._new_client()

    def _new_client(self) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._device,
            clean_session=True,
            protocol=mqtt.MQTTv311,
        )
        client.max_queued_messages_set(QUEUE_MESSAGES_MAX)
        client.max_inflight_messages_set(IN_FLIGHT_MAX)
        client.reconnect_delay_set(RECONNECT_S_MIN, RECONNECT_S_MAX)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        if self._tls is not None:
            client.tls_set_context(self._tls)
        return client

    def connect(self) -> None:
        """Begin to connect; paho's thread connects again by itself from then on."""
        if self._started:
            if self._client.is_connected() and not self.connected:
                # Given up here and not there: greet anew.
                self.session += 1
                self.connected = True
            error, self._error = self._error, None
            if error is not None:
                raise error
            return
        try:
            self._client.connect_async(self._host, self._port, KEEPALIVE_S)
            self._client.loop_start()
        except (OSError, ValueError) as error:
            raise TransportError("no-link", f"{self._host}: {error}") from error
        self._started = True

    def refresh(self) -> None:
        """A new client in place of one that may hang (paho's issue 891); its thread is a daemon."""
        old = self._client
        old.on_connect = old.on_connect_fail = old.on_subscribe = old.on_disconnect = (
            old.on_message
        ) = None
        old.disconnect()
        self.connected = False
        self._started = False
        self._client = self._new_client()

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        if code.is_failure:
            self._error = TransportError("refused", f"{self._host} refused the connection: {code}")
        else:
            client.subscribe(self._down, qos=1)

    def _on_connect_fail(self, *_args: object) -> None:
        self._error = TransportError("no-link", f"{self._host} port {self._port} does not answer")

    def _on_subscribe(self, *_args: object) -> None:
        # Not before: the answer to a hello must find its subscriber.
        self._error = None
        self.session += 1
        self.connected = True

    def _on_disconnect(self, *_args: object) -> None:
        self.connected = False

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if message.retain or message.topic != self._down:
            return
        try:
            self._messages.put_nowait(bytes(message.payload))
        except queue.Full:
            self.overflowed += 1

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        """False when paho's queue is full."""
        if not self.connected:
            return False
        message = b"".join(pieces)
        if len(message) != size:
            raise TransportError("wrong-size", f"a message of {len(message)} bytes, not {size}")
        try:
            info = self._client.publish(self._up, message, qos=1)
        except ValueError as error:
            raise TransportError("not-sent", str(error)) from error
        return info.rc == mqtt.MQTT_ERR_SUCCESS

    def receive(self) -> bytes | None:
        """The next message of the gateway."""
        try:
            return self._messages.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Disconnect and end paho's thread."""
        self._client.disconnect()
        if self._started:
            self._client.loop_stop()
        self.connected = False


def tls_context(paths: dict[str, str]) -> ssl.SSLContext:
    """The broker's certificate is checked against `ca`; `cert` and `key` are the device's own."""
    try:
        context = ssl.create_default_context(cafile=paths["ca"])
        if "cert" in paths:
            context.load_cert_chain(paths["cert"], paths["key"])
    except (OSError, ssl.SSLError) as error:
        raise TransportError("bad-tls", f"the files of tls cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
