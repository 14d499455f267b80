"""What the page is made of, as types: findings in words, claims' bodies, what a search found."""

from msgspec import Struct

from tallystick.validator.answers import (
    Custody,
    Digest,
    Epoch,
    Id,
    Index,
    Milliseconds,
    PartySet,
    State,
)


class Value(Struct):
    """A value that a check compared, as text."""

    claim: Digest
    field: str
    value: str


class Checked(Struct):
    """One check: what it came to, why in one sentence, on which values, and who is blamed."""

    check: str
    name: str
    result: str
    reason: str
    values: list[Value]
    blamed: list[Id]


class FoundClaim(Struct):
    """A claim that counted."""

    claim: Digest
    device: Id
    role: str
    name: str
    status: str
    custody: Custody


class Absent(Struct):
    """A claim that is missing: `silent` or `unheard`."""

    role: str
    device: Id
    name: str
    absence: str


class Finding(Struct):
    """A signed finding in the log, as JSON; the statement itself is in /v1/entries."""

    party_set: Digest
    entry: Index
    newest: bool
    state: State
    time_ms: Milliseconds
    checks: list[Checked]
    claims: list[FoundClaim]
    missing: list[Absent]


class Findings(Struct):
    """The findings, in the order of the log; `bodies`: whether the caller reads any claim."""

    findings: list[Finding]
    bodies: bool


class ClaimBody(Struct):
    """What a claim says, as text by field; none where it was erased."""

    claim: Digest
    device: Id
    epoch: Epoch
    index: Index
    party_set: Digest
    erased: bool
    role: str | None
    name: str | None
    task: str | None
    fields: dict[str, str]
    begin_ms: int | None
    end_ms: int | None


class ClaimBodies(Struct):
    """The claims that the reader's scope covers; `withheld` counts the others."""

    claims: list[ClaimBody]
    withheld: Index


class FoundDevice(Struct):
    """Somebody who is enrolled; `tag` as its fleet signed it."""

    id: Id
    subject: str
    iss: str
    tag: str | None


class Search(Struct):
    """What was found; `bodies`: whether the caller may search in claims, and so for items."""

    devices: list[FoundDevice]
    interactions: list[PartySet]
    bodies: bool
