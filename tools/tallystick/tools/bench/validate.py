"""`tally bench validate`: batch over HTTP to receipt, beside one signature a record."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence import checkpoint, segment
from tallystick.tools._ports import free_port
from tallystick.tools.bench import handovers, peer_batches
from tallystick.tools.bench.bound import bound_per_s
from tallystick.tools.bench.handovers import Gateway
from tallystick.tools.bench.notary import SQLITE, STORES, Notary, server
from tallystick.tools.bench.peer_batches import PeerBatches
from tallystick.tools.bench.peers import PEERS
from tallystick.tools.bench.recording import record
from tallystick.tools.bench.sampling import Sampler
from tallystick.tools.bench.sending import check, send, wait
from tallystick.tools.bench.validate_result import Ran, ValidateResult
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.postgres import Postgres
from tallystick.tools.replay.processes import Processes
from tallystick.validator import body
from tallystick.validator.sequencer import Sequencer

RECORDS = 131_072
DEVICES = 16
GATEWAYS = 2
SECONDS = 3.0
ROUNDS = 3
# Records a segment; and a claim for so many records: a robot that decides 50 times a second hands
# something over, or meets another one, every five seconds.
SEGMENT_RECORDS = (64, 256)
CLAIM_EVERY = 256


@dataclass
class Traffic:
    """Batches of several gateways: what introduces them, what warms caches, what is timed."""

    records: int
    warm: list[list[bytes]]
    batches: list[list[bytes]]
    statements: dict[bytes, bytes]


@dataclass(frozen=True)
class Settings:
    """What a run is asked for; `workers`: processes beside the validator, on PostgreSQL."""

    records: int = RECORDS
    devices: int = DEVICES
    seconds: float = SECONDS
    rounds: int = ROUNDS
    stores: tuple[str, ...] = STORES
    workers: int = 0
    claim_every: int = CLAIM_EVERY


class Bench:
    """One run: the same traffic, sent to one validator after another."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self._made = 0
        self.fleet = Fleet.init(folder / "fleet", "bench")
        self._traffic = {each: self._make(each) for each in SEGMENT_RECORDS}
        self._peers = {
            name: peer_batches.make(name, settings.seconds, GATEWAYS, settings.claim_every)
            for name in PEERS
        }

    def _make(self, each: int) -> Traffic:
        settings, fleet = self._settings, self.fleet
        made = Traffic(0, [], [], {})
        # Half of the records for each of two gateways; a pair is always behind the same one.
        for number in range(GATEWAYS):
            members = [
                fleet.enrol("device", f"device-{each}-{number}-{at}")
                for at in range(max(2, settings.devices // GATEWAYS))
            ]
            gateway = Gateway(fleet, fleet.enrol("gateway", f"gateway-{each}-{number}"))
            pairs = handovers.pairs(fleet, members)
            warm = handovers.logs(pairs, len(members) * each, each, settings.claim_every)
            timed = handovers.logs(pairs, settings.records // GATEWAYS, each, settings.claim_every)
            made.warm.append([gateway.hello(members), *gateway.batches(warm)])
            made.batches.append(list(gateway.batches(timed)))
            for data in timed:
                statement = segment.parse(data).stretches[-1].checkpoint
                made.statements[checkpoint.parse(statement).digest] = statement
            made.records += len(timed) * each
        return made

    def round(
        self,
        number: int,
        store: str,
        postgres: Postgres | None,
        best: Ran,
        advance: Callable[[str], None],
    ) -> None:
        """Each once on one kind of store; another process can only make a round slower."""
        for each, traffic in self._traffic.items():
            advance(_step(number, store, each))
            best.ours[each] = max(best.ours.get(each, 0.0), self._ours(traffic, postgres))
        for name, batches in self._peers.items():
            advance(_step(number, store, name))
            rate = self._peer(name, batches, postgres)
            best.peers[name] = max(best.peers.get(name, 0.0), rate)

    def _notary(self, postgres: Postgres | None) -> Notary:
        self._made += 1
        url = None if postgres is None else postgres.database()
        workers = 0 if postgres is None else self._settings.workers
        return Notary(self.fleet, f"notary-{self._made}", url, workers=workers)

    def _ours(self, traffic: Traffic, postgres: Postgres | None) -> float:
        notary = self._notary(postgres)
        with Processes(self._folder / notary.member.label) as processes:
            processes.tally("validator", "validator", "run", "--config", str(notary.path))
            names = ["validator"]
            wait(notary.url, lambda: processes.check(names))
            notary.wait_for_workers(0 if postgres is None else self._settings.workers)
            for line in traffic.warm:
                send(notary.url, [line])
            taken, answers = send(notary.url, traffic.batches)
            processes.check(names)
        check(answers, traffic.statements, self.fleet.name, notary.member.identity.key)
        if postgres is not None:
            postgres.take_back()
        return traffic.records / taken

    def _peer(self, name: str, batches: PeerBatches, postgres: Postgres | None) -> float:
        self._made += 1
        port = free_port()
        folder = self._folder / f"peer-{self._made}"
        with Processes(folder) as processes:
            module = ["-m", "tallystick.tools.bench.peer_validator"]
            store = str(folder / "peer.sqlite") if postgres is None else postgres.database()
            processes.start(name, [sys.executable, *module, name, str(port), store])
            url = f"http://127.0.0.1:{port}"
            wait(url, lambda: processes.check([name]))
            taken, _ = send(url, batches.lines)
        if postgres is not None:
            postgres.take_back()
        return batches.records / taken

    def shares(self, each: int, postgres: Postgres | None) -> dict[str, float]:
        """What the one writer's time goes to, by sampling it in this process."""
        traffic = self._traffic[each]
        sequencer = Sequencer(self._notary(postgres).config())
        try:
            _turns(sequencer, traffic.warm)
            with Sampler() as sampler:
                _turns(sequencer, traffic.batches)
        finally:
            sequencer.stop()
        if postgres is not None:
            postgres.take_back()
        return sampler.shares()

    def told(self) -> dict[str, object]:
        """What the figures need beside them."""
        settings = self._settings
        return {
            "records": self._traffic[SEGMENT_RECORDS[0]].records,
            "devices": settings.devices,
            "gateways": GATEWAYS,
            "rounds": settings.rounds,
            "records_a_claim": settings.claim_every,
            "workers": settings.workers,
        }


def _turns(sequencer: Sequencer, lines: Sequence[Sequence[bytes]]) -> None:
    """As the sequencer's thread: a batch, then what fell due; at last all that is due."""
    for line in lines:
        for compressed in line:
            sequencer.ingest.batch(body.decompress(compressed))
            sequencer.reconciler.tick()
    while sequencer.reconciler.tick():
        pass


def steps(settings: Settings) -> list[str]:
    """What a run does, for a progress bar."""
    parts = [*map(str, SEGMENT_RECORDS), *PEERS]
    return [
        "segments",
        *(
            _step(number, store, part)
            for number in range(settings.rounds)
            for store in settings.stores
            for part in parts
        ),
        *(f"shares {each}" for each in SEGMENT_RECORDS),
    ]


def _step(number: int, store: str, part: object) -> str:
    return f"{store} {part} ({number + 1})"


def run(settings: Settings, advance: Callable[[str], None]) -> ValidateResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        with ExitStack() as stack:
            servers: dict[str, Postgres | None] = {}
            absent = {}
            for store in settings.stores:
                found = None if store == SQLITE else stack.enter_context(server())
                if isinstance(found, str):
                    absent[store] = found
                else:
                    servers[store] = found
            advance("segments")
            bench = Bench(folder, settings)
            ran = {store: Ran({}, {}) for store in servers}
            for number in range(settings.rounds):
                for store, postgres in servers.items():
                    bench.round(number, store, postgres, ran[store], advance)
            shares = {}
            for store, postgres in servers.items():
                for each in SEGMENT_RECORDS:
                    advance(f"shares {each}")
                    shares[store, each] = bench.shares(each, postgres)
        return ValidateResult(ran, shares, absent, bound_per_s(record(0)), bench.told())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
