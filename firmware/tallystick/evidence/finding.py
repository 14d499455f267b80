"""Findings and what they are computed from (docs/protocol.md, 6.5); computing is in verify."""

# ruff: noqa: PYI024  # MicroPython has namedtuple and no typing

from collections import namedtuple

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.claim import check_parties
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.evidence.ids import INTERACTION_SIZE, party_set
from tallystick.evidence.kinds import FINDING
from tallystick.evidence.limits import (
    FINDING_CHECKS_MAX,
    FINDING_ROWS_MAX,
    NAME_BYTES_MAX,
    PARTIES_MAX,
    STATEMENT_BYTES_MAX,
    TEXT_BYTES_MAX,
)
from tallystick.evidence.value import check as check_value

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATES = ("pending", "matched", "conflicting", "one_sided", "insufficient", "unresolved")
ABSENCES = ("silent", "unheard")
RESULTS = ("pass", "fail", "not_evaluated")
KEY_STATUSES = ("active", "rotated", "retired", "lost", "prior", "suspect", "compromised")
CUSTODY_HIGHEST = 3
INPUTS_BYTES_MAX = 1048576

# Rows of the CDDL, by its names; `claim`, `checkpoint`, `receipt` are references or digests.
ClaimInput = namedtuple("ClaimInput", ("claim", "device", "leaf", "status", "custody", "readable"))
TimeInput = namedtuple("TimeInput", ("device", "checkpoint", "receipt", "time_ms"))
Missing = namedtuple("Missing", ("role", "device", "claim", "absence"))
FindingClaim = namedtuple("FindingClaim", ("claim", "device", "role", "name", "status", "custody"))
FindingOther = namedtuple("FindingOther", ("claim", "device", "status", "custody"))
CheckedValue = namedtuple("CheckedValue", ("claim", "field", "value"))


def _field(kind: str, field: "Any", what: str) -> None:
    # One letter a type keeps a row's CDDL in one short text; functions by row cost heap.
    if kind == "h":
        shape.octets(field, shape.HASH_SIZE, what)  # ids are as long
    elif kind == "n":
        shape.text(field, NAME_BYTES_MAX, what)
    elif kind == "s":
        shape.one_of(field, KEY_STATUSES, what)
    elif kind == "c":
        shape.uint(field, what, CUSTODY_HIGHEST)
    elif kind == "b":
        shape.boolean(field, what)
    elif kind == "t":
        shape.uint(field, what)
    elif kind == "a":
        shape.one_of(field, ABSENCES, what)
    else:
        check_value(field)


def _rows(rows: "Any", kinds: str, what: str) -> "list[list[Any]]":
    out = []
    for row in shape.array(rows, what, 0, FINDING_ROWS_MAX):
        fields = shape.row(list(row) if isinstance(row, tuple) else row, len(kinds), what)
        for at, field in enumerate(fields):
            _field(kinds[at], field, what)
        out.append(fields)
    return out


def _in_order(rows: "list[list[Any]]") -> "list[list[Any]]":
    # Bytewise order of the encodings, each once: order and duplication of delivery change nothing.
    by_encoding = {encode(row): row for row in rows}
    return [by_encoding[key] for key in sorted(by_encoding)]


class FindingInputs(Wire):
    """Everything that a finding depends on; equal inputs have equal digests."""

    def __init__(
        self,
        profile: bytes,
        namespace: str,
        interaction: bytes,
        parties: dict[str, list[bytes]],
        claims: "list[ClaimInput]",
        others: "list[ClaimInput]",
        times: "list[TimeInput]",
        closed: bool | None,  # noqa: FBT001  # the CDDL's last field
    ) -> None:
        what = "finding inputs"
        self.profile = shape.octets(profile, shape.HASH_SIZE, what)
        self.namespace = shape.text(namespace, NAME_BYTES_MAX, what)
        self.interaction = shape.octets(interaction, INTERACTION_SIZE, what)
        check_parties(parties)
        self.parties = parties
        rows = _in_order(_rows(claims, "hhhscb", what))
        self.claims = [ClaimInput(*row) for row in rows]
        rows = _in_order(_rows(others, "hhhscb", what))
        self.others = [ClaimInput(*row) for row in rows]
        rows = _in_order(_rows(times, "hhht", what))
        self.times = [TimeInput(*row) for row in rows]
        self.closed = closed if closed is None else shape.boolean(closed, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL; inputs have no kind, since only their digest travels."""
        return [
            self.profile,
            self.namespace,
            self.interaction,
            self.parties,
            [list(row) for row in self.claims],
            [list(row) for row in self.others],
            [list(row) for row in self.times],
            self.closed,
        ]

    def digest(self) -> bytes:
        """SHA-256 over the encoding, 32 bytes."""
        return sha256(self.encode())


def parse_inputs(data: bytes) -> FindingInputs:
    """Inputs as encode() wrote them; Malformed with a reason of docs/protocol.md, 1.7."""
    what = "finding inputs"
    values = shape.row(decode(shape.blob(data, INPUTS_BYTES_MAX, what)), 8, what)
    inputs = FindingInputs(*values)
    for rows in values[4:7]:
        shape.ascending([encode(row) for row in rows], what)
    inputs._data = data
    return inputs


class CheckResult:
    """What one check of the profile came to, on which values, and whom it blames."""

    def __init__(
        self,
        check: str,
        name: str,
        result: str,
        reason: str,
        values: "list[CheckedValue]",
        blamed: list[bytes],
        used: list[int],
    ) -> None:
        what = "check result"
        # A type of check, or a built-in rule of docs/reconciliation.md, section 4.1.
        self.check = shape.text(check, NAME_BYTES_MAX, what)
        self.name = shape.text(name, NAME_BYTES_MAX, what)
        self.result = shape.one_of(result, RESULTS, what)
        self.reason = shape.text(reason, TEXT_BYTES_MAX, what)
        self.values = [CheckedValue(*row) for row in _rows(values, "hnv", what)]
        self.blamed = shape.hashes(blamed, PARTIES_MAX, what)
        # Places in the finding's claims, and after those in its others.
        for place in shape.array(used, what, 0, FINDING_ROWS_MAX):
            shape.uint(place, what, 2 * FINDING_ROWS_MAX)
        if used != sorted(set(used)):
            raise Malformed("non-canonical", "%s: used claims are not in order" % what)
        self.used = used

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CheckResult) and self.array() == other.array()

    def __hash__(self) -> int:
        return hash(encode(self.array()))

    def array(self) -> "list[Any]":
        """The array of the CDDL."""
        rows = [list(row) for row in self.values]
        return [self.check, self.name, self.result, self.reason, rows, self.blamed, self.used]


def _check_result(value: "Any") -> CheckResult:
    if isinstance(value, CheckResult):
        return value
    return CheckResult(*shape.row(value, 7, "check result"))


class Finding(Wire):
    """State of one party set; a pure function of the inputs whose digest is `inputs`."""

    def __init__(
        self,
        inputs: bytes,
        namespace: str,
        interaction: bytes,
        parties: dict[str, list[bytes]],
        profile: bytes,
        state: str,
        missing: "list[Missing]",
        checks: list[CheckResult],
        claims: "list[FindingClaim]",
        others: "list[FindingOther]",
    ) -> None:
        what = "finding"
        self.inputs = shape.octets(inputs, shape.HASH_SIZE, what)
        self.namespace = shape.text(namespace, NAME_BYTES_MAX, what)
        self.interaction = shape.octets(interaction, INTERACTION_SIZE, what)
        check_parties(parties)
        self.parties = parties
        self.profile = shape.octets(profile, shape.HASH_SIZE, what)
        self.state = shape.one_of(state, STATES, what)
        self.missing = [Missing(*row) for row in _rows(missing, "nhna", what)]
        self.checks = [
            _check_result(value) for value in shape.array(checks, what, 0, FINDING_CHECKS_MAX)
        ]
        rows = _in_order(_rows(claims, "hhnnsc", what))
        self.claims = [FindingClaim(*row) for row in rows]
        rows = _in_order(_rows(others, "hhsc", what))
        self.others = [FindingOther(*row) for row in rows]
        end = len(self.claims) + len(self.others)
        for check in self.checks:
            if check.used and check.used[-1] >= end:
                raise Malformed("bad-value", "%s: a check used a claim that is not there" % what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            FINDING,
            self.inputs,
            self.namespace,
            self.interaction,
            self.parties,
            self.profile,
            self.state,
            [list(row) for row in self.missing],
            [check.array() for check in self.checks],
            [list(row) for row in self.claims],
            [list(row) for row in self.others],
        ]

    def used(self, check: CheckResult) -> list[bytes]:
        """References of the claims that a check used."""
        rows = [row.claim for row in self.claims] + [row.claim for row in self.others]
        return [rows[place] for place in check.used]

    def party_set(self) -> bytes:
        """32 bytes that name the map of parties."""
        return party_set(self.parties)


def from_array(value: "Any") -> Finding:
    """The finding in a decoded array, as a verdict holds it."""
    fields = shape.after_kind(value, FINDING, 10, "finding")
    finding = Finding(*fields)
    for rows in fields[8:]:
        shape.ascending([encode(row) for row in rows], "finding")
    return finding


def parse(data: bytes) -> Finding:
    """The finding of one encoding; Malformed with a reason of docs/protocol.md, 1.7."""
    finding = from_array(decode(shape.blob(data, STATEMENT_BYTES_MAX, "finding")))
    finding._data = data
    return finding
