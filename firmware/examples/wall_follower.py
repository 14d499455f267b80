# ruff: noqa: PTH123 - MicroPython has no pathlib
"""A trained model steers a robot along a wall, and every decision is on record.

    python wall_follower.py [READINGS [WEIGHTS [CONFIG]]]

READINGS holds 24 sonar ranges in metres a line, as text with at most three decimals (readings.csv
unless given). WEIGHTS is wall_follower.bin, made by scripts/train-wall-follower. CONFIG is the
robot's tallystick.json. Runs on MicroPython and on CPython. On a robot, `readings()` asks the
sensors, and what `decide()` gives goes to the motors.

All numbers are whole millimetres and nothing is computed but comparisons, so that every
interpreter decides alike, and anyone can compute the recorded output again from the recorded inputs
and the weights that the record names by their digest: `tally replay recompute`.
"""

import hashlib
import sys
import time

from tallystick.recorder import Recorder

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NAME, VERSION = "wall-follower", "1"
# Closer than that, and the record says that the limit did not hold.
NEAREST_MM = "400"
# A leaf that fewer rows of the training data stand behind is a guess; the record says so.
SUPPORT_ROWS = "10"
# So many records wait at most for custody before the robot lets the uplink catch up.
BACKLOG_RECORDS_MAX = 1024
FINISH_S_MAX = 600
POLL_S = 0.002
RANGE_MM_MAX = 65535

MARK = b"WF1\n"
LEAF = 255
NODE_BYTES = 4


class Tree:
    """A decision tree in a few hundred bytes, which are what runs: nothing is unpacked.

    b"WF1\\n", the number of sonars, the number of actions, each action's length and name; then
    nodes of four bytes, root first. A node is a sonar, a threshold in millimetres (big-endian), and
    the node to go on with when the range is above it; else the next one follows. A leaf is 255, the
    rows of the training data behind it, and its action.
    """

    def __init__(self, data: bytes) -> None:
        if data[:4] != MARK or len(data) < 6:
            raise ValueError("these are no weights of a wall follower")
        self.digest = hashlib.sha256(data).digest()
        self.sonars = data[4]
        self.actions = []
        at = 6
        for _ in range(data[5]):
            if at >= len(data):
                raise ValueError("these weights of a wall follower are damaged")
            end = at + 1 + data[at]
            self.actions.append(data[at + 1 : end].decode())
            at = end
        self.nodes = data[at:]
        self._check()

    def _check(self) -> None:
        # Every way leads forward and ends at a leaf: damaged weights can do no harm later.
        nodes = self.nodes
        count = len(nodes) // NODE_BYTES
        good = count > 0 and len(nodes) % NODE_BYTES == 0
        for node in range(count):
            kind, above = nodes[NODE_BYTES * node], nodes[NODE_BYTES * node + 3]
            if kind == LEAF:
                good = good and above < len(self.actions)
            else:
                good = good and kind < self.sonars and node + 1 < above < count
        if not good:
            raise ValueError("these weights of a wall follower are damaged")

    def decide(self, ranges: "list[int]") -> "tuple[str, int, int]":
        """The action, the leaf, and how many rows of the training data came to that leaf."""
        nodes = self.nodes
        at = 0
        while nodes[at] != LEAF:
            if ranges[nodes[at]] > (nodes[at + 1] << 8 | nodes[at + 2]):
                at = nodes[at + 3] * NODE_BYTES
            else:
                at += NODE_BYTES
        return (
            self.actions[nodes[at + 3]],
            at // NODE_BYTES,
            nodes[at + 1] << 8 | nodes[at + 2],
        )


def millimetres(text: str) -> int:
    """Exactly, from decimal text in metres."""
    whole, _, part = text.strip().partition(".")
    if not (whole + part).isdigit() or len(part) > 3:
        raise ValueError(f"a range is metres with at most three decimals, not {text!r}")
    found = int(whole) * 1000 + int((part + "000")[:3])
    if found > RANGE_MM_MAX:
        raise ValueError(f"a range of {text} m is more than 65.535 m")
    return found


def readings(path: str, sonars: int) -> "Iterator[list[int]]":
    """The ranges of each line in millimetres; a line that begins with a letter is a heading."""
    with open(path) as file:
        for line in file:
            parts = line.split(",")
            if line.strip() and not line[0].isalpha():
                if len(parts) < sonars:
                    raise ValueError(f"a line has {len(parts)} ranges, not {sonars}")
                yield [millimetres(parts[sonar]) for sonar in range(sonars)]


class Follower:
    """The control loop's step: what the robot did before, and one call more."""

    def __init__(self, tally: Recorder, tree: Tree) -> None:
        self.tally = tally
        self.tree = tree
        self.model = (NAME, VERSION, tree.digest)
        major, minor = sys.implementation.version[:2]
        self.runtime = f"{sys.implementation.name} {major}.{minor}"
        self.steps = 0

    def step(self, ranges: "list[int]") -> str:
        """Decide and record; returns what the motors are to do."""
        action, leaf, support = self.tree.decide(ranges)
        self.tally.decision(
            model=self.model,
            inputs={"sonar_mm": ranges},
            constraints={
                "nearest": (min(ranges), ">=", NEAREST_MM, "mm"),
                "support": (support, ">=", SUPPORT_ROWS, "rows"),
            },
            context={"step": self.steps, "runtime": self.runtime},
            output={"action": action, "leaf": leaf},
        )
        self.steps += 1
        return action


def finish(tally: Recorder) -> bool:
    """Wait until the gateway has custody of everything, as a program that ends does."""
    end = time.time() + FINISH_S_MAX
    tally.flush()
    while tally.backlog() and time.time() < end:
        tally.poll()
        time.sleep(POLL_S)
    return not tally.backlog()


def main(
    path: str = "readings.csv", weights: str = "wall_follower.bin", config: "str | None" = None
) -> int:
    with open(weights, "rb") as file:
        tree = Tree(file.read())
    tally = Recorder.open(config)
    follower = Follower(tally, tree)
    counts = dict.fromkeys(tree.actions, 0)
    for ranges in readings(path, tree.sonars):
        counts[follower.step(ranges)] += 1
        tally.poll()  # on CPython a thread does this
        while tally.backlog() > BACKLOG_RECORDS_MAX:
            tally.poll()
            time.sleep(POLL_S)
    complete = finish(tally)
    tally.close()
    for action in tree.actions:
        print(f"{counts[action]:6d} {action}")
    print(f"{follower.steps:6d} decisions, {tally.health.dropped} dropped")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
