"""`tally bench audit`: a log's entries a second, on one core, on all, and by shards."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tallystick.evidence import note as notes
from tallystick.evidence.genesis import parse as parse_genesis
from tallystick.tools.bench.audit_result import AuditResult
from tallystick.tools.bench.notary import Notary
from tallystick.tools.bench.opened import Opened
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.log_source import LogSource
from tallystick.validator.collecting import collect_seldom
from tallystick.validator.sequencer import Sequencer
from tallystick.verify import audit as audits
from tallystick.verify.audit import Tiled

ENTRIES = 65_536
ENTRIES_MIN = 512
SECONDS = 2.0
SHARDS = 4
# Of the entries of an interaction: two claims and a verdict. A checkpoint covers many claims.
ENTRIES_AN_INTERACTION = 3
ANSWERS_A_TURN = 4_096
AUDIT_S_MAX = 600.0
NODE_INPUT_BYTES = 65
LEAF_PREFIX = b"\0"


@dataclass(frozen=True)
class Settings:
    """What a run is asked for."""

    entries: int = ENTRIES
    seconds: float = SECONDS
    shards: int = SHARDS


def steps(settings: Settings) -> list[str]:
    """What a run does, for a progress bar."""
    return ["log", "one core", "tally audit", "all cores", *_shards(settings.shards)]


def _shards(count: int) -> list[str]:
    return [f"shard {number}/{count}" for number in range(1, count + 1)]


def run(settings: Settings, advance: Callable[[str], None]) -> AuditResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        advance("log")
        tiles = make_log(folder, settings.entries)
        advance("one core")
        alone, bound, size = _alone(tiles, settings.seconds)
        cores = len(os.sched_getaffinity(0))
        advance("tally audit")
        one_s = audited(tiles, size, "--jobs", "1")
        advance("all cores")
        all_s = audited(tiles, size, "--jobs", str(cores))
        shards = []
        for nth, step in enumerate(_shards(settings.shards), 1):
            advance(step)
            shards.append(
                audited(tiles, None, "--jobs", "1", "--shard", f"{nth}/{settings.shards}")
            )
        return AuditResult(size, alone, bound, one_s, (cores, all_s), shards)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_log(folder: Path, entries: int) -> Path:
    """A validator's own log of about so many entries, as tiles: claims, checkpoints, verdicts."""
    fleet = Fleet.init(folder / "fleet", "bench")
    notary = Notary(fleet, "notary", tiles=True)
    sequencer = Sequencer(notary.config())
    collect_seldom()
    try:
        opened = Opened(sequencer, fleet, "robot")
        opened.grow(entries // ENTRIES_AN_INTERACTION)
        while opened.open:
            opened.take(opened.answers(ANSWERS_A_TURN))
            while sequencer.reconciler.tick():
                pass
        if sequencer.tiles is None:
            raise BenchFailed("bench-failed", "the validator writes no tiles")
        sequencer.tiles.write()
    finally:
        sequencer.stop()
    return notary.tiles


def _alone(tiles: Path, seconds: float) -> tuple[float, float, int]:
    """Entries a second of one core, those of the bound, and how many there are."""
    with LogSource(str(tiles)) as source:
        note = source.checkpoint()
        first = Tiled(source.fetch, note)
        key = parse_genesis(first.entry(0)).note_key
        note.verify(key)
        entries = [
            data for number in range(audits.bundles(note.size)) for data in first.bundle(number)
        ]
        best_s = bound_s = 0.0
        end = time.perf_counter() + seconds
        while not best_s or time.perf_counter() < end:
            start = time.thread_time()
            log = Tiled(source.fetch, notes.parse(note.text()))
            for part in audits.parts(audits.shard(note.size, 1, 1)):
                found = audits.audit_part(log, key, part)
                if found.problems_found:
                    raise BenchFailed("bench-failed", f"it does not hold: {found.problems[0]}")
            taken = time.thread_time() - start
            best_s = min(best_s or taken, taken)
            taken = hashing_s(entries)
            bound_s = min(bound_s or taken, taken)
    return note.size / best_s, note.size / bound_s, note.size


def hashing_s(entries: Sequence[bytes]) -> float:
    """Seconds of one thread for what no audit can do without: a leaf and a node for each entry."""
    node_input = bytes(NODE_INPUT_BYTES)
    start = time.thread_time()
    for data in entries:
        sha256(LEAF_PREFIX + data).digest()
        sha256(node_input).digest()
    return time.thread_time() - start


def audited(tiles: Path, size: int | None, *options: str) -> float:
    """Seconds of a whole `tally audit`, its start included; it must find everything good."""
    main = "from tallystick.tools.main import main; main()"
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", main, "audit", str(tiles), "--json", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=AUDIT_S_MAX,
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise BenchFailed("bench-failed", f"tally audit: {said}")
    told: dict[str, Any] = json.loads(done.stdout)
    if not told["good"] or size not in {None, told["entries"]}:
        raise BenchFailed("bench-failed", f"tally audit read {told['entries']} of {size} entries")
    return taken
