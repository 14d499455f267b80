"""`tally bench fleet`: a thousand connected devices, and what they take of a gateway.

First at the pace of a fleet: each device seals 64 records every so often and takes its custody
receipt. Then as fast as receipts come. The peers take the same way over as many connections; each
gateway has a broker of its own.
"""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import SIGUSR1
from types import TracebackType
from typing import Any

from tallystick.tools import provision
from tallystick.tools.bench import filelimit
from tallystick.tools.bench.bound import bound_per_s
from tallystick.tools.bench.fleet_crew import Crew
from tallystick.tools.bench.fleet_result import OURS, FleetResult, Paced
from tallystick.tools.bench.peers import PEERS
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS, record
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.running import Running, cpu_s
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.mosquitto import Mosquitto

DEVICES = 1_000
DEVICES_MAX = 20_000
SECONDS = 20.0
RATE = 10.0
RATE_MAX = 10_000.0
# Segments of each device, as fast as receipts come.
MOST_SEGMENTS = 4
# How long the peers are measured as fast as they can, about; and how long shares are sampled.
PEER_S = 3.0
SHARES_S_MAX = 10.0
# What is on its way when the devices fall silent comes within this, or not at all.
WAIT_S_MAX = 60.0
GATEWAY = "gateway"


@dataclass(frozen=True)
class Settings:
    """What a run is asked for; rate: records a second of each device."""

    devices: int = DEVICES
    seconds: float = SECONDS
    rate: float = RATE


class Behind:
    """One gateway behind a broker of its own, and the devices that are connected to it."""

    def __init__(self, folder: Path, fleet: Fleet, labels: Sequence[str], name: str) -> None:
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=folder))
        self._stores = 0
        self._fleet = fleet
        self._labels = labels
        self._running = Running(self._folder)
        self._broker = Mosquitto(self._folder / "broker")
        peer = None if name == OURS else name
        self._crew = Crew(
            self._folder / "devices",
            labels,
            fleet=str(fleet.path),
            port=self._broker.port,
            peer=peer,
            seconds=PEER_S,
        )

    def __enter__(self) -> "Behind":
        self._broker.start()
        try:
            self._crew.__enter__()
        except BaseException:
            self._broker.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._crew.__exit__(kind, error, trace)
        finally:
            self._running.__exit__()
            self._broker.stop()

    # --- the gateway --------------------------------------------------------------------------

    def start(self) -> float:
        """Start it; seconds until all devices are welcome, once the first one is."""
        if self.name == OURS:
            self._running.tally(GATEWAY, "gateway", "run", "--config", str(self._config()))
        else:
            self._start("peer_gateway", *self._peer())
        self._ask("greet")
        found: list[float] = [answer["seconds"] for answer in self._ask("welcome")]
        return max(found)

    def start_timed(self) -> None:
        """Start it so that it tells what its time went to (stop_timed), from here on."""
        # In one process, all of whose time is seen.
        ours = ("gateway", str(self._config(verify_workers=0)))
        what = ours if self.name == OURS else ("peer", *self._peer())
        self._start("timed_gateway", str(self._folder / "seconds"), *what)
        self._ask("greet")
        self._running.tell(GATEWAY, SIGUSR1)

    def stop_timed(self) -> dict[str, float]:
        """Stop it; seconds by kind."""
        self.stop()
        found: dict[str, float] = json.loads((self._folder / "seconds").read_text())
        return found

    def stop(self) -> None:
        """SIGTERM."""
        self._running.end(GATEWAY)

    def _start(self, module: str, *arguments: str) -> None:
        name = f"tallystick.tools.bench.{module}"
        self._running.start(GATEWAY, [sys.executable, "-m", name, *arguments])

    def _config(self, **limits: float) -> Path:
        url = f"mqtt://{self._broker.host}:{self._broker.port}"
        member = self._fleet.member("gateway", "gateway")
        return provision.gateway(self._fleet, member, broker=url, limits=limits)

    def _peer(self) -> tuple[str, str, str]:
        self._stores += 1
        store = self._folder / f"peer-{self._stores}.sqlite"
        return self.name, str(self._broker.port), str(store)

    # --- the devices --------------------------------------------------------------------------

    def _ask(self, task: str, **arguments: Any) -> list[dict[str, Any]]:
        try:
            return self._crew.ask(task, **arguments)
        except BenchFailed:
            # If the gateway has ended, that is why.
            self._running.check([GATEWAY])
            raise

    def paced(self, rate: float, seconds: float) -> Paced:
        """At the pace of a fleet; `rate`: records a second of each device."""
        pids = {"gateway": self._running.pid(GATEWAY), "broker": self._broker.pid}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        begin_s = time.perf_counter()
        found = self._ask("paced", rate=rate, seconds=seconds, wait_s=WAIT_S_MAX)
        taken_s = time.perf_counter() - begin_s
        self._running.check([GATEWAY])
        shares = {name: (cpu_s(pid) - before[name]) / taken_s for name, pid in pids.items()}
        return Paced.of(found, shares, self._running.resident_bytes(GATEWAY), taken_s)

    def most(self, messages: int) -> float:
        """Records a second, as fast as receipts come."""
        self._crew.ask("prepare", each=-(-messages // len(self._labels)))
        found = self._crew.share("most", "messages", messages)
        self._running.check([GATEWAY])
        said = [one for one in found if one["covered"]]
        taken_s: float = max(one["last_s"] for one in said) - min(one["begin_s"] for one in said)
        covered: int = sum(one["covered"] for one in said)
        return covered * CHECKPOINT_RECORDS / taken_s

    def check(self) -> None:
        """BenchFailed unless each device's last receipt covers everything that it said."""
        refused = sum(answer["refused"] for answer in self._crew.ask("check"))
        if refused:
            message = f"{refused} answers were neither a welcome nor a receipt"
            raise BenchFailed("bench-failed", message)

    def signed(self) -> int:
        """Messages that a peer's devices signed beforehand."""
        return sum(answer["messages"] for answer in self._crew.ask("signed"))


def steps() -> list[str]:
    """What a run does, for a progress bar."""
    return ["devices", "connections", "paced", "most", "shares", *PEERS, "peer, paced", "bound"]


def run(settings: Settings, advance: Callable[[str], None]) -> FleetResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    filelimit.allow(settings.devices)
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        advance("devices")
        fleet = Fleet.init(folder / "fleet", "bench")
        fleet.enrol("gateway", "gateway")
        labels = [f"device-{number}" for number in range(settings.devices)]
        for label in labels:
            fleet.enrol("device", label)
        advance("connections")
        result = FleetResult(_told(settings))
        with Behind(folder, fleet, labels, OURS) as ours:
            _ours(ours, settings, result, advance)
        for name in PEERS:
            advance(name)
            with Behind(folder, fleet, labels, name) as peer:
                peer.start()
                result.most[name] = peer.most(peer.signed())
                peer.stop()
        advance("peer, paced")
        best = max(PEERS, key=lambda name: result.most[name])
        with Behind(folder, fleet, labels, best) as peer:
            _paced(peer, settings, result)
        advance("bound")
        result.bound_per_s = bound_per_s(record(0))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return result


def _ours(
    ours: Behind, settings: Settings, result: FleetResult, advance: Callable[[str], None]
) -> None:
    result.welcome_s = ours.start()
    advance("paced")
    result.paced[OURS] = ours.paced(settings.rate, settings.seconds)
    ours.check()
    advance("most")
    result.most[OURS] = ours.most(MOST_SEGMENTS * settings.devices)
    ours.check()
    ours.stop()
    advance("shares")
    _shares(ours, settings, result)
    ours.check()


def _paced(peer: Behind, settings: Settings, result: FleetResult) -> None:
    # Its shares first: what it cannot carry at this pace would be in its way afterwards.
    _shares(peer, settings, result)
    peer.start()
    result.paced[peer.name] = peer.paced(settings.rate, settings.seconds)


def _shares(one: Behind, settings: Settings, result: FleetResult) -> None:
    one.start_timed()
    one.paced(settings.rate, min(settings.seconds, SHARES_S_MAX))
    result.seconds[one.name] = one.stop_timed()


def _told(settings: Settings) -> dict[str, Any]:
    return {
        "devices": settings.devices,
        "records_a_second_of_each": settings.rate,
        "seconds": settings.seconds,
        "records_a_segment": CHECKPOINT_RECORDS,
    }
