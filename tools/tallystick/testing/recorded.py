"""What a program recorded, in Python's own values, to be compared in a test."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tallystick.evidence import record
from tallystick.evidence.claim import Claim
from tallystick.evidence.decision import Decision
from tallystick.evidence.event import Event
from tallystick.evidence.keys import device_text
from tallystick.evidence.number import Dec, to_text


def plain(value: Any) -> Any:
    """Exact numbers as int or, with a fraction, as the nearest float; the rest as it is."""
    if isinstance(value, Dec):
        return float(to_text(value))
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list) else value


@dataclass(frozen=True)
class RecordedConstraint:
    """What was compared with what, and whether it held."""

    value: Any
    operator: str
    limit: Any
    unit: str | None
    held: bool


@dataclass(frozen=True)
class RecordedDecision:
    """A decision; `model` is `name` or `name@version`."""

    model: str
    digest: bytes | None
    inputs: dict[str, Any]
    constraints: dict[str, RecordedConstraint]
    context: dict[str, Any]
    output: Any

    @property
    def broken(self) -> list[str]:
        """Names of the constraints that did not hold."""
        return sorted(name for name, one in self.constraints.items() if not one.held)


@dataclass(frozen=True)
class RecordedClaim:
    """A claim; parties: role -> ids as `tally fleet list` shows them."""

    namespace: str
    task: str | bytes
    role: str
    claim: str
    fields: dict[str, Any]
    parties: dict[str, list[str]]


@dataclass(frozen=True)
class RecordedEvent:
    """An event; `name` has a dot where the application recorded it."""

    name: str
    details: dict[str, Any]


def _decision(found: Decision) -> RecordedDecision:
    name, version, digest = found.model
    limits = {n: RecordedConstraint(*plain(row)) for n, row in found.constraints.items()}
    return RecordedDecision(
        name if version is None else f"{name}@{version}",
        digest,
        plain(found.inputs),
        limits,
        plain(found.context),
        plain(found.output),
    )


def _claim(found: Claim) -> RecordedClaim:
    parties = {role: [device_text(one) for one in ids] for role, ids in found.parties.items()}
    return RecordedClaim(
        found.namespace, found.interaction, found.role, found.claim, plain(found.fields), parties
    )


class Recorded:
    """Records in their order, each verified: salt, tree, and the signature over its root."""

    def __init__(self, records: Iterable[bytes], faults: dict[str, int], dropped: int) -> None:
        found = [record.parse(one) for one in records]
        self.decisions = [_decision(one) for one in found if isinstance(one, Decision)]
        self.claims = [_claim(one) for one in found if isinstance(one, Claim)]
        # Of the application; the recorder's own are in `all_events`.
        self.all_events = [
            RecordedEvent(one.event, plain(one.details)) for one in found if isinstance(one, Event)
        ]
        self.events = [one for one in self.all_events if "." in one.name]
        self.accepted = len(found) - sum(isinstance(o, (Decision, Claim, Event)) for o in found)
        self.faults = faults
        self.dropped = dropped

    def __repr__(self) -> str:
        return (
            f"Recorded({len(self.decisions)} decisions, {len(self.claims)} claims, "
            f"{len(self.events)} events, {self.accepted} accepted halves)"
        )
