"""What several validators' logs say of the same devices and interactions, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from tallystick.evidence.keys import b64u
from tallystick.evidence.proof import verify_consistency
from tallystick.verify._text import printable
from tallystick.verify.logcheck import DeviceLog, LoggedHead, Told

DIFFERENCES_MAX = 1_000


@dataclass(frozen=True)
class Difference:
    """Two logs differ: `contradiction` when both cannot be honest, or a device cannot."""

    kind: str
    logs: tuple[str, str]
    says: str
    contradiction: bool


@dataclass(frozen=True)
class Question:
    """Whether a device's larger head extends the smaller one: for the log that has the larger."""

    device: bytes
    epoch: bytes
    asked: str
    other: str
    small: LoggedHead
    large: LoggedHead

    def answer(self, root1: bytes, path: list[bytes]) -> Difference | None:
        """What follows from the root at the smaller size, and the path; Unverified for a lie."""
        verify_consistency(self.small.size, root1, self.large.size, self.large.root, path)
        if root1 == self.small.root:
            return None
        return _fork((self.device, self.epoch), (self.asked, self.other), self.small.size)


def compare(told: Mapping[str, Told]) -> tuple[list[Difference], list[Question]]:
    """What differs, and what has to be asked to know; at most 1,000 of each."""
    found: list[Difference] = []
    questions: list[Question] = []
    for one, other in combinations(sorted(told), 2):
        _heads((one, other), told[one], told[other], found, questions)
        _verdicts((one, other), told[one], told[other], found)
    return found[:DIFFERENCES_MAX], questions[:DIFFERENCES_MAX]


def _heads(
    logs: tuple[str, str],
    ours: Told,
    theirs: Told,
    found: list[Difference],
    questions: list[Question],
) -> None:
    for log in sorted(ours.heads.keys() & theirs.heads.keys()):
        one, other = ours.heads[log], theirs.heads[log]
        if one.size == other.size:
            if one.root != other.root:
                found.append(_fork(log, logs, one.size))
        elif one.size < other.size:
            questions.append(Question(*log, logs[1], logs[0], one, other))
        else:
            questions.append(Question(*log, logs[0], logs[1], other, one))


def _fork(log: DeviceLog, logs: tuple[str, str], size: int) -> Difference:
    says = (
        f"device {b64u(log[0])}, epoch {b64u(log[1])}: two roots at size {size}: its key signed "
        "two histories"
    )
    return Difference("device-fork", logs, says, contradiction=True)


def _verdicts(logs: tuple[str, str], ours: Told, theirs: Told, found: list[Difference]) -> None:
    for where in sorted(ours.verdicts.keys() & theirs.verdicts.keys()):
        one, other = ours.verdicts[where], theirs.verdicts[where]
        name = f"{printable(where[0])}/{b64u(where[1])}"
        if one.inputs == other.inputs:
            if one.decided != other.decided:
                says = f"{name}: other findings on the same inputs: one of them is faulty"
                found.append(Difference("verdicts-differ", logs, says, contradiction=True))
        elif one.state != other.state:
            says = f"{name}: {one.state} at {logs[0]}, {other.state} at {logs[1]}, on other inputs"
            found.append(Difference("states-differ", logs, says, contradiction=False))
