"""A gateway that checks one signature on each record: the peers' side of `tally bench ingest`.

The same path as ours, with the same parts: paho with manual acknowledgement, groups, SQLite in WAL
mode with `synchronous=FULL`, a signed receipt for each message after the COMMIT. Only the evidence
differs. It runs in a process of its own, as ours does.
"""

import multiprocessing
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import cbor2
import paho.mqtt.client as mqtt
from nacl.signing import SigningKey
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.tools.bench.peers import Peer

GROUP_MESSAGES_MAX = 64
QUEUE_MESSAGES_MAX = 256
WAIT_S = 0.2
START_S_MAX = 15.0
STOP_S_MAX = 10.0
UP, DOWN = "bench/peer/up", "bench/peer/down"


class _Gateway:
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
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(UP, 1)
        if not self._subscribed.wait(START_S_MAX):
            message = "the broker did not confirm the subscription"
            raise TimeoutError(message)

    def group(self) -> None:
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
            self._client.publish(DOWN, self._signer.sign(bytes(message.payload[:64])), 1)

    def close(self) -> None:
        """Disconnect and close the store."""
        self._client.disconnect()
        self._client.loop_stop()
        self._database.close()


def _serve(peer: Peer, port: int, store: Path, ready: Event, stop: Event) -> None:
    gateway = _Gateway(peer, port, store)
    ready.set()
    while not stop.is_set():
        gateway.group()
    gateway.close()


@contextmanager
def running(peer: Peer, port: int, store: Path) -> Iterator[None]:
    """The peer's gateway in a process of its own, subscribed when the block begins."""
    context = multiprocessing.get_context("fork")
    ready, stop = context.Event(), context.Event()
    process = context.Process(target=_serve, args=(peer, port, store, ready, stop), daemon=True)
    process.start()
    try:
        if not ready.wait(START_S_MAX):
            message = f"the gateway of {peer.name} did not start"
            raise TimeoutError(message)
        yield
    finally:
        stop.set()
        process.join(STOP_S_MAX)
        if process.is_alive():
            process.kill()
