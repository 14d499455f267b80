# CPython only
"""MQTT 3.1.1 on CPython, by paho. Callbacks only enqueue; whatever waits, waits in paho's thread.

A client of paho's makes one connection: its own way of connecting again knows no chance, and tells
nobody why it failed. When to connect again is recorder/link.py's, as for every uplink.
"""

import queue
import socket
import ssl
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.reasoncodes import ReasonCode

from tallystick.evidence.errors import TransportError
from tallystick.recorder import mqtt_reasons
from tallystick.recorder.config import parse_uplink
from tallystick.recorder.tls_dates import dates
from tallystick.recorder.uplink import Uplink

KEEPALIVE_S = 30
# For the network to answer, and for each answer of the handshake.
CONNECT_S_MAX = 10
# To connect, shake hands and subscribe.
OPEN_S_MAX = 20
CLOSE_S_MAX = 5
QUEUE_MESSAGES_MAX = 64
IN_FLIGHT_MAX = 20
DOWN_MESSAGES_MAX = 256
# X509_V_FLAG_NO_CHECK_TIME, for which Python has no name.
NO_CHECK_TIME = 0x200000
# Of a message beside what it carries: packet type, length, packet number.
PACKET_BYTES = 8


class _Client(mqtt.Client):
    """One connection."""

    def __init__(self, uplink: "Mqtt", device: str) -> None:
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=device,
            clean_session=True,
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        self._uplink = uplink
        self.connect_timeout = CONNECT_S_MAX
        # How far it came, and what went wrong with the socket, which paho says to its log only.
        self.phase = mqtt_reasons.SHAKING if uplink.secure else mqtt_reasons.UP
        self.said = ""
        self.over = False
        self.on_log = self._heard

    def _heard(self, _client: mqtt.Client, _data: object, level: int, text: str) -> None:
        if level == mqtt.MQTT_LOG_ERR:
            self.said = text

    def loop_forever(
        self,
        timeout: float = 1.0,
        retry_first_connection: bool = False,  # noqa: ARG002, FBT001, FBT002  # paho's
    ) -> MQTTErrorCode:
        """As paho's, and tells why it ended."""
        code = MQTTErrorCode.MQTT_ERR_CONN_LOST
        failed: Exception | None = None
        try:
            code = super().loop_forever(timeout)
        except (OSError, ValueError) as error:
            failed = error
        self.over = True
        self._uplink.ended(self, failed)
        return code


class Mqtt(Uplink):
    """Publishes to <prefix>/<device>/up with QoS 1, listens to <prefix>/<device>/down.

    `topics`: (up, down), where they are others.
    """

    def __init__(
        self, config: dict[str, Any], device: str, topics: tuple[str, str] | None = None
    ) -> None:
        scheme, self._host, self._port = parse_uplink(config["uplink"])
        own = f"{config['prefix']}/{device}"
        self._up, self._down = topics or (f"{own}/up", f"{own}/down")
        self._messages: queue.Queue[bytes] = queue.Queue(DOWN_MESSAGES_MAX)
        # Messages that came faster than they were handled; a lost one is sent again by its sender.
        self.overflowed = 0
        self._tls = config["tls"] if scheme == "mqtts" else None
        self.secure = self._tls is not None
        if self._tls is not None:
            tls_context(self._tls)  # whose files are wrong should know now
        self._device = device
        self._client: _Client | None = None
        self._opened_s = 0.0
        # Why the connection ended, until step() has said so.
        self._error: TransportError | None = None
        self.connected = self.opening = False
        self.session = 0

    def connect(self) -> None:
        """Begin to connect, in paho's thread."""
        self._drop()
        client = self._client = _Client(self, self._device)
        client.max_queued_messages_set(QUEUE_MESSAGES_MAX)
        client.max_inflight_messages_set(IN_FLIGHT_MAX)
        client.on_socket_open = self._on_socket
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self.undated = None
        if self._tls is not None:
            client.tls_set_context(tls_context(self._tls))
        self._opened_s = time.monotonic()
        self._error = None
        self.opening = True
        client.connect_async(self._host, self._port, KEEPALIVE_S)
        client.loop_start()

    def step(self) -> bool:
        """Say why the connection ended, or give up one that takes too long."""
        error = self._error
        if error is None and self.opening and time.monotonic() - self._opened_s > OPEN_S_MAX:
            error = TransportError("no-answer", f"{self._host} does not answer")
        if error is not None:
            self._drop()
            raise error
        return False

    def refresh(self) -> None:
        """Give this connection up: its thread may hang (paho's issue 891), and is a daemon."""
        self._drop()

    def _drop(self) -> None:
        # What the old client's thread still does is nobody's; its socket is closed where it opens.
        client, self._client = self._client, None
        self.connected = self.opening = False
        self._error = None
        if client is not None:
            client.disconnect()

    # In paho's thread.

    def ended(self, client: _Client, error: Exception | None) -> None:
        """The connection is over, or there was none."""
        if client is not self._client:
            return
        if error is not None:
            self._error = mqtt_reasons.of_error(error, self._host, client.phase)
        elif self._error is None:
            text = client.said or "the connection was closed"
            self._error = mqtt_reasons.of_text(text, self._host, client.phase)
        self.connected = False
        # So that step() is asked.
        self.opening = True

    def _on_socket(self, client: mqtt.Client, _data: object, sock: Any) -> None:
        if not isinstance(client, _Client) or client is not self._client:
            sock.close()
            return
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.secure:
            client.phase = mqtt_reasons.GREETING
        if self.secure and not clock_is_set():
            self.undated = dates(sock.getpeercert(binary_form=True))

    def _on_connect(
        self, client: mqtt.Client, _data: object, _flags: object, code: ReasonCode, _props: object
    ) -> None:
        if not isinstance(client, _Client) or client is not self._client:
            return
        client.phase = mqtt_reasons.UP
        if code.is_failure:
            text = f"{self._host} refused the connection: {code}"
            self._error = TransportError("refused", text)
        else:
            client.subscribe(self._down, qos=1)

    def _on_subscribe(
        self, client: mqtt.Client, _data: object, _mid: int, codes: list[ReasonCode], _props: object
    ) -> None:
        if client is not self._client:
            return
        if any(code.is_failure for code in codes):
            self._error = mqtt_reasons.not_allowed(self._host)
            return
        # Not before: the answer to a hello must find its subscriber.
        self.session += 1
        self.connected = True
        self.opening = False

    def _on_message(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        if client is not self._client or message.retain or message.topic != self._down:
            return
        try:
            self._messages.put_nowait(bytes(message.payload))
        except queue.Full:
            self.overflowed += 1

    # Messages.

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        """False when paho's queue is full."""
        client = self._client
        if client is None or not self.connected:
            return False
        message = b"".join(pieces)
        if len(message) != size:
            raise TransportError("wrong-size", f"a message of {len(message)} bytes, not {size}")
        try:
            info = client.publish(self._up, message, qos=1)
        except ValueError as error:
            raise TransportError("not-sent", str(error)) from error
        if info.rc != mqtt.MQTT_ERR_SUCCESS:
            return False
        if self.bucket is not None:
            self.bucket.take(size + len(self._up) + PACKET_BYTES)
        return True

    def receive(self) -> bytes | None:
        """The next message of the gateway."""
        try:
            return self._messages.get_nowait()
        except queue.Empty:
            return None

    def close(self) -> None:
        """Disconnect, and wait for paho's thread, for a moment."""
        client = self._client
        if client is not None and self.connected:
            client.disconnect()
            until_s = time.monotonic() + CLOSE_S_MAX
            while not client.over and time.monotonic() < until_s:
                time.sleep(0.001)
        self._drop()


def clock_is_set() -> bool:
    """Whether this machine knows the time; where it does not, no certificate's dates mean much."""
    from tallystick.recorder import clock  # noqa: PLC0415  # so that its constant is asked for now

    return clock.machine_s() is not None


def tls_context(paths: dict[str, str]) -> ssl.SSLContext:
    """The broker's certificate is checked against `ca`; `cert` and `key` are the device's own."""
    try:
        context = ssl.create_default_context(cafile=paths["ca"])
        if "cert" in paths:
            # Whoever can read the file can pass for this device at the broker.
            if Path(paths["key"]).stat().st_mode & 0o077:
                raise TransportError("bad-tls", f"{paths['key']}: others may read it; chmod 600 it")
            context.load_cert_chain(paths["cert"], paths["key"], _no_passphrase)
    except (OSError, ssl.SSLError, ValueError) as error:
        raise TransportError("bad-tls", f"the files of tls cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not clock_is_set():
        context.verify_flags |= NO_CHECK_TIME
    return context


def _no_passphrase() -> str:
    # Else OpenSSL asks for one at the terminal, and a robot has none.
    raise ValueError("the key has a passphrase; its file must be one without")
