"""What several validators' logs say of the same devices and interactions, side by side.

A log is its validator's word. A device is said to contradict itself only where keys that the logs
bind to its id signed both heads; a head that its device did not sign is held against its log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from tallystick.evidence.keys import PublicKey, b64u
from tallystick.evidence.proof import verify_consistency
from tallystick.verify._text import printable
from tallystick.verify.devicekeys import Signatures
from tallystick.verify.logcheck import DeviceLog, LoggedHead, Told

DIFFERENCES_MAX = 1_000
NOT_SIGNED, NOT_VERIFIED = "head-not-signed", "head-not-verified"


Logs = tuple[str, str]


@dataclass(frozen=True)
class Difference:
    """`contradiction`: both logs cannot be honest, or a device, or the one log that is named."""

    kind: str
    logs: tuple[str, ...]
    says: str
    contradiction: bool


class Heads:
    """Judges heads of which not both can be of one history, by the keys that the logs bind."""

    def __init__(self, told: Mapping[str, Told], signatures: Signatures) -> None:
        self._told = told
        self._signatures = signatures

    def keys(self, device: bytes) -> list[PublicKey]:
        """From any log: a key follows from the id by signatures, whoever tells of it."""
        return [key for told in self._told.values() for key in told.keys.get(device, [])]

    def differ(
        self, log: DeviceLog, first: tuple[str, LoggedHead], second: tuple[str, LoggedHead]
    ) -> list[Difference]:
        """What follows from two heads that contradict, each with the log that holds it."""
        found = []
        keys = self.keys(log[0])
        for where, head in (first, second):
            signed = self._signatures.signed(head.data, keys)
            if not signed:
                found.append(_not_signed(log, where, head, known=signed is not None))
        return found or [_fork(log, (first[0], second[0]), min(first[1].size, second[1].size))]


@dataclass(frozen=True)
class Question:
    """Whether a device's larger head extends the smaller one: for the log that has the larger."""

    device: bytes
    epoch: bytes
    asked: str
    other: str
    small: LoggedHead
    large: LoggedHead
    heads: Heads

    def answer(self, root1: bytes, path: list[bytes]) -> list[Difference]:
        """What follows from the root at the smaller size, and the path; Unverified for a lie."""
        verify_consistency(self.small.size, root1, self.large.size, self.large.root, path)
        if root1 == self.small.root:
            return []
        log = (self.device, self.epoch)
        return self.heads.differ(log, (self.asked, self.large), (self.other, self.small))


def compare(
    told: Mapping[str, Told], signatures: Signatures | None = None
) -> tuple[list[Difference], list[Question]]:
    """What differs, and what has to be asked to know; at most 1,000 of each.

    signatures: those that an earlier comparison verified, so that none is verified twice.
    """
    found: list[Difference] = []
    questions: list[Question] = []
    heads = Heads(told, signatures or Signatures())
    for one, other in combinations(sorted(told), 2):
        _heads((one, other), told[one], told[other], heads, found, questions)
        _verdicts((one, other), told[one], told[other], found)
    return _once(found)[:DIFFERENCES_MAX], questions[:DIFFERENCES_MAX]


def _once(found: list[Difference]) -> list[Difference]:
    """Each once, and of heads that a log's devices did not sign one for each log."""
    # Else a log could hold so many of them that what it says of others is beyond the limit.
    kept: dict[tuple[str, ...], Difference] = {}
    for one in found:
        of_a_log = one.kind in (NOT_SIGNED, NOT_VERIFIED)
        kept.setdefault((one.kind, *one.logs, "" if of_a_log else one.says), one)
    return list(kept.values())


def _heads(
    logs: Logs,
    ours: Told,
    theirs: Told,
    heads: Heads,
    found: list[Difference],
    questions: list[Question],
) -> None:
    for log in sorted(ours.heads.keys() & theirs.heads.keys()):
        one, other = ours.heads[log], theirs.heads[log]
        if one.size == other.size:
            if one.root != other.root:
                found += heads.differ(log, (logs[0], one), (logs[1], other))
        elif one.size < other.size:
            questions.append(Question(*log, logs[1], logs[0], one, other, heads))
        else:
            questions.append(Question(*log, logs[0], logs[1], other, one, heads))


def _fork(log: DeviceLog, logs: Logs, size: int) -> Difference:
    says = (
        f"device {b64u(log[0])}, epoch {b64u(log[1])}: two roots at size {size}: its key signed "
        "two histories"
    )
    return Difference("device-fork", tuple(sorted(logs)), says, contradiction=True)


def _not_signed(log: DeviceLog, where: str, head: LoggedHead, *, known: bool) -> Difference:
    held = (
        f"entry {head.entry} is a checkpoint of device {b64u(log[0])}, epoch {b64u(log[1])}, "
        f"size {head.size}, that contradicts another log's"
    )
    if known:
        says = f"{held}, and the device did not sign it: this log is faulty, not the device"
        return Difference(NOT_SIGNED, (where,), says, contradiction=True)
    says = (
        f"{held}; whether the device signed it is not known, since no log that is followed has "
        "the key that it names: this says nothing of the device"
    )
    return Difference(NOT_VERIFIED, (where,), says, contradiction=False)


def _verdicts(logs: Logs, ours: Told, theirs: Told, found: list[Difference]) -> None:
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
