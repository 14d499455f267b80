"""A gateway that checks one signature on each record: the peers' side of `tally bench ingest`.

    python -m tallystick.tools.bench.peer_gateway NAME PORT STORE

The same path as ours, with the same parts: paho with manual acknowledgement, groups, SQLite in WAL
mode with `synchronous=FULL`, a signed receipt for each message after the COMMIT. Only the evidence
differs. It runs in a process of its own, as ours does, until SIGTERM.
"""

import queue
import signal
import socket
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

import cbor2
import paho.mqtt.client as mqtt
from nacl.signing import SigningKey
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.evidence.digest import sha256
from tallystick.tools.bench.peers import Peer, checked

SEED = bytes(range(32))
GROUP_MESSAGES_MAX = 256
QUEUE_MESSAGES_MAX = 4_096
WAIT_S = 0.2
START_S_MAX = 90.0
# Each sender has topics of its own; this is the first one's.
UP, DOWN = "bench/peer/0/up", "bench/peer/0/down"
ALL_UP = "bench/peer/+/up"
# Before its records a sender asks whether anybody is there; the answer is a receipt as any other.
HELLO = cbor2.dumps([])


class PeerGateway:
    """Messages of signed records in, receipts out: the digest of each message, signed."""

    def __init__(self, peer: Peer, port: int, store: Path) -> None:
        self._peer = peer
        self._inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue(QUEUE_MESSAGES_MAX)
        self._signer = SigningKey.generate()
        self._database = sqlite3.connect(store, isolation_level=None)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB)")
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id="bench-peer-gateway",
            clean_session=False,
            manual_ack=True,
        )
        self._client.on_message = lambda _client, _data, message: self._inbox.put(message)
        # As ours: a small packet after another one waits 40 ms otherwise.
        self._client.on_socket_open = _at_once
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(ALL_UP, 1)
        if not subscribed.wait(START_S_MAX):
            message = "the broker did not confirm the subscription"
            raise TimeoutError(message)

    def turn(self) -> None:
        """Take what is there, verify each record, COMMIT, acknowledge, answer."""
        try:
            messages = [self._inbox.get(timeout=WAIT_S)]
        except queue.Empty:
            return
        while len(messages) < GROUP_MESSAGES_MAX:
            try:
                messages.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        self._database.execute("BEGIN IMMEDIATE")
        for message in messages:
            for signed in cbor2.loads(message.payload):
                self._peer.verify(signed)
            self._database.execute("INSERT INTO messages (body) VALUES (?)", (message.payload,))
        self._database.execute("COMMIT")
        for message in messages:
            self._client.ack(message.mid, message.qos)
            down = message.topic[: -len("up")] + "down"
            self._client.publish(down, self._signer.sign(sha256(bytes(message.payload))), 1)

    def close(self) -> None:
        """Disconnect and close the store."""
        self._client.disconnect()
        self._client.loop_stop()
        self._database.close()


def _at_once(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def main(name: str, port: str, store: str) -> None:
    """Serve until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    gateway = PeerGateway(checked(name, SEED), int(port), Path(store))
    while not stop.is_set():
        gateway.turn()
    gateway.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
