"""`tally bench reconcile`: the engine alone, and the validator's tick with its store."""

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.evidence import claim
from tallystick.evidence.digest import sha256
from tallystick.tools.bench import handovers
from tallystick.tools.bench.handovers import GIVER, RECEIVER
from tallystick.tools.bench.notary import POSTGRESQL, STORES, Notary, server
from tallystick.tools.bench.opened import Opened, resident_bytes
from tallystick.tools.bench.reconcile_result import ReconcileResult
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.postgres import Postgres
from tallystick.tools.validator_worker import command
from tallystick.validator.collecting import collect_seldom
from tallystick.validator.crew import Crew
from tallystick.validator.sequencer import Sequencer
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.reconcile import find

OPEN = 100_000
OPEN_MIN = 1_000
SECONDS = 2.0
WORKERS = (0, 1, 2, 4)
# Interactions of the engine's rounds, and answers that are measured at each number of open ones.
ENGINE_SETS = 1_000
MEASURED = 1_024
ROUNDS = 3
# Interactions that the workers find, each two claims.
BACKLOG = 6_144
DRAIN_S_MAX = 300.0
LOOK_S = 0.05


@dataclass(frozen=True)
class Settings:
    """What a run is asked for."""

    open: int = OPEN
    seconds: float = SECONDS
    stores: tuple[str, ...] = STORES
    workers: tuple[int, ...] = WORKERS
    backlog: int = BACKLOG


def sizes(most: int) -> list[int]:
    """How many are open at each step: 1,000, ten times as many, and so on, and at last `most`."""
    found = [OPEN_MIN]
    while found[-1] * 10 < most:
        found.append(found[-1] * 10)
    return found if most <= OPEN_MIN else [*found, most]


def steps(settings: Settings) -> list[str]:
    """What a run does, for a progress bar."""
    counts = settings.workers if POSTGRESQL in settings.stores else ()
    return ["engine", *settings.stores, *(_with(count) for count in counts)]


def _with(count: int) -> str:
    return f"{count} workers"


def run(settings: Settings, advance: Callable[[str], None]) -> ReconcileResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        with ExitStack() as stack:
            advance("engine")
            engine = engine_rates(settings.seconds)
            found: dict[str, list[dict[str, Any]]] = {}
            absent: dict[str, str] = {}
            drained: list[dict[str, Any]] = []
            for store in settings.stores:
                postgres = stack.enter_context(server()) if store == POSTGRESQL else None
                if isinstance(postgres, str):
                    absent[store] = postgres
                    continue
                advance(store)
                url = None if postgres is None else postgres.database()
                found[store] = _apart(folder / store, url, settings.open)
                if postgres is None:
                    continue
                postgres.take_back()
                for count in settings.workers:
                    advance(_with(count))
                    place = folder / f"workers-{count}"
                    drained.append(_drained(place, postgres, count, settings.backlog))
        return ReconcileResult(engine, found, drained, absent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# --- the engine ----------------------------------------------------------------------------


def engine_rates(seconds: float) -> dict[str, float]:
    """Claims a second of one core: the engine, with reading and writing, and the bound.

    The best of several rounds, in the thread's own time.
    """
    records, inputs = _inputs(ENGINE_SETS)
    findings = [find(one) for one in inputs]
    encoded = [finding.encode() for finding in findings]

    def whole() -> None:
        # What a validator does for a set beside its store: bodies in, the finding's bytes out.
        for one, (first, second) in zip(inputs, records, strict=True):
            claim.parse(first)
            claim.parse(second)
            find(one).encode()

    def bound() -> None:
        # A finding is named by two digests: of its inputs, which hold four hashes a claim, and of
        # itself. No engine can do less for the format.
        for data in encoded:
            sha256(data)
            sha256(data)

    parts: dict[str, Callable[[], object]] = {
        "find": lambda: [find(one) for one in inputs],
        "parse_find_encode": whole,
        "bound": bound,
    }
    best = dict.fromkeys(parts, 0.0)
    end = time.perf_counter() + seconds
    while not all(best.values()) or time.perf_counter() < end:
        # In turn, so that what else the machine does bears on all of them alike.
        for name, part in parts.items():
            start = time.thread_time()
            part()
            taken = time.thread_time() - start
            best[name] = min(best[name] or taken, taken)
    return {name: 2 * len(inputs) / taken for name, taken in best.items()}


def _inputs(count: int) -> tuple[list[tuple[bytes, bytes]], list[PartySetInputs]]:
    devices = (sha256(b"giver"), sha256(b"receiver"))
    parties = {"giver": [devices[0]], "receiver": [devices[1]]}
    records, found = [], []
    for number in range(count):
        task = f"task-{number}"
        halves = [handovers.half(parties, side, task, number) for side in (GIVER, RECEIVER)]
        known = [
            KnownClaim(
                sha256(data), device, bytes(8), number, sha256(b"leaf" + data), claim.parse(data),
                "active", 0,
            )
            for device, data in zip(devices, halves, strict=True)
        ]  # fmt: skip
        interaction = claim.parse(halves[0]).interaction_id()
        records.append((halves[0], halves[1]))
        found.append(
            PartySetInputs(
                handovers.PROFILE,
                handovers.NAMESPACE,
                interaction,
                parties,
                known,
                others=[],
                closed=False,
                silence=[],
            )
        )
    return records, found


# --- the tick, with more and more open interactions ------------------------------------------


def _apart(folder: Path, url: str | None, most: int) -> list[dict[str, Any]]:
    # In a process of its own: its memory is what is measured, too.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(grown, folder, url, most).result()


def grown(folder: Path, url: str | None, most: int) -> list[dict[str, Any]]:
    """What a claim costs at each number of open interactions, and what the process holds."""
    fleet = Fleet.init(folder, "bench")
    sequencer = Sequencer(Notary(fleet, "notary", url).config())
    collect_seldom()
    try:
        opened = Opened(sequencer, fleet, "robot")
        # Everything is loaded and compiled once before anything is measured.
        opened.grow(OPEN_MIN)
        _answered(opened, OPEN_MIN // 2)
        points = []
        for size in sizes(most):
            before = len(opened.open)
            start = time.perf_counter()
            opened.grow(size)
            grow_s = time.perf_counter() - start
            point: dict[str, Any] = {"open": size, "resident_bytes": resident_bytes()}
            rounds = []
            for _ in range(ROUNDS):
                rounds.append(_answered(opened, min(MEASURED, size // 4)))
                opened.grow(size)
            point |= {name: round(min(one[name] for one in rounds), 1) for name in rounds[0]}
            point["begin_us"] = round(grow_s / (size - before) * 1e6, 1)
            points.append(point)
    finally:
        sequencer.stop()
    return points


def _answered(opened: Opened, count: int) -> dict[str, float]:
    """Microseconds a claim of ingest and of the tick, of answers to interactions all over.

    By the clock, and of this thread's own time: the disk, a database server and whatever else the
    machine does are in the first alone.
    """
    before = opened.states().get("matched", 0)
    batches = opened.answers(count)
    start, began = time.perf_counter(), time.thread_time()
    opened.take(batches)
    taken, used = time.perf_counter(), time.thread_time()
    while opened.sequencer.reconciler.tick():
        pass
    end, ended = time.perf_counter(), time.thread_time()
    states = opened.states()
    if states != {"matched": before + count, "pending": len(opened.open)}:
        message = f"{count} answers did not make as many findings: {states}"
        raise BenchFailed("bench-failed", message)
    # A finding is of two claims, and one came now.
    return {
        "ingest_us": (taken - start) / count * 1e6,
        "ingest_cpu_us": (used - began) / count * 1e6,
        "tick_us": (end - taken) / (2 * count) * 1e6,
        "tick_cpu_us": (ended - used) / (2 * count) * 1e6,
    }


# --- workers -------------------------------------------------------------------------------


def _drained(folder: Path, postgres: Postgres, count: int, backlog: int) -> dict[str, Any]:
    """How fast a backlog of findings is made by the sequencer and so many workers."""
    fleet = Fleet.init(folder, "bench")
    notary = Notary(fleet, "notary", postgres.database())
    sequencer = Sequencer(notary.config())
    collect_seldom()
    try:
        opened = Opened(sequencer, fleet, "robot")
        opened.grow(backlog)
        opened.take(opened.answers(backlog))
        with Crew(command(notary.path), count):
            notary.wait_for_workers(count)
            start = time.perf_counter()
            # The service's own thread; looking on must cost it nothing.
            sequencer.start()
            while not opened.settled():
                time.sleep(LOOK_S)
                if time.perf_counter() - start > DRAIN_S_MAX:
                    message = f"{backlog} findings took more than {DRAIN_S_MAX:.0f} s"
                    raise BenchFailed("bench-failed", message)
            taken = time.perf_counter() - start
        if opened.states().get("matched", 0) != backlog:
            raise BenchFailed("bench-failed", f"{backlog} findings were due, and not all matched")
    finally:
        sequencer.stop()
        postgres.take_back()
    return {"workers": count, "claims_per_s": round(2 * backlog / taken, 1)}
