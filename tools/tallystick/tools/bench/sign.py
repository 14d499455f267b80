"""`tally bench sign`: keys where hardware holds them, and what a recorder does with each."""

import shutil
import statistics
import sys
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.hw.signer import Signer
from tallystick.tools import micropython, provision
from tallystick.tools._cache import ToolMissing
from tallystick.tools.bench import held, record
from tallystick.tools.bench.covered import covered
from tallystick.tools.bench.held import Held
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.sign_result import OURS, SignResult
from tallystick.tools.fleetdir import Fleet

SECONDS = 3.0
HEAP_KIB = {64: 1024, 32: 512}
MODULES = ("bound", "recording", "signing")
# Of each run, `seconds` long each; the start that every program is given suffices for the rest.
PARTS = 4
P99 = 0.99


@dataclass
class Bench:
    """Folder, fleet and results of one run."""

    folder: Path
    fleet: Fleet
    seconds: float
    found: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, key: Held, device: "Device") -> None:
        """Enrol a key, run it there, check that all is covered; the figures go to `found`."""
        name = device.name(key)
        config = self._enrol(name, key, device.bits)
        folder = self.folder / f"run-{name}"
        folder.mkdir()
        ran = device.run(config, folder, self.seconds)
        member = self.fleet.member("device", name)
        records = covered(config, member)
        loads = {load: figures(ran[load], folder / load) for load in ("paced", "unpaced")}
        if records < sum(int(load["decisions"]) for load in loads.values()):
            message = f"{name}: only {records} records are covered"
            raise BenchFailed("bench-failed", message)
        self.found.append(
            {
                "key": name,
                "runtime": device.runtime,
                "signatures_per_s": round(ran["signatures_per_s"], 1),
                "signed_records_per_s": round(ran["signed_records_per_s"], 1),
                **loads,
            }
        )

    def _enrol(self, name: str, key: Held, bits: int) -> Path:
        signer = Signer.from_uri(key.uri)
        try:
            # How it is held is not what is measured, and needs no evidence here.
            member = self.fleet.enrol("device", name, signer=signer, as_software=True)
        finally:
            signer.close()
        return provision.device(
            self.fleet,
            member,
            uplink="",
            namespace="bench",
            profiles=[],
            settings={
                **record.SETTINGS,
                "key": key.uri,
                "journal_bytes": record.JOURNAL_BYTES[bits],
                # A load without pauses is measured, not what a full buffer does with it.
                "buffer_bytes": 1 << 24,
            },
        )

    def missing(self, names: list[str], error: ToolMissing) -> None:
        """Not measured, and said: a result without it must not look whole."""
        self.found += [{"key": name, "not_measured": error.message} for name in names]


class Device:
    """What runs the recorder: this CPython."""

    bits = 64
    runtime = "CPython " + ".".join(str(part) for part in sys.version_info[:3])

    def name(self, key: Held) -> str:
        """What the key's figures are called there."""
        return key.name

    def run(self, config: Path, folder: Path, seconds: float) -> dict[str, Any]:
        """signing.main() there."""
        arguments = (str(config), str(folder), str(seconds))
        return record.module("signing", *arguments, seconds=PARTS * seconds)


class Board(Device):
    """A MicroPython, with the device library as a board has it."""

    def __init__(self, bits: int, folder: Path) -> None:
        self.bits = bits
        self._found = micropython.find(bits)
        self.runtime = f"MicroPython {'.'.join(map(str, self._found.version))}, {bits} bits"
        self._folder = folder / f"micropython-{bits}"
        self._folder.mkdir()
        (self._folder / "lib").symlink_to(record.library(MODULES))

    def name(self, key: Held) -> str:
        """As Device's."""
        return f"mpy{self.bits}-{key.name}"

    def run(self, config: Path, folder: Path, seconds: float) -> dict[str, Any]:
        """As Device's."""
        device = record.Device(self._found, self._folder, PARTS * seconds)
        arguments = (str(config), str(folder), str(seconds))
        return device.module("signing", *arguments, kib=HEAP_KIB[self.bits])


def _boards() -> list[str]:
    return [f"mpy{bits}-atecc608-tcp-m0" for bits in HEAP_KIB]


def steps() -> list[str]:
    """What a run does, for a progress bar."""
    return [name for kind in held.KINDS for name in held.names(kind)] + _boards()


def run(seconds: float, advance: Callable[[str], None]) -> SignResult:
    """Measure all; `advance(step)` is called before each of steps()."""
    with _bench(seconds) as bench:
        for kind in held.KINDS:
            advance(held.names(kind)[0])
            try:
                with held.keys(kind, bench.folder / kind) as keys:
                    for key in keys:
                        advance(key.name)
                        bench.measure(key, Device())
            except ToolMissing as error:
                bench.missing(held.names(kind), error)
        for bits, name in zip(HEAP_KIB, _boards(), strict=True):
            advance(name)
            try:
                board = Board(bits, bench.folder)
                with held.served(bench.folder / f"chip-{bits}", 0) as uri:
                    bench.measure(Held("atecc608-tcp-m0", uri), board)
            except ToolMissing as error:
                bench.missing([name], error)
        return _result(bench.found)


@contextmanager
def _bench(seconds: float) -> Iterator[Bench]:
    folder = Path(tempfile.mkdtemp(prefix="tally-bench."))
    try:
        yield Bench(folder, Fleet.init(folder / "fleet", record.FLEET), seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _result(found: list[dict[str, Any]]) -> SignResult:
    """Ours beside one signature a record by the same kind of chip, and beside the fastest key."""
    measured = {one["key"]: one for one in found if "not_measured" not in one}
    chips = [name for kind in ("atecc608", "atecc608-tcp") for name in held.names(kind)]
    peers = {name: measured[name]["signed_records_per_s"] for name in chips}
    here = [one for one in measured.values() if one["runtime"] == Device.runtime]
    bound = max(one["unpaced"]["covered_per_s"] for one in here)
    return SignResult(
        "sign", measured[OURS]["unpaced"]["covered_per_s"], peers, bound, {"keys": found}
    )


# Figures of a run.


def figures(ran: dict[str, Any], path: Path) -> dict[str, Any]:
    """What people want to know of what signing.Load.run gave, and wrote to `path`."""
    at_us = _read("i", Path(f"{path}.at"))
    took_us = [tenths / 10 for tenths in _read("i", Path(f"{path}.took"))]
    signing = Path(f"{path}.signing").read_bytes()
    lags = list(_lags_us(at_us, ran))
    figures = {
        "decisions": ran["decisions"],
        "made_per_s": round(ran["decisions"] * 1e6 / ran["ended_us"], 1),
        "covered_per_s": round(_covered_per_s(ran), 1),
        "checkpoints": ran["checkpoints"],
        "lag_ms": {"median": _ms(statistics.median(lags)), "worst": _ms(max(lags))},
        "decision_us": {
            "signing": _spread([us for us, yes in zip(took_us, signing, strict=True) if yes]),
            "else": _spread([us for us, yes in zip(took_us, signing, strict=True) if not yes]),
        },
    }
    if ran["poll_worst_us"]:
        figures["poll_worst_ms"] = _ms(ran["poll_worst_us"])
    return figures


def _read(kind: str, path: Path) -> "array[int]":
    found = array(kind)
    found.frombytes(path.read_bytes())
    return found


def _ms(us: float) -> float:
    return round(us / 1000, 1)


def _lags_us(at_us: "array[int]", ran: dict[str, Any]) -> Iterator[int]:
    """From each decision's return to the moment when a signed checkpoint on flash covered it."""
    sizes = [size for _, size in ran["covered"]]
    for number, at in enumerate(at_us):
        # The first size beyond this record's index.
        covering = bisect_right(sizes, ran["first"] + number)
        if covering == len(sizes):
            message = "a decision was not covered"
            raise BenchFailed("bench-failed", message)
        yield ran["covered"][covering][0] - at


def _covered_per_s(ran: dict[str, Any]) -> float:
    """From the first checkpoint of the run to the last before its end: the rate that can go on."""
    during = [point for point in ran["covered"] if point[0] <= ran["ended_us"]]
    if len(during) < 2:
        # More at once than the key signed for meanwhile: all of it, with the wait at the end.
        return float(ran["decisions"] * 1e6 / ran["covered"][-1][0])
    (begin_us, first), (end_us, last) = during[0], during[-1]
    return float((last - first) * 1e6 / (end_us - begin_us))


def _spread(took_us: list[float]) -> dict[str, Any] | None:
    """None where there was none."""
    if not took_us:
        return None
    took_us.sort()
    return {
        "count": len(took_us),
        "median": round(statistics.median(took_us), 1),
        "p99": round(took_us[int(P99 * len(took_us))], 1),
        "worst": round(took_us[-1], 1),
    }
