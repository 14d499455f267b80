"""The gateway of the bare path: what comes by MQTT is verified, committed, and sent on.

    python -m tallystick.tools.bench.urgent_relay PORT STORE URL...

The same hops, syncs and signatures as our gateway's way for one urgent segment, with the same
parts: paho, SQLite, httpx2, libsodium. One signature is verified, one COMMIT is synced, one receipt
is signed, and each validator gets a message with two signatures over a connection that stays open.
It knows nothing of Merkle logs, of devices, or of what was sent before. It runs until SIGTERM.
"""

import json
import queue
import sys
import threading
import time
from pathlib import Path

import httpx2
import paho.mqtt.client as mqtt
from nacl.signing import SigningKey
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.tools.bench.peer_validator import SEED, SqliteRows

UP, DOWN = "bench/urgent/up", "bench/urgent/down"
SIGNATURE_SIZE = 64
# What one of our batches has beside its segment: credentials apart, heads, proofs, a receipt.
FRAME = bytes(range(256)) * 2
ANSWER_S_MAX = 60.0


class Relay:
    """One MQTT client, one store, a thread for each validator."""

    def __init__(self, store: Path, urls: list[str]) -> None:
        self._key = SigningKey(SEED)
        self._rows = SqliteRows(store)
        self._lines: list[queue.Queue[dict[str, object]]] = [queue.Queue() for _ in urls]
        self._inbox: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        for url, line in zip(urls, self._lines, strict=True):
            threading.Thread(target=self._forward, args=(url, line), daemon=True).start()

    def run(self, port: int) -> None:
        """Take messages until the process ends."""
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare", manual_ack=True)
        client.on_connect = self._on_connect
        client.on_message = lambda _client, _data, message: self._inbox.put(message)
        client.connect("127.0.0.1", port)
        client.loop_start()
        while True:
            self._take(client, self._inbox.get())

    @staticmethod
    def _on_connect(client: mqtt.Client, *_: object) -> None:
        client.subscribe(UP, 1)

    def _take(self, client: mqtt.Client, message: mqtt.MQTTMessage) -> None:
        payload = bytes(message.payload)
        body = self._key.verify_key.verify(payload)
        self._rows.add(payload, [])
        committed_s = time.time()
        client.ack(message.mid, message.qos)
        for line in self._lines:
            line.put({"number": int(body.split(b" ", 1)[0]), "committed_s": committed_s})
        client.publish(DOWN, self._key.sign(body[:200]), qos=1)

    def _forward(self, url: str, line: "queue.Queue[dict[str, object]]") -> None:
        with httpx2.Client(timeout=ANSWER_S_MAX) as client:
            while True:
                told = json.dumps(line.get()).encode()
                head = self._key.sign(FRAME[:128])
                body = self._key.sign(bytes(head) + FRAME + told)
                client.post(f"{url}/take", content=bytes(body)).raise_for_status()


if __name__ == "__main__":
    Relay(Path(sys.argv[2]), sys.argv[3:]).run(int(sys.argv[1]))
