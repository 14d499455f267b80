"""The simulation itself: one seed is one run, and a guard that is taken out is found."""

import subprocess
import sys
from pathlib import Path

import pytest

from simulation import run
from simulation.mutants import MUTANTS
from simulation.run import Run, failure, report
from simulation.seeds import FILES, SEEDS, chunks

SEEDS_MAX = 500
RUN = Path(run.__file__)
# The seed that finds each guard missing. Where the story changes, `run.py --mutant NAME` looks.
FOUND_BY = {
    "acknowledged_although_the_store_failed": 5,
    "claims_are_not_deduplicated": 0,
    "cursor_moves_before_the_answer": 0,
    "custody_receipt_before_the_commit": 0,
    "freed_without_a_custody_receipt": 82,
    "interrupted_log_begins_again_at_its_checkpoint": 12,
    "lost_store_goes_on_under_its_old_key": 22,
    "memory_is_not_forgotten_when_the_store_fails": 89,
    "nothing_is_synced": 0,
    "receipts_before_the_checkpoint_is_stored": 0,
    "records_are_not_deduplicated": 0,
    "sent_before_it_is_on_flash": 0,
}


def _digest(seed: int) -> str:
    one = Run(seed)
    one.go()
    return one.world.digest


@pytest.mark.parametrize("seed", [1, 7, 20])
def test_a_seed_is_one_run(seed: int) -> None:
    assert _digest(seed) == _digest(seed)


def test_another_seed_is_another_run() -> None:
    assert _digest(1) != _digest(2)


def test_another_process_has_the_same_run() -> None:
    said = subprocess.run(
        [sys.executable, str(RUN), "--seed", "7"], capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[-1] == _digest(7)


def test_every_seed_is_run_once() -> None:
    seeds = [seed for file in range(FILES) for part in chunks(file) for seed in part]
    assert seeds == list(range(SEEDS))


def test_a_failing_seed_says_how_to_see_it_again() -> None:
    assert "run.py --seed 12 --trace" in report(12, "lost")


def test_every_guard_has_its_seed() -> None:
    assert set(FOUND_BY) == set(MUTANTS)
    assert max(FOUND_BY.values()) < SEEDS_MAX


@pytest.mark.parametrize("name", sorted(MUTANTS))
def test_a_missing_guard_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = FOUND_BY[name]
    assert failure(seed) is None
    MUTANTS[name](monkeypatch)
    assert failure(seed) is not None
