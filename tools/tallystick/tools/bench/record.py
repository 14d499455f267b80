"""`tally bench record`: decisions a second on each runtime, beside one signature a record."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tallystick.evidence import kinds, segment
from tallystick.evidence.welcome import Welcome
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink
from tallystick.tools import micropython, provision
from tallystick.tools._cache import ToolMissing
from tallystick.tools.bench import modules
from tallystick.tools.bench.allocated import per_decision
from tallystick.tools.bench.peers import PEERS
from tallystick.tools.bench.record_result import RecordResult
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.stepping import STEPS
from tallystick.tools.device_library import compiled, sources
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.micropython import MicroPython

# The longest name that a fleet may have (docs/protocol.md, 1.3): it stands in every checkpoint.
FLEET = "twenty-bytes.example"
SECONDS = 3.0
# Steps are measured in rounds and not for a time.
STEPS_S = 10.0
START_S_MAX = 60.0
# A journal that never fills: nothing frees it here. Larger numbers are slow on 32 bits.
JOURNAL_BYTES = {64: 1 << 34, 32: 1 << 28}
NEVER_S = 86_400
# Whole turns of decisions wait for a step here.
BUFFER_BYTES = 1 << 16
MODULES = ("allocating", "bound", "heap", "recording", "stepping")
# Times are taken in a heap with room to spare. Memory is: in the smallest heap in which a recorder
# alone runs; pointers of 64 bits fill twice as much.
HEAP_KIB = {64: 512, 32: 256}
SMALL_HEAPS_KIB = {64: (112, 128, 160, 192, 256), 32: (64, 72, 80, 96, 128)}
HEAP_RECORDS = 500
SETTINGS = {
    "uplink": None,
    "checkpoint_records": CHECKPOINT_RECORDS,
    "checkpoint_s": NEVER_S,
    "interval_s": NEVER_S,
}


@dataclass
class Site:
    """A folder with a fleet; each run gets a device of its own."""

    folder: Path
    fleet: Fleet

    def device(self, label: str, bits: int = 64) -> Path:
        """Enrol a device; the path of its configuration."""
        member = self.fleet.enrol("device", label)
        return provision.device(
            self.fleet,
            member,
            uplink="",
            namespace="bench",
            profiles=[],
            settings={
                **SETTINGS,
                "journal_bytes": JOURNAL_BYTES[bits],
                "buffer_bytes": BUFFER_BYTES,
            },
        )

    def stepped(self, label: str, bits: int = 64) -> tuple[str, str]:
        """The arguments of stepping.py, with a device of its own."""
        folder = self.folder / label
        folder.mkdir()
        return str(self.device(label, bits)), str(folder)


def steps(steady: int = 0) -> list[str]:
    """What a run does, for a progress bar."""
    every = ["CPython", *PEERS, "MicroPython 64", "MicroPython 32"]
    return [*every, "steady"] if steady else every


def run(seconds: float, advance: Callable[[str], None], steady: int = 0) -> RecordResult:
    """Measure all; `advance(step)` is called before each of steps(); `steady`: see steady.py."""
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        site = Site(folder, Fleet.init(folder / "fleet", FLEET))
        advance("CPython")
        config = site.device("cpython")
        ours = module("recording", "recorder", str(config), str(seconds), seconds=seconds)
        added = added_bytes(config)
        stepped = site.stepped("cpython-steps")
        ours["steps"] = module("stepping", *stepped, seconds=STEPS_S)
        peers = {}
        peers_added = {}
        for name in PEERS:
            advance(name)
            peer = module("peer_recorder", name, str(folder), str(seconds), seconds=seconds)
            peers[name] = peer["per_s"]
            peers_added[name] = round(peer["added_bytes"], 1)
        runtimes = []
        for bits in HEAP_KIB:
            advance(f"MicroPython {bits}")
            runtimes.append(_on_micropython(site, bits, seconds))
        details = {
            **_costs(ours),
            "added_bytes_per_record": round(added, 2),
            "peers_added_bytes_per_record": peers_added,
            "micropython": runtimes,
            "modules": _modules(folder),
        }
        if steady:
            advance("steady")
            details["steady"] = _steady(folder / "steady", steady)
        return RecordResult("record", ours["per_s"], peers, ours["bound_per_s"], details)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def added_bytes(config: Path) -> float:
    """Bytes that a segment of 64 records has beside its records, for each of them.

    Read from what the recorder sends: it is opened again with a link in memory.
    """
    link = MemoryUplink()
    tally = Recorder.open({**_absolute(config), "uplink": None}, link, background=False)
    try:
        while tally.poll():
            pass
        link.deliver(Welcome(0, None, None).encode())
        while tally.poll():
            pass
        sent = [data for data in link.take() if data[1] == kinds.SEGMENT]
    finally:
        tally.close()
    for data in sent:
        received = segment.parse(data)
        if received.edge is None and received.to - received.first == CHECKPOINT_RECORDS:
            records = sum(len(item) for item in received.stretches[0].items)
            return (len(data) - records) / CHECKPOINT_RECORDS
    message = "the recorder sent no segment of 64 records"
    raise BenchFailed("bench-failed", message)


def _absolute(config: Path) -> dict[str, Any]:
    # As the recorder resolves a file's paths: beside the file.
    settings: dict[str, Any] = json.loads(config.read_text())
    for name in ("journal", "credential", "profiles"):
        settings[name] = str(config.parent / settings[name])
    settings["key"] = f"file:{config.parent / 'key'}"
    return settings


def _costs(ran: dict[str, Any]) -> dict[str, Any]:
    """What a decision costs, and how that compares with encoding and three hashes alone."""
    return {
        "decision_us": round(ran["decision_us"], 2),
        "bare_us": round(ran["bare_us"], 2),
        "decision_to_bare": round(ran["decision_us"] / ran["bare_us"], 2),
        "settle_us": round(ran["settle_us"], 2),
        "steps_us": {name: round(ran["steps"][name], 2) for name in STEPS},
    }


def module(name: str, *arguments: str, seconds: float) -> dict[str, Any]:
    """What a module of this folder prints, run by a CPython of its own."""
    command = [sys.executable, "-m", f"tallystick.tools.bench.{name}", *arguments]
    return _ran(name, _output(command, {**os.environ}, seconds))


def _output(
    command: Sequence[str],
    environment: dict[str, str],
    seconds: float,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    # subprocess.run kills the child when this process is interrupted.
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S_MAX + 10 * seconds,
        check=False,
    )


def _ran(what: str, done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise BenchFailed("bench-failed", f"{what} did not run: {said}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def library(names: Sequence[str] = MODULES) -> Path:
    """The device library with the bench's own device code in it, compiled."""
    here = Path(__file__).parent
    own = {f"tallystick/tools/bench/{name}.py": here / f"{name}.py" for name in names}
    return compiled("bench-library", {**sources(), **own}, slim=True, board=True)


def _steady(folder: Path, decisions: int) -> list[dict[str, Any]]:
    from tallystick.tools.bench import steady  # noqa: PLC0415 - it wants a gateway, as others do not

    folder.mkdir()
    return [found.object() for found in steady.run(folder, decisions)]


def _modules(folder: Path) -> list[dict[str, Any]]:
    """What each module of a board's library costs; none where there is no 32-bit MicroPython."""
    try:
        found = micropython.find(32)
        place = folder / "modules"
        place.mkdir()
        return [asdict(one) for one in modules.measure(found, place)]
    except ToolMissing:
        # Said with that MicroPython's other figures.
        return []


def _on_micropython(site: Site, bits: int, seconds: float) -> dict[str, Any]:
    try:
        found = micropython.find(bits)
        path = library()
    except ToolMissing as error:
        # Not measured, and said: a result without it must not look whole.
        return {"bits": bits, "not_measured": error.message}
    folder = site.folder / f"micropython-{bits}"
    folder.mkdir()
    # As on a board: /lib. MicroPython keeps each module's path in its heap.
    (folder / "lib").symlink_to(path)
    device = Device(found, folder, seconds)
    ours = device.ran("recording", "recorder", str(site.device(f"mp{bits}", bits)))
    signatures = device.ran("recording", "signatures", str(folder))
    kib = HEAP_KIB[bits]
    ours["steps"] = device.module("stepping", *site.stepped(f"mp{bits}-steps", bits), kib=kib)
    heap_kib, free = device.memory(site)
    count, size = device.allocations(site)
    return {
        "bits": bits,
        "version": ".".join(str(number) for number in found.version),
        "ours_per_s": round(ours["per_s"], 1),
        "peers": {"pure-python-ed25519": round(signatures["per_s"], 1)},
        "bound_per_s": round(ours["bound_per_s"], 1),
        "ratio_to_best_peer": round(ours["per_s"] / signatures["per_s"], 2),
        "ratio_to_bound": round(ours["per_s"] / ours["bound_per_s"], 4),
        **_costs(ours),
        "records": ours["records"],
        "heap_bytes": heap_kib * 1024,
        "memory_free_bytes": free,
        "allocations_per_decision": count,
        "allocated_bytes_per_decision": size,
    }


@dataclass
class Device:
    """One MicroPython with the device library, as a board has it."""

    found: MicroPython
    folder: Path
    seconds: float

    def _run(self, module: str, *arguments: str, kib: int) -> subprocess.CompletedProcess[str]:
        module = f"tallystick.tools.bench.{module}"
        command = self.found.argv("-m", module, *arguments, heap=f"{kib}k")
        environment = self.found.environment([Path("lib")])
        return _output(command, environment, self.seconds, self.folder)

    def module(self, name: str, *arguments: str, kib: int) -> dict[str, Any]:
        """What a module of this folder prints there."""
        done = self._run(name, *arguments, kib=kib)
        return _ran(f"{name} on the {self.found.bits}-bit MicroPython", done)

    def ran(self, module: str, mode: str, where: str) -> dict[str, Any]:
        """A mode of one of record's own modules."""
        kib = HEAP_KIB[self.found.bits]
        return self.module(module, mode, where, str(self.seconds), kib=kib)

    def allocations(self, site: Site) -> tuple[float, float]:
        """How many pieces of heap a decision() takes, and how many bytes they have."""
        bits = self.found.bits
        config = site.device(f"mp{bits}-allocations", bits)
        done = self._run("allocating", str(config), kib=HEAP_KIB[bits])
        if done.returncode:
            _ran("allocating", done)
        return per_decision(done.stdout, 4 * bits // 8)

    def memory(self, site: Site) -> tuple[int, int]:
        """The smallest of the small heaps in which a recorder runs, and what it leaves free."""
        bits = self.found.bits
        for kib in SMALL_HEAPS_KIB[bits]:
            config = site.device(f"mp{bits}-{kib}", bits)
            done = self._run("heap", str(config), str(HEAP_RECORDS), kib=kib)
            if done.returncode == 0:
                return kib, int(done.stdout)
            if "MemoryError" not in done.stderr:
                break
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        message = f"a recorder on the {bits}-bit MicroPython did not run: {said}"
        raise BenchFailed("bench-failed", message)
