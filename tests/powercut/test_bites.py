"""Recorders that are broken on purpose: the cuts find each of them.

A mutant is the library with one piece of its source replaced. Should that piece be written in
another way, write the mutant's so too; that it is found is what counts.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from powercut.bench import FLASHES, Bench, BoardError, Site
from powercut.world import BrokenPromise, judge_cut
from tallystick.evidence.errors import TallyError
from tallystick.tools import device_library
from tallystick.tools.micropython import MicroPython

FOUND = (BrokenPromise, BoardError, TallyError)


@dataclass(frozen=True)
class Mutant:
    name: str
    module: str
    source: str
    instead: str


MUTANTS = (
    Mutant(
        "it signs before the payload is durable",
        "recorder/ledger.py",
        "if log.pending and log.pending[0][0] <= self._durable:",
        "if log.pending:",
    ),
    Mutant(
        "it sends before the signature is durable",
        "recorder/sending.py",
        "if stretch is None or stretch.ordinal > ledger.sendable:",
        "if stretch is None or stretch.ordinal > ledger.log.signed:",
    ),
    Mutant(
        "an urgent decision returns before its sync",
        "recorder/ledger.py",
        "if ordinal <= sendable]",
        "if ordinal <= sendable + 1]",
    ),
    Mutant(
        "a payload without its signature is replaced at boot",
        "recorder/replay.py",
        "    return log\n\n\ndef replay_record",
        "    log.pending = []\n    return log\n\n\ndef replay_record",
    ),
)


@pytest.fixture(scope="module")
def plain() -> Path:
    """The library as its source names things, since a slim one is compiled as a whole."""
    return device_library.compiled("powercut-library", device_library.sources())


def library_of(mutant: Mutant, plain: Path, folder: Path) -> Path:
    place = f"tallystick/{mutant.module}"
    source = device_library.sources()[place].read_text()
    assert source.count(mutant.source) == 1, f"{mutant.module} has no {mutant.source!r}"
    changed = folder / "changed.py"
    changed.write_text(source.replace(mutant.source, mutant.instead))
    made = device_library.compiled("powercut-mutant", {place: changed})
    library = folder / "library"
    shutil.copytree(plain, library)
    shutil.copytree(made, library, dirs_exist_ok=True)
    return library


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_cut_finds(
    tmp_path: Path, site: Site, micropython64: MicroPython, plain: Path, mutant: Mutant
) -> None:
    library = library_of(mutant, plain, tmp_path)
    with Bench(micropython64, library, tmp_path / "bench", site) as bench:
        found = first_found(bench)
    assert found, "no cut found it"
    print(f"{mutant.name}: after {bench.done} cuts: {found}")


def first_found(bench: Bench) -> str:
    """What the first cut that shows anything shows."""
    try:
        script = bench.hour(*FLASHES[0])
        for case in bench.cuts(script, 0, script.operations, [1]):
            judge_cut(case.world, case.said)
    except FOUND as error:
        return str(error)
    return ""
