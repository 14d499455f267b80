"""`tally bench forward`: a gateway's backlog to one and to three validators, beside its intake.

A gateway is filled over MQTT by a fleet in which pairs of robots hand things over. Its store is
then sent on by the real gateway to real validators, each a process of its own, once for each
content that a validator may get.
"""

import json
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

from tallystick.gateway import config as configs
from tallystick.gateway.batching import Builder
from tallystick.gateway.identity import open_signing
from tallystick.gateway.limits import BATCH_SEGMENTS
from tallystick.gateway.validatorconfig import Send
from tallystick.tools import provision
from tallystick.tools._ports import free_port
from tallystick.tools.bench import handovers, load, peer_forwarder, peer_validator
from tallystick.tools.bench.bound import bound_per_s
from tallystick.tools.bench.forward_result import Drained, ForwardResult, Wire
from tallystick.tools.bench.ingest import Custody, Sender, peer_messages
from tallystick.tools.bench.ingest_shares import welcomes
from tallystick.tools.bench.notary import Notary
from tallystick.tools.bench.peers import PEERS, checked
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS, record
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.running import Running
from tallystick.tools.bench.sending import send, wait
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.provision import ValidatorPeer

RECORDS = 262_144
# A batch of full records holds about 10,000 of them; the rate is of those after the first.
RECORDS_MIN = 32_768
DEVICES = 16
SECONDS = 3.0
VALIDATORS = (1, 3)
VALIDATORS_MAX = 8
CONTENTS: tuple[Send, ...] = ("full", "claims", "hashes")
CLAIM_EVERY = 256
# What a fleet makes: a thousand devices that decide ten times a second (`tally bench fleet`).
LIVE_PER_S = 10_000
LOOK_S = 0.005
# Nothing for so long means that something hangs.
SILENCE_S_MAX = 60.0
TIMED_S_MAX = 600.0  # for all of it, sampled
GATEWAY = "gateway"


@dataclass(frozen=True)
class Settings:
    """What a run is asked for."""

    records: int = RECORDS
    devices: int = DEVICES
    seconds: float = SECONDS
    validators: tuple[int, ...] = VALIDATORS
    contents: tuple[Send, ...] = CONTENTS
    live_per_s: int = LIVE_PER_S
    # Whether to find out what the gateways' time goes to, in runs of its own.
    shares: bool = False


class Bench:
    """One run: a store that is filled once, and drained again and again."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._made = 0
        self._broker = Mosquitto(folder / "broker")
        self.fleet = Fleet.init(folder / "fleet", "bench")
        self.gateway = self.fleet.enrol("gateway", "gateway")
        members = [self.fleet.enrol("device", f"device-{n}") for n in range(settings.devices)]
        pairs = handovers.pairs(self.fleet, members)
        numbers = count()
        for pair in pairs:
            # Each decision is another one, or they would pack too well.
            pair.decide = lambda _first, many: [record(n, n) for n in islice(numbers, many)]
        handovers.logs(pairs, settings.records, CHECKPOINT_RECORDS, CLAIM_EVERY)
        self.loads = [one for pair in pairs for one in (pair.giver, pair.receiver)]
        self.records = sum(one.tree.size for one in self.loads)

    def _config(self, peers: Sequence[ValidatorPeer] = ()) -> Path:
        url = f"mqtt://{self._broker.host}:{self._broker.port}"
        return provision.gateway(self.fleet, self.gateway, broker=url, validators=peers)

    @property
    def _store(self) -> Path:
        return self.gateway.path / "gateway.sqlite"

    def fill(self) -> float:
        """Records a second of the intake, as fast as it goes."""
        with self._broker, Running(self._folder / "intake") as running:
            running.tally(GATEWAY, "gateway", "run", "--config", str(self._config()))
            downs = f"{provision.topic_prefix(self.fleet)}/+/down"
            with Sender(self._broker.port, downs, lambda: running.check([GATEWAY])) as sender:
                for one in self.loads:
                    sender.ask(f"{one.topic}/up", one.hello(), welcomes(one))
                custody = Custody(self.loads, self.gateway.identity.key)
                taken = sender.measure(load.in_turn(self.loads), custody)
            running.end(GATEWAY)
        shutil.copytree(self.gateway.path, self._folder / "filled")
        return self.records / taken

    # --- to validators ------------------------------------------------------------------------

    def drain(self, content: Send, many: int) -> Drained:
        """Everything to so many validators that know nothing yet."""
        labels, notaries, config = self._notaries(content, many)
        # Nothing comes in meanwhile, and the gateway is not told that nothing can.
        with self._broker, Running(self._folder / f"drain-{self._made}") as running:
            _start(running, labels, notaries)
            running.tally(GATEWAY, "gateway", "run", "--config", str(config))
            found = self._watch(running, labels)
            running.end(GATEWAY)
        return Drained(content, many, **found)

    def seconds(self, content: Send) -> dict[str, float]:
        """What a gateway's processor time goes to that sends everything to one validator."""
        labels, notaries, config = self._notaries(content, 1)
        folder = self._folder / f"drain-{self._made}"
        with Running(folder) as running:
            _start(running, labels, notaries)
            return _timed(running, folder, "gateway", str(config))

    def _notaries(self, content: Send, many: int) -> tuple[list[str], list[Notary], Path]:
        # New ones, and the gateway with its full store before it has sent anything.
        self._made += 1
        labels = [f"notary-{self._made}-{number}" for number in range(many)]
        notaries = [Notary(self.fleet, label) for label in labels]
        # The last batch is not full, and waits for no more: there is none.
        peers = [
            ValidatorPeer(label, notary.url, notary.member.credential_path, content, batch_age_s=0)
            for label, notary in zip(labels, notaries, strict=True)
        ]
        for name in ("gateway.sqlite", "gateway.sqlite-wal", "gateway.sqlite-shm"):
            (self.gateway.path / name).unlink(missing_ok=True)
        shutil.copy(self._folder / "filled" / "gateway.sqlite", self._store)
        return labels, notaries, self._config(peers)

    def _watch(self, running: Running, labels: Sequence[str]) -> dict[str, Any]:
        # The clock begins with the first answer, so that no start of a process is in it.
        reader = sqlite3.connect(f"file:{self._store}?mode=ro", uri=True, isolation_level=None)
        try:
            (size,) = reader.execute("SELECT max(at) + 1 FROM segments").fetchone()
            started_s = heard_s = time.perf_counter()
            sent = 0
            first: tuple[float, dict[str, int], float] | None = None
            ends: dict[str, float] = {}
            while len(ends) < len(labels):
                time.sleep(LOOK_S)
                rows = reader.execute("SELECT name, cursor FROM validators").fetchall()
                now_s = time.perf_counter()
                cursors = {name: cursor for name, cursor in rows if name in labels}
                if first is None and any(cursors.values()):
                    first = (now_s, cursors, running.cpu_s(GATEWAY))
                for name, cursor in cursors.items():
                    if cursor == size:
                        ends.setdefault(name, now_s)
                if sum(cursors.values()) > sent:
                    heard_s, sent = now_s, sum(cursors.values())
                elif now_s - heard_s > SILENCE_S_MAX:
                    message = f"nothing was sent on for {SILENCE_S_MAX:.0f} s"
                    raise BenchFailed("bench-failed", message)
                running.check([GATEWAY, *labels])
        finally:
            reader.close()
        with_start = first is None or any(first[1].get(name, 0) == size for name in labels)
        if first is None or with_start:
            # All went between two looks: then the start of the process is in it, and that is said.
            first = (started_s, {}, 0.0)
        begin_s, cursors, cpu_s = first
        rates = [
            (size - cursors.get(name, 0)) / (ends[name] - begin_s) * self.records / size
            for name in labels
        ]
        left = sum(size - cursors.get(name, 0) for name in labels) * self.records / size
        return {
            "records_per_s": min(rates),
            "gateway_us_a_record": (running.cpu_s(GATEWAY) - cpu_s) * 1e6 / left,
            "with_start": with_start,
        }

    # --- beside it ----------------------------------------------------------------------------

    def wire(self, content: Send) -> Wire:
        """What the gateway's batches of this content are, and how fast their bytes alone go."""
        config = configs.load(self._config())
        signing = open_signing(config, int(time.time()))
        store = self._folder / "filled" / "gateway.sqlite"
        reader = sqlite3.connect(f"file:{store}?mode=ro", uri=True, isolation_level=None)
        packed, raw = [], 0
        try:
            builder = Builder("bare", content, signing, config.credential)
            at = 0
            while (built := builder.build(reader, at, BATCH_SEGMENTS)) is not None:
                packed.append(built.packed)
                raw += len(built.data)
                at = built.to
        finally:
            reader.close()
            signing.close()
        taken = self._bare(packed)
        return Wire(content, raw, sum(map(len, packed)), len(packed), self.records / taken)

    def _bare(self, bodies: list[bytes]) -> float:
        self._made += 1
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with Running(self._folder / f"bare-{self._made}") as running:
            file = str(self._folder / f"bare-{self._made}.bytes")
            module = "tallystick.tools.bench.bare_receiver"
            running.start("bare", [sys.executable, "-m", module, str(port), file])
            wait(url, lambda: running.check(["bare"]))
            taken, _ = send(url, [bodies])
        return taken

    def peer(self, name: str, seconds: float) -> float:
        """Records a second of a gateway that forwards each with its own signature."""
        here = [sys.executable, "-m", "tallystick.tools.bench.peer_forwarder"]
        with self._receiver(name, seconds) as (running, folder, records, url):
            running.start("forwarder", [*here, str(folder / "sent.sqlite"), url])
            taken: float = running.answer("forwarder")["seconds"]
        return records / taken

    def peer_seconds(self, name: str, seconds: float) -> dict[str, float]:
        """What its processor time goes to."""
        with self._receiver(name, seconds) as (running, folder, _, url):
            return _timed(running, folder, "peer", str(folder / "sent.sqlite"), url)

    @contextmanager
    def _receiver(self, name: str, seconds: float) -> Iterator[tuple[Running, Path, int, str]]:
        # A peer's validator, and its gateway's store with so many records.
        messages = peer_messages(checked(name, peer_validator.SEED), seconds)
        self._made += 1
        folder = self._folder / f"{name}-{self._made}"
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with Running(folder) as running:
            peer_forwarder.fill(folder / "sent.sqlite", messages)
            there = ["-m", "tallystick.tools.bench.peer_validator", name, str(port)]
            running.start("peer", [sys.executable, *there, str(folder / "got.sqlite")])
            wait(url, lambda: running.check(["peer"]))
            yield running, folder, len(messages) * CHECKPOINT_RECORDS, url


def _start(running: Running, labels: Sequence[str], notaries: Sequence[Notary]) -> None:
    for label, notary in zip(labels, notaries, strict=True):
        running.tally(label, "validator", "run", "--config", str(notary.path))
    for notary in notaries:
        wait(notary.url, lambda: running.check(labels))


def _timed(running: Running, folder: Path, *arguments: str) -> dict[str, float]:
    module = "tallystick.tools.bench.forward_time"
    running.start(GATEWAY, [sys.executable, "-m", module, str(folder / "seconds"), *arguments])
    until_s = time.monotonic() + TIMED_S_MAX
    while not running.ended(GATEWAY):
        if time.monotonic() > until_s:
            raise BenchFailed("bench-failed", f"not all was sent in {TIMED_S_MAX:.0f} s")
        time.sleep(LOOK_S)
    found: dict[str, float] = json.loads((folder / "seconds").read_text())
    return found


def steps(settings: Settings) -> list[str]:
    """What a run does, for a progress bar."""
    drains = [
        _step(content, count) for content in settings.contents for count in settings.validators
    ]
    shares = ["shares"] if settings.shares else []
    return ["segments", "intake", *drains, "bare", *PEERS, *shares, "bound"]


def _step(content: Send, many: int) -> str:
    return f"{content} to {many}"


def run(settings: Settings, advance: Callable[[str], None]) -> ForwardResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        advance("segments")
        bench = Bench(folder, settings)
        advance("intake")
        intake = bench.fill()
        drains = []
        for content in settings.contents:
            for many in settings.validators:
                advance(_step(content, many))
                drains.append(bench.drain(content, many))
        advance("bare")
        wires: dict[str, Wire] = {content: bench.wire(content) for content in settings.contents}
        peers = {}
        for name in PEERS:
            advance(name)
            peers[name] = bench.peer(name, settings.seconds)
        seconds = {}
        if settings.shares:
            advance("shares")
            seconds = {f"{one} records": bench.seconds(one) for one in settings.contents}
            best = max(peers, key=peers.__getitem__)
            seconds[best] = bench.peer_seconds(best, settings.seconds)
        advance("bound")
        told = {
            "records": bench.records,
            "devices": len(bench.loads),
            "records_a_segment": CHECKPOINT_RECORDS,
            "records_a_claim": CLAIM_EVERY,
        }
        bound = bound_per_s(record(0))
        made = ForwardResult(drains, wires, intake, settings.live_per_s, peers, bound, told)
        made.seconds = seconds
        return made
    finally:
        shutil.rmtree(folder, ignore_errors=True)
