"""The MQTT shell: one connection, a durable session, acknowledgements by hand (brokerclient.py).

paho's own thread runs the network; callbacks only enqueue and never raise. Four things go wrong
with brokers, and each is seen, counted and put right here:

- the session is gone (a broker killed, its files wiped): subscribed anew. Devices send again what
  has no custody receipt, since nothing rests on a broker
- the broker is killed: connected again, without end
- a message comes twice: on one connection it is handled and acknowledged once; on another one, as
  a repetition
- the client's thread hangs: the watchdog replaces the client. An error inside TLS can hang it for
  ever while is_connected() stays true (paho issue 891)

No other thread is ever inside the client: what the worker has for the broker lies in queues that
the client's thread empties before it writes. So one that hangs with a lock of paho's holds nobody.
"""

import threading
import time
from collections import deque
from typing import Any

import paho.mqtt.client as mqtt
import structlog
from paho.mqtt.subscribeoptions import SubscribeOptions

from tallystick.evidence.keys import device_text
from tallystick.gateway import limits
from tallystick.gateway.brokerclient import Client, connect, make_client, no_answer, refusal
from tallystick.gateway.config import BrokerConfig
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.sharing import Sharing

QOS = 1
_log = structlog.get_logger("tallystick.gateway.broker")


class Broker:
    """One connection to one broker; messages go to the inbox."""

    def __init__(self, config: BrokerConfig, inbox: Inbox, sharing: Sharing | None = None) -> None:
        self._config = config
        self._inbox = inbox
        self.sharing = sharing or Sharing(config.client_id)
        self._client: Client | None = None
        self._session = 0
        self._unacked: set[int] = set()  # numbers of this connection's messages
        self._asked_s = 0.0  # for the subscription
        self._ask = False  # for it, again
        # For the client's thread: (connection, numbers) to acknowledge, (topic, message) down.
        self._acks: deque[tuple[int, list[int]]] = deque()
        self._downs: deque[tuple[str, bytes]] = deque()
        self._nudged = False  # it has yet to look into them
        self._hung: list[threading.Thread] = []  # of clients that were given up
        self._beat_s = self._watched_s = time.monotonic()
        self._stopping = False
        self._left = False
        self._answered = False  # whether this connection was, with whatever
        self.connected = False
        self.subscribed = False
        self.dropped = 0  # messages without QoS for which there was no room
        self.down_dropped = 0
        self.replaced = 0  # clients that the watchdog gave up
        self.lost = 0  # connections; somebody with our client id ends them again and again
        self.duplicates = 0  # messages that came twice on one connection
        self.sessions_lost = 0
        # The broker that is known to keep a session of ours; of an earlier start, too.
        self.session_at = ""
        self.error = ""

    # --- life -------------------------------------------------------------------------------

    def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._beat_s = time.monotonic()
        client = self._client = make_client(self._config)
        client.beat = lambda: self._beat_of(client)
        client.before_writing = lambda: self._hand_over(client)
        client.on_publish = self._on_publish
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        connect(client, self._config)

    def watch(self) -> None:
        """Replace the client when its thread shows no life or ended; called every second or so."""
        now_s = time.monotonic()
        # A process that was stopped as a whole hangs in none of its threads.
        late_s = max(0.0, now_s - self._watched_s - 2 * limits.WATCHDOG_TICK_S)
        self._watched_s = now_s
        self._beat_s = min(now_s, self._beat_s + late_s)
        silent_s = now_s - self._beat_s
        client = self._client
        if self._stopping or client is None:
            return
        thread = client.thread
        if silent_s < limits.WATCHDOG_S and thread is not None:
            if (
                self.connected
                and not self.subscribed
                and now_s - self._asked_s > limits.KEEPALIVE_S
            ):
                # Refused, or not answered: an access list may be put right while we run.
                self._ask = True
                client.nudge()
            return
        what = "ended" if thread is None else "hangs"
        _log.error(f"the MQTT client {what} and is replaced", silent_s=round(silent_s, 1))
        self.replaced += 1
        self.connected = self.subscribed = False
        self._session += 1  # what the old client still delivers is never acknowledged by the new
        self.start()
        client.give_up()
        self._hung = [*(one for one in self._hung if one.is_alive()), *([thread] if thread else [])]

    def renew(self, config: BrokerConfig) -> None:
        """Connect anew by another configuration, whose files are read again.

        Malformed, and nothing is new, where one of them cannot be used.
        """
        make_client(config)
        old, self._config = self._client, config
        if old is None or self._stopping:
            return
        self.connected = self.subscribed = False
        self._session += 1
        self.start()
        old.give_up()

    @property
    def hung(self) -> list[threading.Thread]:
        """Threads of clients that were given up and did not end."""
        return [one for one in self._hung if one.is_alive()]

    def stop(self) -> None:
        """Disconnect; the broker keeps the session and what is not acknowledged."""
        self._stopping = True
        client = self._client
        if client is None:
            return
        client.nudge()
        # Its thread may hang; so the wait is ours, and bounded.
        until_s = time.monotonic() + limits.STOP_S_MAX
        while self.connected and time.monotonic() < until_s:
            time.sleep(0.01)
        self._client = None
        client.give_up()
        self.connected = False

    @property
    def _session_name(self) -> str:
        # A session is a client id's, so another id has lost none.
        return f"{self._config} {self._config.client_id}"

    def _beat_of(self, client: mqtt.Client) -> None:
        # One that was given up and comes to life says nothing of the one in its place.
        if client is self._client:
            self._beat()

    def _beat(self) -> None:
        self._beat_s = time.monotonic()

    # --- the worker's side ------------------------------------------------------------------

    def ack(self, group: list[Delivery]) -> None:
        """Acknowledge messages on the connection they came on; elsewhere a number means another.

        What is not acknowledged comes again and is answered as a repetition.
        """
        session = self._session
        mids = [one.mid for one in group if one.qos and one.session == session]
        if mids:
            self._acks.append((session, mids))
            self._nudge()

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down; False when it could not even be queued. One thread calls this."""
        if not self.connected or len(self._downs) >= limits.DOWN_QUEUED_MAX:
            self.down_dropped += 1
            return False
        self._downs.append((f"{self._config.prefix}/{device_text(device)}/down", data))
        self._nudge()
        return True

    def _nudge(self) -> None:
        client = self._client
        if not self._nudged and client is not None:
            self._nudged = True
            client.nudge()

    # --- the client's thread -----------------------------------------------------------------

    def _hand_over(self, client: Client) -> None:
        # A connection begins with the subscription; what waits for it is handed over with that.
        if client is not self._client or not self.connected:
            return
        self._nudged = False  # first: who comes later wakes it again
        if self._ask:
            self._ask = False
            self._subscribe(client)
        mids: list[int] = []
        for _ in range(len(self._acks)):
            session, some = self._acks.popleft()
            if session == self._session:
                mids += some
        if mids:
            # First forgotten: with the acknowledgement the broker may use the number again.
            self._unacked.difference_update(mids)
            client.acknowledge(mids)
        for _ in range(len(self._downs)):
            info = client.publish(*self._downs[0], qos=QOS)
            if client is not self._client:
                return  # it hung in there; the next one has sent it
            # Only now: what hangs with a client is the next one's to send.
            self._downs.popleft()
            if info.rc not in {mqtt.MQTT_ERR_SUCCESS, mqtt.MQTT_ERR_NO_CONN}:
                self.down_dropped += 1
        if self._stopping and not self._left:
            self._left = True
            client.disconnect()

    def _on_connect(
        self, client: mqtt.Client, _data: Any, flags: Any, reason: Any, _properties: Any
    ) -> None:
        if client is not self._client:
            return
        self._beat()
        self._answered = True
        if reason.is_failure:
            self.error = refusal(self._config, reason)
            _log.error("the broker refused the connection", reason=str(reason), error=self.error)
            return
        self._session += 1
        self._unacked.clear()
        self.connected = True
        self.error = ""
        _log.info("connected", broker=str(self._config), session_kept=flags.session_present)
        if not flags.session_present and self.session_at == self._session_name:
            self.sessions_lost += 1
            _log.warning(
                "the broker lost this gateway's session, and what waited in it; devices send again "
                "what has no custody receipt",
                broker=str(self._config),
            )
        self._subscribe(client)

    def _subscribe(self, client: mqtt.Client) -> None:
        # With every connection: a session that is there may be of before the prefix was changed.
        self._asked_s = time.monotonic()
        topic = f"{self._config.prefix}/+/up"
        if self._config.protocol == "5":
            client.subscribe(topic, options=SubscribeOptions(qos=QOS))
        else:
            client.subscribe(topic, qos=QOS)

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
        was, self.connected, self.subscribed = self.connected, False, False
        if not self._stopping:
            self.lost += was
            if was:
                self.error = f"the connection was lost: {reason}"
            elif not self._answered:
                self.error = no_answer(self._config)
            # Else why it was refused is known, and says more.
            self._answered = False
            _log.warning("connection lost", reason=str(reason), client_id=self._config.client_id)

    def _on_subscribe(
        self, client: mqtt.Client, _data: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        if client is not self._client:
            return
        self.subscribed = not any(reason.is_failure for reason in reasons)
        if not self.subscribed:
            self.error = "the broker refused the subscription; check its access list"
            _log.error("the broker refused the subscription", reason=str(reasons[0]))
            return
        self.error = ""
        self.session_at = self._session_name

    def _on_publish(
        self, client: mqtt.Client, _data: Any, _mid: int, reason: Any, _properties: Any
    ) -> None:
        # MQTT 5 alone says that a message down was denied.
        if client is self._client and reason.is_failure:
            self.down_dropped += 1
            self.error = f"the broker takes no message down: {reason}; check its access list"

    def _on_message(self, client: mqtt.Client, _data: Any, received: mqtt.MQTTMessage) -> None:
        if client is not self._client or self._stopping:
            return
        try:
            topic = received.topic
        except UnicodeDecodeError:
            topic = ""  # refused as a wrong topic
        if self.sharing.leaves(topic):
            # Another gateway has it by its own session.
            client.ack(received.mid, received.qos)
            return
        if received.qos:
            if received.mid in self._unacked:
                self.duplicates += 1
                return
            self._unacked.add(received.mid)
        message = Message(topic, bytes(received.payload), received.retain)
        delivery = Delivery(message, received.mid, received.qos, self._session)
        if received.qos:
            self._inbox.put(delivery, lambda: self._beat_of(client))
        elif not self._inbox.offer(delivery):
            self.dropped += 1
