"""F01, F02, F04, F05, F25: the power goes at every operation of an hour's flash, for three blocks.

Real MicroPython, its LittleFS, the compiled recorder; key, counter and gateway survive on this
side. TALLY_POWERCUT=long tears each operation both ways, and runs on 32 bits too.
"""

import re
from pathlib import Path

import pytest

from powercut.bench import FLASHES, LONG, Bench, Case, Script, Shape, Site, judged
from powercut.world import judge_cut
from tallystick.tools.micropython import MicroPython

# As bits: undone; torn with what was there behind the tear; torn with rubbish behind it.
TORN = [1 | 2 | 4] if LONG else [1 | 2, 1 | 4]


# What docs/recorder.md says of the operations of a script, and of all cuts.
STATED = re.compile(r"programs and erases, (\d+) to ([\d,]+) by .* more than ([\d,]+) cuts in all")


def stated() -> list[int]:
    text = (Path(__file__).parents[2] / "docs" / "recorder.md").read_text()
    found = STATED.search(text)
    assert found
    return [int(number.replace(",", "")) for number in found.groups()]


def every_cut(bench: Bench, shape: Shape) -> int:
    script = bench.script("hour", shape)
    all_of_it_happened(script)
    least, most, _ = stated()
    assert least <= script.operations <= most
    count = judged(bench.cuts(script, 0, script.operations, TORN), cut)
    assert count == script.operations * (3 if LONG else 2)
    return count


def cut(case: Case) -> None:
    judge_cut(case.world, case.said)


def all_of_it_happened(script: Script) -> None:
    """The hour that is cut holds what it must, or its cuts prove little."""
    world = script.worlds[-1][1]
    assert script.reports[-1]["backlog"] == script.reports[-1]["dropped"] == 0
    assert len(world.acknowledged) == 3
    assert len(world.claimed) == len(world.kept) == 1
    assert [one["value"] for one in world.events("counter")] == [0, 1, 2]
    assert [one["state"] for one in world.events("uplink")][-2:] == ["down", "up"]
    # Set to 1970, and to a year ahead.
    assert len(world.events("clock")) == 2
    faults = [(one["part"], one["reason"]) for one in world.events("fault")]
    assert sorted(faults) == [("key", "no-answer"), ("uplink", "no-link")]
    # Files of the journal were begun, and freed.
    newest, kept = script.reports[-1]["files"]
    assert kept < newest > 3


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_cut_of_an_hour(bench: Bench) -> None:
    count = sum(every_cut(bench, shape) for shape in FLASHES)
    assert count > stated()[2]


@pytest.mark.slow
def test_cut_after_cut(bench: Bench) -> None:
    """A boot that repairs what a cut left is cut too, and the one after it."""
    chains = [[at] for at in range(1, 60)]
    chains += [[at % 17 + 1, at % 5 + 3, at] for at in range(1, 60)]
    for shape in FLASHES if LONG else FLASHES[:1]:
        script = bench.script("hour", shape)
        for third in range(3):
            begin = script.operations * third // 3
            cases = bench.cases(script, begin, "again", chains[:: 1 if LONG else 2])
            assert judged(cases, cut) >= len(chains) // 2


if LONG:

    @pytest.mark.timeout(1800)
    def test_every_cut_on_32_bits(
        tmp_path: Path, site: Site, micropython32: MicroPython, device_library: Path
    ) -> None:
        with Bench(micropython32, device_library, tmp_path, site) as running:
            for shape in FLASHES:
                every_cut(running, shape)
