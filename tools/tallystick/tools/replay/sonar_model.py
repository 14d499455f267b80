"""The wall follower's answer, computed again upstream from what its record discloses.

Written apart from the program that runs on the robot (firmware/examples/wall_follower.py): two
readings of the same weights that agree on every recorded decision show more than one.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence import value
from tallystick.evidence.decision import Decision
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import b64u

NAME = "wall-follower"
MARK = b"WF1\n"
LEAF = 255
WEIGHTS_BYTES_MAX = 4_096
# Beside this file in an installed package, else in the checkout.
HERE = Path(__file__).parent
EXAMPLES = Path(__file__).parents[4] / "firmware" / "examples"


def shipped(name: str) -> Path:
    """A file of the example, wherever it lies."""
    for folder in (HERE, EXAMPLES):
        if (folder / name).is_file():
            return folder / name
    raise TallyError("replay-failed", f"{name} is not installed; name it, or use a checkout")


@dataclass(frozen=True)
class Answer:
    """What the model gives for some ranges."""

    action: str
    leaf: int
    support: int


@dataclass(frozen=True)
class Question:
    """An inner node: the ranges of `sonar` up to `limit_mm` go on at `near`, others at `far`."""

    sonar: int
    limit_mm: int
    near: int
    far: int


class Model:
    """Weights, read once: `nodes` by number, each a Question or an Answer."""

    def __init__(self, data: bytes) -> None:
        self.digest = hashlib.sha256(data).digest()
        try:
            self._read(data)
        except (IndexError, UnicodeDecodeError):
            raise Malformed("bad-value", "the weights end early, or name no action") from None

    def _read(self, data: bytes) -> None:
        if not data.startswith(MARK) or len(data) > WEIGHTS_BYTES_MAX:
            raise Malformed("bad-value", "these are no weights of the wall follower")
        self.sonars = data[4]
        rest = data[6:]
        names = []
        for _ in range(data[5]):
            size = 1 + rest[0]
            names.append(rest[1:size].decode("ascii"))
            rest = rest[size:]
        if not rest or len(rest) % 4:
            raise Malformed("bad-value", "the weights do not end with a whole node")
        quads = [rest[at : at + 4] for at in range(0, len(rest), 4)]
        self.nodes: list[Question | Answer] = []
        for number, (kind, high, low, last) in enumerate(quads):
            amount = 256 * high + low
            if kind == LEAF:
                self.nodes.append(Answer(names[last], number, amount))
            elif kind >= self.sonars or not number + 1 < last < len(quads):
                raise Malformed("bad-value", f"node {number} of the weights leads nowhere")
            else:
                self.nodes.append(Question(kind, amount, number + 1, last))

    def answer(self, ranges: list[int]) -> Answer:
        """The action for `sonars` ranges in millimetres."""
        node = self.nodes[0]
        while isinstance(node, Question):
            node = self.nodes[node.near if ranges[node.sonar] <= node.limit_mm else node.far]
        return node

    def recompute(self, decision: Decision) -> Answer:
        """The answer to the recorded inputs; Unverified where the record says another.

        The digest, the output, the measured values of the constraints and whether their limits held
        are compared; the limits are the robot's own.
        """
        name, _, digest = decision.model
        if name != NAME or digest != self.digest:
            said = "without a digest" if digest is None else b64u(digest)
            message = f"recorded by the model {name} {said}, not by {NAME} {b64u(self.digest)}"
            raise Unverified("not-recomputed", message)
        ranges = decision.inputs.get("sonar_mm")
        if (
            not isinstance(ranges, list)
            or len(ranges) != self.sonars
            or any(type(one) is not int for one in ranges)
        ):
            message = f"the record's inputs are not {self.sonars} ranges in whole millimetres"
            raise Unverified("not-recomputed", message)
        answer = self.answer(ranges)
        if decision.output != {"action": answer.action, "leaf": answer.leaf}:
            message = f"the record says {decision.output}, the model gives {answer}"
            raise Unverified("not-recomputed", message)
        measured = {"nearest": min(ranges), "support": answer.support}
        for what, (said, operator, limit, _, held) in decision.constraints.items():
            if said != measured.get(what) or held != value.holds(said, operator, limit):
                message = f"the record's constraint {what!r} does not follow from its inputs"
                raise Unverified("not-recomputed", message)
        return answer
