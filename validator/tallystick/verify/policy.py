"""What a relying party demands (docs/policy.md): whom it trusts, and what must be shown.

A policy has two parts.  `trust` is what checking starts from: fleet roots and validators' keys.
`demands` are predicates over the report of a check (demands.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tallystick.evidence.enrolment import CUSTODIES, CUSTODY_PKCS11
from tallystick.evidence.errors import Malformed
from tallystick.evidence.finding import STATES
from tallystick.evidence.keys import PublicKey, from_b64u
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.evidence.root import parse_root
from tallystick.verify._toml import Document, Table
from tallystick.verify.demands import (
    AllOf,
    AtLeast,
    CosignedLogs,
    Demand,
    Firmware,
    FreshStatus,
    GoodKeys,
    MinimumCustody,
    Profiles,
    SomethingShown,
    States,
    TrueTimes,
    counting,
)
from tallystick.verify.report import Report
from tallystick.verify.witnesses import Witnesses, parse_witnesses

POLICY_BYTES_MAX = 65_536
VALIDATORS_MAX = 64
# Keys in files are refused unless a policy says `custody = "software"`.
CUSTODY_DEFAULT = CUSTODY_PKCS11


@dataclass(frozen=True)
class AcceptedValidator:
    """One line of a policy: a pinned key, or a root whose validators are accepted."""

    organisation: str
    name: str
    key: PublicKey
    is_root: bool
    note_key: NoteKey | None = None


@dataclass(frozen=True)
class Trust:
    """What checking starts from."""

    roots: dict[str, PublicKey] = field(default_factory=dict)
    validators: tuple[AcceptedValidator, ...] = ()
    publishers: dict[str, PublicKey] = field(default_factory=dict)
    witnesses: Witnesses = field(default_factory=Witnesses)


@dataclass(frozen=True)
class Policy:
    """Trust, and demands.  Make it from text with parse(), or of parts in code."""

    trust: Trust
    demands: tuple[Demand, ...]
    status_age_ms_max: int | None = None

    @staticmethod
    def nothing() -> Policy:
        """A policy that trusts nobody and demands nothing, for who has none."""
        return Policy(Trust(), ())

    @staticmethod
    def parse(text: str) -> Policy:
        """The policy in a TOML text; Malformed names the line and the key."""
        return parse_policy(text)

    @property
    def witnesses(self) -> Witnesses:
        """Who must have cosigned a log checkpoint."""
        return self.trust.witnesses

    def also(self, *demands: Demand) -> Policy:
        """The policy with more demands beside its own."""
        return replace(self, demands=(*self.demands, *demands))

    def demand(self, report: Report, at_s: int | None = None) -> None:
        """None when the report fulfils the policy, else Unverified("bad-policy")."""
        demands = self.demands
        if self.status_age_ms_max is not None:
            at_ms = None if at_s is None else at_s * 1000
            demands = (*demands, FreshStatus(self.status_age_ms_max, at_ms))
        always = (SomethingShown(), GoodKeys(counting(demands)), TrueTimes())
        AllOf((*always, *demands)).demand(report)


def parse_policy(text: str) -> Policy:
    """The policy in a TOML text (docs/policy.md); Malformed names the line and the key."""
    top = Document(text, "policy", POLICY_BYTES_MAX).top
    roots = _root_lines(top, "roots")
    if not roots:
        raise top.fail("roots", "must name at least one fleet root")
    demands: list[Demand] = []
    devices = top.table("devices", default=None)
    custody = devices.text("custody", default=CUSTODIES[CUSTODY_DEFAULT])
    if custody not in CUSTODIES:
        raise devices.fail("custody", "must be one of " + ", ".join(CUSTODIES))
    demands.append(MinimumCustody(CUSTODIES.index(custody)))
    if devices.has("firmware"):
        digests = [_hex(devices, "firmware", item) for item in devices.texts("firmware")]
        demands.append(Firmware(frozenset(digests)))
    age_ms = devices.duration_ms("status_age", default=None)
    devices.finish()
    profiles = top.table("profiles", default=None)
    publishers = _root_lines(profiles, "publishers", default=[])
    accepted = frozenset(_digest(profiles, text) for text in profiles.texts("digests", default=[]))
    profiles.finish()
    demands.append(Profiles(accepted, frozenset(publishers)))
    validators = _validators(top.table("validators", default=None), demands)
    witnesses = parse_witnesses(top.table("witnesses", default=None))
    if witnesses.at_least:
        demands.append(CosignedLogs(witnesses.at_least))
    outcome = top.table("outcome", default=None)
    states = outcome.texts("states", default=["matched"])
    for state in states:
        if state not in STATES or state == "pending":
            raise outcome.fail("states", f"{state!r} is no state of a verdict")
    outcome.finish()
    demands.append(States(frozenset(states)))
    top.finish()
    owners = tuple((one.note_key, one.organisation) for one in validators if one.note_key)
    trust = Trust(roots, tuple(validators), publishers, replace(witnesses, owners=owners))
    return Policy(trust, tuple(demands), age_ms)


def _root_lines(table: Table, key: str, *, default: Any = ...) -> dict[str, PublicKey]:
    roots: dict[str, PublicKey] = {}
    for line in table.texts(key, default=default):
        name, root = _line(table, key, line)
        if name in roots:
            raise table.fail(key, f"{name!r} is given twice")
        roots[name] = root
    return roots


def _line(table: Table, key: str, line: str) -> tuple[str, PublicKey]:
    try:
        return parse_root(line)
    except Malformed as error:
        raise table.fail(key, error.message) from None


def _hex(table: Table, key: str, text: str) -> bytes:
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32 or digest.hex() != text:
        raise table.fail(key, "must be SHA-256 digests of 64 hexadecimal digits, in lower case")
    return digest


def _digest(table: Table, text: str) -> bytes:
    try:
        return from_b64u(text, 32)
    except Malformed:
        raise table.fail("digests", "must be profile digests of 43 base64url digits") from None


def _validators(table: Table, demands: list[Demand]) -> list[AcceptedValidator]:
    accepted: list[AcceptedValidator] = []
    for one in table.tables("accept", default=[], items_max=VALIDATORS_MAX):
        organisation = one.text("organisation", chars_max=64)
        if one.has("key") == one.has("root"):
            raise one.fail(None, "must have either key or root")
        which = "key" if one.has("key") else "root"
        name, key = _line(one, which, one.text(which))
        note_key = None
        if one.has("note_key"):
            try:
                note_key = parse_key(one.text("note_key"))
            except Malformed as error:
                raise one.fail("note_key", error.message) from None
        one.finish()
        accepted.append(AcceptedValidator(organisation, name, key, which == "root", note_key))
    organisations = {one.organisation for one in accepted}
    k = table.integer("at_least", 0, VALIDATORS_MAX, default=1 if accepted else 0)
    recomputed = table.boolean("recomputed", default=True)
    table.finish()
    if k > len(organisations):
        raise table.fail("at_least", f"needs more organisations than the {len(organisations)} here")
    if k:
        demands.append(AtLeast(k, tuple(sorted(organisations)), recomputed))
    return accepted
