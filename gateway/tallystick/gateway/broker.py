"""The MQTT shell: paho, MQTT 3.1.1, a durable session, acknowledgements by hand.

3.1.1 because MQTT 5 sessions did not survive a restart of Mosquitto 2.0.11, and because devices
speak it. paho's own thread runs the network; callbacks only enqueue and never raise. A watchdog
replaces a client whose thread shows no life: an error inside TLS can hang it for ever while
is_connected() stays true (paho issue 891).
"""

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.client import PUBACK
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits
from tallystick.gateway.config import BrokerConfig
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.sharing import Sharing

QOS = 1
_PUBACK = bytes([PUBACK, 2])
_log = structlog.get_logger("tallystick.gateway.broker")


class _Client(mqtt.Client):
    # paho calls loop_misc at the end of each turn of its thread, at least once a second.
    beat: Callable[[], None] = staticmethod(lambda: None)

    def loop_misc(self) -> MQTTErrorCode:
        self.beat()
        return super().loop_misc()

    def acknowledge(self, mids: list[int]) -> None:
        """As ack() for each (QoS 1), in one write: each of its own wakes paho's thread."""
        # PUBACK: type, 2 bytes follow, the packet's identifier (MQTT 3.1.1, 3.4).
        packets = b"".join(_PUBACK + mid.to_bytes(2, "big") for mid in mids)
        self._packet_queue(PUBACK, packets, mids[-1], QOS)


class Broker:
    """One connection to one broker; messages go to the inbox."""

    def __init__(self, config: BrokerConfig, inbox: Inbox, sharing: Sharing | None = None) -> None:
        self._config = config
        self._inbox = inbox
        self.sharing = sharing or Sharing(config.client_id)
        self._client: _Client | None = None
        self._session = 0
        self._beat_s = time.monotonic()
        self._stopping = False
        self.connected = False
        self.subscribed = False
        self.dropped = 0  # messages without QoS for which there was no room
        self.down_dropped = 0
        self.replaced = 0  # clients that the watchdog gave up
        self.lost = 0  # connections; somebody with our client id ends them again and again
        self.error = ""

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._beat_s = time.monotonic()
        client = self._client = make_client(self._config)
        client.beat = self._beat
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect_async(self._config.host, self._config.port, keepalive=limits.KEEPALIVE_S)
        client.loop_start()

    def watch(self) -> None:
        """Replace the client when its thread shows no life; called every second or so."""
        silent_s = time.monotonic() - self._beat_s
        if self._stopping or silent_s < limits.WATCHDOG_S:
            return
        _log.error("the MQTT client hangs and is replaced", silent_s=round(silent_s, 1))
        self.replaced += 1
        self.connected = self.subscribed = False
        self._session += 1  # what the old client still delivers is never acknowledged by the new
        old = self._client
        self.start()
        if old is not None:
            abandon(old)

    def stop(self) -> None:
        """Disconnect; the broker keeps the session and what is not acknowledged."""
        self._stopping = True
        client, self._client = self._client, None
        if client is None:
            return
        client.disconnect()
        # loop_stop() joins a thread that may hang; so the wait is ours, and bounded.
        until_s = time.monotonic() + limits.STOP_S_MAX
        while self.connected and time.monotonic() < until_s:
            time.sleep(0.01)
        abandon(client)
        self.connected = False

    def _beat(self) -> None:
        self._beat_s = time.monotonic()

    # --- the worker's side ------------------------------------------------------------------

    def ack(self, group: list[Delivery]) -> None:
        """Acknowledge messages on the connection they came on; elsewhere a number means another.

        What is not acknowledged comes again and is answered as a repetition.
        """
        client = self._client
        session = self._session
        mids = [one.mid for one in group if one.qos and one.session == session]
        if client is not None and mids:
            client.acknowledge(mids)

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down; False when it could not even be queued. One thread calls this."""
        client = self._client
        if client is None or not self.connected:
            self.down_dropped += 1
            return False
        info = client.publish(f"{self._config.prefix}/{device_text(device)}/down", data, qos=QOS)
        if info.rc not in {mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN}:
            self.down_dropped += 1
            return False
        return True

    # --- callbacks: the client's thread ------------------------------------------------------

    def _on_connect(
        self, client: mqtt.Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        if client is not self._client:
            return
        self._beat()
        if reason.is_failure:
            self.error = f"the broker refused the connection: {reason}"
            _log.error("the broker refused the connection", reason=str(reason))
            return
        self._session += 1
        self.connected = True
        self.error = ""
        _log.info("connected", broker=str(self._config), session_kept=flags.session_present)
        client.subscribe(f"{self._config.prefix}/+/up", qos=QOS)

    def _on_connect_fail(self, client: mqtt.Client, _data: Any) -> None:
        if client is self._client:
            self._beat()
            self.error = f"no connection to {self._config}"
            _log.warning("no connection", broker=str(self._config))

    def _on_disconnect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if client is not self._client and not self._stopping:
            return
        self._beat()
        self.connected = self.subscribed = False
        if not self._stopping:
            self.lost += 1
            self.error = f"the connection was lost: {reason}"
            _log.warning("connection lost", reason=str(reason), client_id=self._config.client_id)

    def _on_subscribe(
        self, client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        if client is not self._client:
            return
        self.subscribed = not any(reason.is_failure for reason in reasons)
        if not self.subscribed:
            self.error = "the broker refused the subscription; check its access list"
            _log.error("the broker refused the subscription")

    def _on_message(self, client: mqtt.Client, _data: Any, received: mqtt.MQTTMessage) -> None:
        if client is not self._client:
            return
        try:
            topic = received.topic
        except UnicodeDecodeError:
            topic = ""  # refused as a wrong topic
        if self.sharing.leaves(topic):
            # Another gateway has it by its own session.
            client.ack(received.mid, received.qos)
            return
        message = Message(topic, bytes(received.payload), received.retain)
        delivery = Delivery(message, received.mid, received.qos, self._session)
        if received.qos:
            self._inbox.put(delivery, self._beat)
        elif not self._inbox.offer(delivery):
            self.dropped += 1


def make_client(config: BrokerConfig, *, clean: bool = False) -> _Client:
    """A client with everything set and nothing connected; Malformed when a file is missing."""
    client = _Client(
        CallbackAPIVersion.VERSION2,
        client_id=config.client_id,
        clean_session=clean,
        protocol=mqtt.MQTTv311,
        manual_ack=True,
    )
    client.max_inflight_messages_set(limits.DOWN_IN_FLIGHT_MAX)
    client.max_queued_messages_set(limits.DOWN_QUEUED_MAX)
    client.reconnect_delay_set(limits.RECONNECT_S_MIN, limits.RECONNECT_S_MAX)
    client.on_socket_open = _at_once
    if config.username is not None:
        client.username_pw_set(config.username, _password(config))
    if config.tls:
        client.tls_set_context(_tls(config))
    return client


def _at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    # A receipt is a small packet after the small one that acknowledges its segment: it would wait
    # 40 ms for the broker to acknowledge that at the TCP level.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def abandon(client: mqtt.Client) -> None:
    """Let a client's thread end when it can; never waits for it."""
    # Its public way to stop joins the thread, which is what must not be waited for here.
    client._thread_terminate = True  # noqa: SLF001
    client.disconnect()


def _password(config: BrokerConfig) -> str | None:
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(
            "bad-value", f"broker.password_file: {config.password_file} cannot be read"
        ) from error


def _tls(config: BrokerConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca)
        if config.cert is not None:
            context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        message = f"broker.ca, cert, key: {error}"
        raise Malformed("bad-value", message) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
