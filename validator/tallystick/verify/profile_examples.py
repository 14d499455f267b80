"""Examples of a profile: claims as parties would make them, and what the finding must be.

They stand in a file beside the profile (docs/reconciliation.md, section 1.1). Text in, findings
out: nothing here reads a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tallystick.evidence.claim import Claim, declare
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.evidence.finding import STATES, Finding
from tallystick.evidence.ids import claim_reference, interaction_id
from tallystick.evidence.limits import PARTIES_MAX, PROFILE_BYTES_MAX
from tallystick.evidence.number import from_text
from tallystick.evidence.profile import Profile
from tallystick.verify._toml import Document, Number, Table
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim, PartySetInputs
from tallystick.verify.reconcile import find

EXAMPLES_MAX = 64
CLAIMS_MAX = 64
EXAMPLES_BYTES_MAX = 4 * PROFILE_BYTES_MAX
NAMESPACE = "example"
TASK = "example"
INTERVAL_ITEMS = 3
CONSTRAINT_ITEMS = 4
RESULTS = ("pass", "fail", "not_evaluated")
STATUSES = (*sorted(GOOD_STATUSES), "suspect", "compromised")
TIME_MS_MAX = 2**48


class Example(NamedTuple):
    """One example: its inputs, and the state and the check results that it expects."""

    name: str
    inputs: PartySetInputs
    state: str
    checks: dict[str, str]


class Tried(NamedTuple):
    """What an example came to; no faults: it is as expected."""

    example: Example
    finding: Finding
    faults: list[str]


def parse_examples(text: str, profile: Profile) -> list[Example]:
    """The examples that a TOML text gives of a profile; Malformed names the line and the key."""
    top = Document(text, "examples", EXAMPLES_BYTES_MAX).top
    examples = [
        _example(table, profile) for table in top.tables("examples", items_max=EXAMPLES_MAX)
    ]
    top.finish()
    names = [example.name for example in examples]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise top.document.fail(("examples", at, "name"), f"{name!r} is given twice")
    return examples


def try_example(example: Example) -> Tried:
    """The finding on an example, and in which words it differs from what is expected."""
    finding = find(example.inputs)
    results = {check.name: check for check in finding.checks}
    faults = []
    if finding.state != example.state:
        faults.append(f"the state is {finding.state}, not {example.state}")
    for name, expected in example.checks.items():
        found = results.get(name)
        if found is None:
            faults.append(f"the check {name} was not made")
        elif found.result != expected:
            faults.append(f"{name} is {found.result}, not {expected}: {found.reason}")
    return Tried(example, finding, faults)


def _device(name: str) -> bytes:
    return sha256(b"tallystick example device " + name.encode())


def _example(table: Table, profile: Profile) -> Example:
    name = table.text("name", chars_max=120)
    state = table.text("state")
    if state not in STATES:
        raise table.fail("state", "must be one of " + ", ".join(STATES))
    known = {check[1] for check in profile.checks} | {"once", "usable", "fit"}
    below = table.table("checks", default={})
    checks = {}
    for check in below.names():
        if check not in known:
            raise below.fail(check, "is no check of the profile")
        checks[check] = below.text(check)
        if checks[check] not in RESULTS:
            raise below.fail(check, "must be one of " + ", ".join(RESULTS))
    elsewhere = table.tables("elsewhere", default=[], items_max=CLAIMS_MAX)
    rows = table.tables("claims", items_max=CLAIMS_MAX)
    if not rows:
        raise table.fail("claims", "must have at least one: begin it with [[examples.claims]]")
    maker = _Maker(profile)
    others = maker.elsewhere(elsewhere)
    whole = maker.parties([table], rows)
    claims = [maker.claim(row, TASK, whole) for row in rows]
    inputs = PartySetInputs(
        profile,
        NAMESPACE,
        interaction_id(profile.digest, NAMESPACE, TASK),
        whole,
        claims,
        others,
        closed=table.boolean("closed", default=True),
        silence=(),
    )
    table.finish()
    return Example(name, inputs, state, checks)


class _Maker:
    # Makes claims in their order: a claim relies on those above it, as in life.

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._above: dict[str, bytes] = {}
        self._made = 0

    def elsewhere(self, rows: list[Table]) -> list[KnownClaim]:
        """Claims of other interactions; those of one task share a party map."""
        by_task: dict[str, list[Table]] = {}
        tasks = [row.text("task") for row in rows]
        for task, row in zip(tasks, rows, strict=True):
            if task == TASK:
                raise row.fail("task", f"{TASK!r} is the interaction of the claims themselves")
            by_task.setdefault(task, []).append(row)
        maps = {task: self.parties(some, some) for task, some in by_task.items()}
        return [
            self.claim(row, task, maps[task], f"{task}/")
            for task, row in zip(tasks, rows, strict=True)
        ]

    def parties(self, naming: list[Table], rows: list[Table]) -> dict[str, list[bytes]]:
        """Who makes a claim in the rows, and who is named in `parties` beside them."""
        parties: dict[str, set[bytes]] = {}
        for table in naming:
            named = table.table("parties", default={})
            for role in named.names():
                some = {_device(one) for one in named.texts(role, items_max=PARTIES_MAX)}
                parties.setdefault(role, set()).update(some)
        for row in rows:
            role, _ = self._place(row)
            parties.setdefault(role, set()).add(_device(row.text("device")))
        return {role: sorted(devices) for role, devices in parties.items() if devices}

    def _place(self, row: Table) -> tuple[str, str]:
        text = row.text("claim")
        role, _, name = text.partition(".")
        if name not in self._profile.claims.get(role, {}):
            raise row.fail("claim", f"{text!r} is no role.claim of the profile")
        return role, name

    def claim(
        self, row: Table, task: str, parties: Mapping[str, list[bytes]], prefix: str = ""
    ) -> KnownClaim:
        """One row's claim; `prefix` is what its name begins with for who relies on it."""
        role, name = self._place(row)
        label, index = row.text("device"), self._made
        relied = []
        for one in row.texts("relied", default=[]):
            if one not in self._above:
                raise row.fail("relied", f"{one!r} is no DEVICE/ROLE.CLAIM of a claim above")
            relied.append(self._above[one])
        fields = _fields(row.table("fields", default={}), self._profile.claims[role][name])
        constraints = _constraints(row.table("constraints", default={}), fields)
        claim = Claim(
            index,
            NAMESPACE,
            task,
            self._profile.digest,
            role,
            name,
            fields,
            constraints,
            dict(parties),
            _interval(row),
            sorted(set(relied)),
        )
        status = row.text("key", default="active")
        if status not in STATUSES:
            raise row.fail("key", "must be one of " + ", ".join(STATUSES))
        readable = row.boolean("body", default=True)
        row.finish()
        leaf, epoch, device = sha256(claim.encode()), bytes(8), _device(label)
        reference = claim_reference(device, epoch, index, leaf)
        self._above[f"{prefix}{label}/{role}.{name}"] = reference
        self._made += 1
        body = claim if readable else None
        return KnownClaim(reference, device, epoch, index, leaf, body, status, 0)


def _interval(row: Table) -> list[int] | None:
    given = row.items("interval_ms", default=None)
    if given is None:
        return None
    if len(given) != INTERVAL_ITEMS or any(
        type(one) is not int or not 0 <= one < TIME_MS_MAX for one in given
    ):
        raise row.fail("interval_ms", "must be [begin, end, uncertainty] in ms")
    if given[0] > given[1]:
        raise row.fail("interval_ms", "ends before it begins")
    return given


def _fields(table: Table, spec: Mapping[str, Any]) -> dict[str, Any]:
    # A field that the profile does not have stays in, as text: examples show what does not fit.
    return {
        name: _field(table, name, spec[name][0] if name in spec else "") for name in table.names()
    }


def _field(table: Table, name: str, kind: str) -> Any:
    value = table.value(name)
    if kind == "numbers" and type(value) is list:
        return [_number(table, name, one) for one in value]
    if kind == "number":
        return _number(table, name, value)
    if kind == "bytes" and type(value) is str:
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise table.fail(name, "must be hexadecimal text") from None
    if type(value) not in {str, bool, int}:
        raise table.fail(name, "must be text in quotes, a whole number, true or false")
    return value


def _number(table: Table, name: str, value: Any) -> Number:
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if type(value) is not str:
        raise table.fail(name, 'must be a whole number or decimal text in quotes, like "0.25"')
    try:
        return from_text(value)
    except Malformed as error:
        raise table.fail(name, error.message) from None


def _constraints(table: Table, fields: dict[str, Any]) -> dict[str, list[Any]]:
    made: dict[str, list[Any]] = {}
    for name in table.names():
        row = table.items(name)
        if name not in fields:
            raise table.fail(name, "is no field of this claim")
        if not 2 <= len(row) <= CONSTRAINT_ITEMS or type(row[0]) is not str:
            raise table.fail(name, 'must be [operator, limit, unit, held], like ["<=", "0.5"]')
        rule = (row[0], _number(table, name, row[1]), *row[2:3])
        try:
            made |= declare(fields, {name: rule})
        except Malformed as error:
            raise table.fail(name, error.message) from None
        if len(row) == CONSTRAINT_ITEMS:
            if type(row[3]) is not bool:
                raise table.fail(name, "held must be true or false")
            # What the device says of itself, which is not believed.
            made[name][3] = row[3]
    return made
