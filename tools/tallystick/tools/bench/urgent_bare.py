"""The bare path beside ours: as many hops, syncs and signatures, and nothing of ours.

A robot that writes what it decided to a file, syncs it, signs it, syncs the signature, and sends
both by MQTT; a relay (urgent_relay.py); three servers (urgent_server.py). docs/validator-speed.md
has the table that both follow.
"""

import os
import queue
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import paho.mqtt.client as mqtt
from nacl.signing import SigningKey
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.tools._ports import free_port
from tallystick.tools.bench.peer_validator import SEED
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.sending import wait
from tallystick.tools.bench.urgent_legs import Passed
from tallystick.tools.bench.urgent_relay import UP
from tallystick.tools.bench.urgent_streams import Stream
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.postgres import Postgres
from tallystick.tools.replay.processes import Processes

SERVERS = 3
ANSWER_S_MAX = 60.0
START_S_MAX = 90.0
# What one of our robots writes for a decision, a claim and the checkpoint's body; its message.
JOURNAL_BYTES = 476
MESSAGE_BYTES = 560
MODULE = "tallystick.tools.bench.urgent_"


class Bare:
    """A context manager; `decide` is one decision, from its record to the third answer."""

    def __init__(self, folder: Path, postgres: Postgres | None) -> None:
        self._folder = folder
        self._postgres = postgres
        self._key = SigningKey(SEED)
        self._stack = ExitStack()
        self._made = 0
        self.found: list[Passed] = []

    def __enter__(self) -> "Bare":
        """Start all of it."""
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all of it."""
        self._stack.close()

    def _start(self) -> None:
        broker = self._stack.enter_context(Mosquitto(self._folder / "broker"))
        processes = self._stack.enter_context(Processes(self._folder / "logs"))
        urls = []
        for number in range(SERVERS):
            port = str(free_port())
            file = str(self._folder / f"server-{number}.sqlite")
            store = file if self._postgres is None else self._postgres.database()
            python = [sys.executable, "-m", f"{MODULE}server"]
            processes.start(f"server-{number}", [*python, port, store])
            urls.append(f"http://127.0.0.1:{port}")
        names = [f"server-{number}" for number in range(SERVERS)]
        for url in urls:
            wait(url, lambda: processes.check(names))
        store = str(self._folder / "relay.sqlite")
        python = [sys.executable, "-m", f"{MODULE}relay"]
        processes.start("relay", [*python, str(broker.port), store, *urls])
        self._check = partial(processes.check, [*names, "relay"])
        self._streams = [self._stack.enter_context(Stream(url, "/events")) for url in urls]
        self._journal = self._stack.enter_context((self._folder / "journal").open("ab", 0))
        self._client = self._connect(broker.port)
        self._until_heard()

    def _connect(self, port: int) -> mqtt.Client:
        connected: queue.Queue[None] = queue.Queue()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bare-robot")
        client.on_connect = lambda *_: connected.put(None)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._stack.callback(client.loop_stop)
        self._stack.callback(client.disconnect)
        connected.get(timeout=START_S_MAX)
        return client

    def _until_heard(self) -> None:
        # Who subscribes late misses what went before.
        end = time.monotonic() + START_S_MAX
        while True:
            self._check()
            self._send()
            try:
                for stream in self._streams:
                    stream.next(1.0)
            except BenchFailed:
                if time.monotonic() > end:
                    raise
            else:
                return

    def _send(self) -> None:
        self._made += 1
        record = (b"%d " % self._made).ljust(JOURNAL_BYTES, b".")
        self._journal.write(record)
        os.fsync(self._journal.fileno())
        message = self._key.sign(record.ljust(MESSAGE_BYTES, b"."))
        self._journal.write(message.signature)
        os.fsync(self._journal.fileno())
        self._signed_s = time.time()
        self._client.publish(UP, bytes(message), qos=1)

    def decide(self) -> float:
        """Seconds from the decision to what the last of the three servers told."""
        self._check()
        start_s, start_wall_s = time.monotonic(), time.time()
        self._send()
        events = []
        for stream in self._streams:
            event = stream.next(ANSWER_S_MAX)
            while event.data["number"] < self._made:
                event = stream.next(ANSWER_S_MAX)
            events.append(event)
        last = max(events, key=lambda event: event.at_s)
        passed = Passed(start_wall_s, self._signed_s, last.wall_s)
        passed.committed_s = last.data["committed_s"]
        passed.logged_s = last.data["logged_s"]
        passed.judged_s = last.data["judged_s"]
        self.found.append(passed)
        return last.at_s - start_s
