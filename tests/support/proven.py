"""Asking of a file what it proves; shared by the tests of proofs."""

from collections.abc import Callable

import pytest

from support import guilt
from support.devices import Device
from support.keychanges import head_of, revoke
from support.story import NOW_S, START_MS, StoryValidator
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.verify import Policy, Report, check_evidence, load_evidence


def report(file: EvidenceFile, policy: str | None = None) -> Report:
    made = Policy.parse(policy or guilt.matched().policy)
    return check_evidence(load_evidence(file.encode()), made, NOW_S)


def refusal(file: EvidenceFile) -> TallyError:
    with pytest.raises(TallyError) as caught:
        report(file)
    return caught.value


def left(file: EvidenceFile, policy: str | None = None) -> str:
    """Why the one proof in a file was not checked."""
    made = report(file, policy)
    assert made.proven == []
    (why,) = [why for what, why in made.not_checked if what.startswith("proof of misbehaviour")]
    return why


def refused(made: Callable[[], object]) -> str:
    with pytest.raises(TallyError) as caught:
        made()
    return caught.value.reason


def revoked(device: Device, reason: int, time_ms: int = START_MS) -> list[bytes]:
    """Its credential, longer by a revocation that names its newest head."""
    return revoke(device, reason, head_of(device), time_ms=time_ms)


def robbed(log: StoryValidator) -> list[bytes]:
    """A validator's credential when its key was stolen."""
    return guilt.stolen(log.fleet, log.credential)
