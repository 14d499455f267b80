"""Recorders that are broken on purpose: the cuts find each of them.

A mutant is the library with one piece of its source replaced. Should that piece be written in
another way, write the mutant's so too; that it is found is what counts.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from powercut.bench import FLASHES, Bench, BoardError, Script, Site
from powercut.flash import EIO
from powercut.world import BrokenPromise, judge, judge_cut
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
    also: tuple[str, str] = ("", "")


MUTANTS = (
    Mutant(
        "it signs before the payload is durable",
        "recorder/advancing.py",
        "if log.pending and log.pending[0][0] <= ledger._durable and _begin",
        "if log.pending and _begin",
    ),
    Mutant(
        "it sends before the signature is durable",
        "recorder/sending.py",
        "if stretch is None or stretch.ordinal > ledger.sendable:",
        "if stretch is None or stretch.ordinal > ledger.log.signed:",
    ),
    Mutant(
        "an urgent decision returns before its sync",
        "recorder/advancing.py",
        "if ordinal <= sendable]",
        "if ordinal <= sendable + 1]",
    ),
    Mutant(
        "a sync that is none",
        "recorder/files.py",
        "        handle.flush()\n",
        "",
    ),
    Mutant(
        "the counter is raised before its intent is durable",
        "recorder/raising.py",
        "if not counting.synced:",
        "if False:",
    ),
    Mutant(
        "a payload without its signature is replaced at boot",
        "recorder/replay.py",
        "    return log\n\n\ndef replay_record",
        "    log.pending = []\n    return log\n\n\ndef replay_record",
    ),
)


FAULTY = (
    Mutant(
        "it believes the sync behind a sync that failed",
        "recorder/journal.py",
        "        done = False\n",
        "        done = True\n",
        ("self.doubt = MICROPYTHON", "self.doubt = False"),
    ),
)


@pytest.fixture(scope="module")
def plain() -> Path:
    """The library as its source names things, since a slim one is compiled as a whole."""
    return device_library.compiled("powercut-library", device_library.sources())


def library_of(mutant: Mutant, plain: Path, folder: Path) -> Path:
    place = f"tallystick/{mutant.module}"
    source = device_library.sources()[place].read_text()
    for old, new in ((mutant.source, mutant.instead), mutant.also):
        assert not old or source.count(old) == 1, f"{mutant.module} has no {old!r}"
        source = source.replace(old, new) if old else source
    changed = folder / "changed.py"
    changed.write_text(source)
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
        found = first_found(bench, cut)
    assert found, "no cut found it"
    print(f"{mutant.name}: after {bench.done} cuts: {found}")


def cut(bench: Bench, script: Script) -> None:
    for case in bench.cuts(script, 0, script.operations, [1]):
        judge_cut(case.world, case.said)


@pytest.mark.parametrize("mutant", FAULTY, ids=lambda one: one.name)
def test_a_flash_that_fails_finds(
    tmp_path: Path, site: Site, micropython64: MicroPython, plain: Path, mutant: Mutant
) -> None:
    library = library_of(mutant, plain, tmp_path)
    with Bench(micropython64, library, tmp_path / "bench", site) as bench:
        found = first_found(bench, fail)
    assert found, "no failure found it"


def fail(bench: Bench, script: Script) -> None:
    for case in bench.cases(script, script.operations // 2, "errors", 1, 1000, [[[0, EIO]]]):
        judge(case.world, case.said)


def first_found(bench: Bench, look: Callable[[Bench, Script], None]) -> str:
    """What the first fault that shows anything shows."""
    try:
        look(bench, bench.script("hour", FLASHES[0]))
    except FOUND as error:
        return str(error)
    return ""
