"""paho's client with everything set: MQTT 3.1.1 or 5, a durable session, acknowledgements by hand.

3.1.1 unless configured: a session of MQTT 5 did not survive a restart of Mosquitto 2.0.11, and
devices speak 3.1.1 to the same broker whatever a gateway speaks.
"""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tallystick.evidence.errors import Malformed
from tallystick.gateway import limits
from tallystick.gateway.brokerread import ReadingClient
from tallystick.gateway.config import BrokerConfig

_PUBACK = bytes([mqtt.PUBACK, 2])
# CONNACK of 3.1.1 (section 3.2.2.3) and of 5 (section 3.2.2.2), as paho names both.
_OTHER_VERSION = "Unsupported protocol version"


class Client(ReadingClient):
    """paho's, which calls loop_write before it writes and loop_misc at the end of each turn.

    paho takes locks in whatever thread calls it, and its own may hang with one of them. So other
    threads call `nudge`, `thread` and `give_up` alone: they take no lock and wait for nothing.
    """

    beat: Callable[[], None] = staticmethod(lambda: None)
    # In the client's own thread: what others have for the broker is handed to paho here.
    before_writing: Callable[[], None] = staticmethod(lambda: None)
    _given_up = False
    _reading = False

    # --- any thread's ------------------------------------------------------------------------

    @property
    def thread(self) -> threading.Thread | None:
        """Its own; None when it has ended."""
        return self._thread

    def nudge(self) -> None:
        """Make its thread look for what is to be written, where it can."""
        wake = self._sockpairW
        if wake is not None:
            # It does not block: when it is full, its thread is awake already.
            with contextlib.suppress(OSError):
                wake.send(b"0")

    def give_up(self) -> None:
        """End its connection, and its thread when that can; nothing is waited for.

        A call that the thread is in returns, and one that comes to life connects no more: two
        connections under one client id would end each other for ever.
        """
        self._given_up = True
        # Its public ways to stop join the thread or take locks.
        self._thread_terminate = True
        sock = self.socket()
        if sock is not None:
            # Not closed: while the thread is in a call, its number may become another file's.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # type: ignore[arg-type]  # TLS, too

    # --- its own thread's --------------------------------------------------------------------

    def loop_misc(self) -> MQTTErrorCode:
        """As paho's, and a sign of life."""
        self.beat()
        return super().loop_misc()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        """As paho's."""
        self._reading = True
        try:
            return super().loop_read(max_packets)
        finally:
            self._reading = False

    def loop_write(self) -> MQTTErrorCode:
        """As paho's, with what others have."""
        # paho writes while it reads, too: at a CONNACK, for each message in a table that must not
        # grow meanwhile.
        if not self._reading:
            self.before_writing()
        return super().loop_write()

    def reconnect(self) -> MQTTErrorCode:
        """As paho's; OSError where it was given up, and nothing is sent."""
        if not self._given_up:
            done = super().reconnect()
            if not self._given_up:
                return done
            self._sock_close()
        raise ConnectionAbortedError

    def acknowledge(self, mids: list[int]) -> None:
        """As ack() for each (QoS 1), in one write: each of its own wakes paho's thread."""
        # PUBACK: type, 2 bytes follow, the packet's identifier (3.4 of MQTT 3.1.1 and of 5).
        packets = b"".join(_PUBACK + mid.to_bytes(2, "big") for mid in mids)
        self._packet_queue(mqtt.PUBACK, packets, mids[-1], 1)


def make_client(config: BrokerConfig, *, clean: bool = False) -> Client:
    """A client with everything set and nothing connected; Malformed when a file is missing."""
    five = config.protocol == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=config.client_id,
        clean_session=None if five else clean,
        protocol=mqtt.MQTTv5 if five else mqtt.MQTTv311,
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


def connect(
    client: Client, config: BrokerConfig, *, clean: bool = False, once: bool = False
) -> None:
    """Connect in the background, again and again; `clean`: to no session and for none.

    `once`: OSError where it cannot be connected now.
    """
    given: dict[str, Any] = {}
    if config.protocol == "5":
        given = {"clean_start": clean, "properties": _properties(clean=clean)}
    way = client.connect if once else client.connect_async
    way(config.host, config.port, keepalive=limits.KEEPALIVE_S, **given)
    client.loop_start()


def _properties(*, clean: bool) -> Properties:
    # MQTT 5, section 3.1.2.11. Without an expiry the session would end with the connection.
    made = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
    made.SessionExpiryInterval = 0 if clean else limits.SESSION_EXPIRY_S
    # So many messages come that are not acknowledged yet: the back-pressure.
    made.ReceiveMaximum = limits.RECEIVE_MAX
    made.MaximumPacketSize = limits.PACKET_BYTES_MAX
    return made


def refusal(config: BrokerConfig, reason: Any) -> str:
    """What a refused connection says, and what to do where that is known."""
    said = f"the broker refused the connection: {reason}"
    if str(reason) == _OTHER_VERSION:
        said += f"; it does not speak MQTT {config.protocol}: {_other(config)}"
    return said


def no_answer(config: BrokerConfig) -> str:
    """What a connection says that the broker ended before it answered: RabbitMQ 3.10 to MQTT 5."""
    said = "the broker ended the connection without an answer"
    if config.protocol == "5":
        said += f"; where it does not speak MQTT 5: {_other(config)}"
    return said


def _other(config: BrokerConfig) -> str:
    return f'broker.protocol = "{"5" if config.protocol == "3.1.1" else "3.1.1"}"'


def _at_once(client: mqtt.Client, _data: Any, sock: Any) -> None:
    if isinstance(client, ReadingClient):
        client.forget()
    # A receipt is a small packet after the small one that acknowledges its segment: it would wait
    # 40 ms for the broker to acknowledge that at the TCP level.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
