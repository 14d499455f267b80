"""The seeds of `make test`: three files share them, since xdist keeps a file with one worker."""

from simulation.run import failure, report

SEEDS = 500
FILES = 3
ITEMS = 6


def chunks(file: int) -> list[range]:
    """The ranges of one of the files, one for each of its tests."""
    count = FILES * ITEMS
    edges = [SEEDS * number // count for number in range(count + 1)]
    first = file * ITEMS
    return [range(edges[n], edges[n + 1]) for n in range(first, first + ITEMS)]


def hold(seeds: range) -> None:
    """Every one of these holds; else it is said which does not, and how to see it."""
    for seed in seeds:
        why = failure(seed)
        assert why is None, report(seed, why)
