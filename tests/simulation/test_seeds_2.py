"""F15: the oracle of faults.md holds over the seeds of the simulation; part 2 of 3."""

import pytest

from simulation.seeds import chunks, hold


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", chunks(1), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_the_oracle_holds(seeds: range) -> None:
    hold(seeds)
