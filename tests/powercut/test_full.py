"""F03: more than the journal holds, and more than the flash, on real MicroPython and LittleFS."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from powercut.bench import FLASHES, LONG, Bench, Script, Site, judged, make_site
from powercut.world import judge_full
from tallystick.tools.micropython import MicroPython

# As in test_cuts.py; 0 leaves an operation out.
TORN = [7] if LONG else [1, 0, 0, 2, 0, 0, 4, 0, 0]
JOURNAL_BYTES = 16384


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, micropython64: MicroPython, device_library: Path
) -> Iterator[Bench]:
    folder = tmp_path_factory.mktemp("small")
    site: Site = make_site(folder, journal_bytes=JOURNAL_BYTES, checkpoint_records=8)
    with Bench(micropython64, device_library, folder / "bench", site) as running:
        yield running


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cut_of_a_journal_at_its_bound(small: Bench) -> None:
    """Oldest bodies go, hashes stay, and gaps tell of each, wherever the power goes."""
    for shape in FLASHES if LONG else FLASHES[:1]:
        script = small.script("full", shape)
        before, after = script.reports
        world = script.worlds[-1][1]
        assert before["backlog"] > 60
        assert after["backlog"] == before["dropped"] == after["dropped"] == 0
        # Told to the last body, where no power cut falls between.
        told = sum(one["dropped"] for one in world.events("gap"))
        assert told == world.gate.bodiless > 40
        assert world.claimed
        cases = small.cuts(script, 0, script.operations, TORN)
        count = judged(cases, lambda case: judge_full(case.world, case.said))
        assert count > script.operations // 3 - 1


@pytest.mark.parametrize("size", [12288, 14336, 16384])
def test_a_flash_that_is_full_before_the_journal(small: Bench, size: int) -> None:
    """A bound that the flash does not hold: it records what it can, and tells the rest."""
    script: Script = small.script("full", (512, size, 32))
    world = script.worlds[-1][1]
    world.check_heads()
    world.check_order()
    assert script.reports[-1]["backlog"] == 0
    numbers = [one.inputs["n"] for one in world.decisions()]
    assert numbers == sorted(set(numbers))
    missing = set(world.attempted) - set(numbers)
    told = sum(one["dropped"] for one in world.events("gap"))
    assert 0 < len(missing) <= told
    assert set(world.acknowledged) <= set(numbers)
