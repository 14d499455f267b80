"""Many MQTT connections in one thread: paho's clients, turned by one selector."""

import heapq
import selectors
import socket
import time
from collections.abc import Callable
from itertools import count
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.tools.bench.result import BenchFailed

HOST = "127.0.0.1"
KEEPALIVE_S = 60
# A connection's pings are thought of so often.
MISC_EVERY_S = 5.0
WAIT_S_MAX = 0.5
START_S_MAX = 60.0


class Connection:
    """One device's own connection: what comes down is given to `take`."""

    def __init__(self, name: str, down: str, take: Callable[[bytes], None]) -> None:
        self.ready = False
        self._name = name
        self._down = down
        self._take = take
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_message = self._on_message
        self.client.on_disconnect = self._on_disconnect
        self._closing = False
        self.lost: object = None

    def close(self) -> None:
        """Say goodbye."""
        self._closing = True
        self.client.disconnect()

    def _on_connect(self, client: mqtt.Client, _data: object, *_: object) -> None:
        client.subscribe(self._down, 1)

    def _on_subscribe(self, *_: object) -> None:
        self.ready = True

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._take(bytes(message.payload))

    def _on_disconnect(self, *said: object) -> None:
        if not self._closing:
            self.lost = said[3]


class Loop:
    """Turns all connections, and calls what is due; for one thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._connections: list[Connection] = []
        self._writing: set[Connection] = set()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = count()
        self._misc_s = 0.0

    def add(self, connection: Connection) -> None:
        """Connect; it is ready some turns later."""
        connection.client.connect(HOST, self._port, KEEPALIVE_S)
        opened: Any = connection.client.socket()
        # As a recorder's.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(opened, selectors.EVENT_READ, connection)
        self._connections.append(connection)

    def at(self, when_s: float, call: Callable[[], None]) -> None:
        """Call it at a time of perf_counter, or as soon after as there is a turn."""
        heapq.heappush(self._due, (when_s, next(self._count), call))

    @property
    def idle(self) -> bool:
        """Whether nothing is to be called any more."""
        return not self._due

    def publish(self, connection: Connection, topic: str, data: bytes) -> None:
        """QoS 1; what the socket does not take now goes with later turns."""
        connection.client.publish(topic, data, 1)
        self._look(connection)

    def run(self, done: Callable[[], bool], seconds: float) -> bool:
        """Turn until `done`, or so long; whether it is done."""
        end_s = time.perf_counter() + seconds
        while not done():
            now_s = time.perf_counter()
            if now_s >= end_s:
                return False
            while self._due and self._due[0][0] <= now_s:
                heapq.heappop(self._due)[2]()
            self._misc(now_s)
            next_s = self._due[0][0] if self._due else end_s
            self._turn(max(0.0, min(next_s, end_s, now_s + WAIT_S_MAX) - time.perf_counter()))
        return True

    def _turn(self, wait_s: float) -> None:
        for key, events in self._selector.select(wait_s):
            connection = key.data
            if events & selectors.EVENT_READ:
                connection.client.loop_read()
            if events & selectors.EVENT_WRITE:
                connection.client.loop_write()
            self._look(connection)

    def _look(self, connection: Connection) -> None:
        if connection.lost is not None:
            message = f"a device lost its connection to the broker: {connection.lost}"
            raise BenchFailed("bench-failed", message)
        wants = connection.client.want_write()
        if wants == (connection in self._writing):
            return
        events = selectors.EVENT_READ
        if wants:
            self._writing.add(connection)
            events |= selectors.EVENT_WRITE
        else:
            self._writing.discard(connection)
        opened: Any = connection.client.socket()
        self._selector.modify(opened, events, connection)

    def _misc(self, now_s: float) -> None:
        if now_s - self._misc_s < MISC_EVERY_S:
            return
        self._misc_s = now_s
        for connection in self._connections:
            connection.client.loop_misc()

    def connect(self, connections: list[Connection]) -> None:
        """Connect and subscribe all; BenchFailed when the broker does not take them."""
        for connection in connections:
            self.add(connection)
        if not self.run(lambda: all(one.ready for one in connections), START_S_MAX):
            ready = sum(one.ready for one in connections)
            message = (
                f"the broker took {ready} of {len(connections)} devices in {START_S_MAX:.0f} s"
            )
            raise BenchFailed("bench-failed", message)

    def close(self) -> None:
        """Disconnect all."""
        for connection in self._connections:
            connection.close()
        self._selector.close()
