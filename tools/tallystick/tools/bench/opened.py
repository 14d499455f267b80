"""Open interactions by the hundred thousand, in a validator's store, by its own ingest.

Givers say that they released something, and nobody has received it yet. Every claim comes the whole
way: in a signed segment, in a signed batch, verified, logged. One thing is left out: the tick that
looks at a set and finds it pending. It changes nothing but its mark `dirty` (a test shows it), and
takes as long as all the rest.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random

import sqlalchemy as sa

from tallystick.tools.bench import handovers
from tallystick.tools.bench.handovers import GIVER, RECEIVER, Gateway, Pair
from tallystick.tools.fleetdir import Fleet
from tallystick.validator import body, schema
from tallystick.validator.sequencer import Sequencer

PAIRS = 16
# Claims that a giver seals with one checkpoint, and batches that are made at once.
CLAIMS_A_STRETCH = 256
STRETCHES_A_TURN = 4 * PAIRS


@dataclass
class Opened:
    """A validator in this process, and who claims to it."""

    sequencer: Sequencer
    fleet: Fleet
    label: str
    # The same claims in every run.
    random: Random = field(default_factory=lambda: Random(1))  # noqa: S311 - nothing is secret
    # (pair, number of its task) of each interaction that was begun and not ended.
    open: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        members = [self.fleet.enrol("device", f"{self.label}-{at}") for at in range(2 * PAIRS)]
        self.pairs = handovers.pairs(self.fleet, members)
        self._gateway = Gateway(self.fleet, self.fleet.enrol("gateway", f"{self.label}-gateway"))
        self.take([self._gateway.hello(members)])

    def take(self, batches: Sequence[bytes]) -> None:
        """Ingest, as the one writer does."""
        for compressed in batches:
            self.sequencer.ingest.batch(body.decompress(compressed))

    def grow(self, to: int) -> None:
        """Begin interactions until so many are open; nothing of them is due afterwards."""
        while len(self.open) < to:
            self.take(list(self._gateway.batches(list(self._begun(to)))))
        self.settle()

    def _begun(self, to: int) -> Iterator[bytes]:
        for _ in range(STRETCHES_A_TURN):
            count = min(CLAIMS_A_STRETCH, to - len(self.open))
            if count <= 0:
                return
            at = self.random.randrange(len(self.pairs))
            pair = self.pairs[at]
            first = pair.handed
            yield _stretch(pair, GIVER, pair.tasks(count))
            self.open += [(at, number) for number in range(first, first + count)]

    def settle(self) -> None:
        """Take the marks off: what every one of these findings comes to is `pending`."""
        table = schema.party_sets
        with self.sequencer.store.write() as connection:
            connection.execute(sa.update(table).where(table.c.dirty).values(dirty=False))

    def answers(self, count: int) -> list[bytes]:
        """Batches in which the receivers of some open interactions, all over them, say theirs."""
        chosen = []
        for _ in range(min(count, len(self.open))):
            at = self.random.randrange(len(self.open))
            self.open[at], self.open[-1] = self.open[-1], self.open[at]
            chosen.append(self.open.pop())
        segments: list[bytes] = []
        for at, pair in enumerate(self.pairs):
            tasks = [pair.task(number) for which, number in chosen if which == at]
            segments += [
                _stretch(pair, RECEIVER, tasks[first : first + CLAIMS_A_STRETCH])
                for first in range(0, len(tasks), CLAIMS_A_STRETCH)
            ]
        return list(self._gateway.batches(segments))

    def settled(self) -> bool:
        """Whether no finding is due, and no worker has one."""
        table = schema.party_sets
        with self.sequencer.store.read() as connection:
            for waits in (table.c.dirty, table.c.portion.is_not(None)):
                if connection.execute(sa.select(table.c.party_set).where(waits).limit(1)).first():
                    return False
        return True

    def states(self) -> dict[str, int]:
        """Party sets by state."""
        table = schema.party_sets
        with self.sequencer.store.read() as connection:
            rows = connection.execute(
                sa.select(table.c.state, sa.func.count()).group_by(table.c.state)
            )
            return {row[0]: row[1] for row in rows}


def _stretch(pair: Pair, side: tuple[str, str], tasks: Sequence[str]) -> bytes:
    load = pair.giver if side is GIVER else pair.receiver
    first = load.tree.size
    # A log begins with an event in place of its first record (load.py): here that is no claim.
    opening = [] if first else [b"\x82\x00\x00"]
    made = [handovers.half(pair.parties, side, task, first + n) for n, task in enumerate(tasks)]
    load.extend([*opening, *made])
    return load.segments.pop()


def resident_bytes() -> int:
    """What this process has in memory."""
    with open("/proc/self/statm") as file:  # noqa: PTH123 - no path of ours
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
