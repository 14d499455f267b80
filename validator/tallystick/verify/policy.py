"""What a relying party demands (docs/policy.md): whom it trusts, and what must be shown.

A policy has two parts.  `trust` is what checking starts from: fleet roots and validators' keys.
`demand` is a tree of small predicates over the report of a check; predicates compose with AllOf,
AnyOf and AtLeast.  A demand returns None or raises Unverified("bad-policy").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from tallystick.evidence.enrolment import CUSTODIES, CUSTODY_PKCS11
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.finding import STATES
from tallystick.evidence.keys import PublicKey, b64u, device_text, from_b64u
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.evidence.root import parse_root
from tallystick.verify._text import printable
from tallystick.verify._toml import Document, Table
from tallystick.verify.inputs import GOOD_STATUSES
from tallystick.verify.report import CheckedSet, PinnedValidator, Record, Report

POLICY_BYTES_MAX = 65_536
VALIDATORS_MAX = 64
KEYS_NAMED_MAX = 8
WHY_CHARS_MAX = 400
# Keys in files are refused unless a policy says `custody = "software"`.
CUSTODY_DEFAULT = CUSTODY_PKCS11


class Demand(Protocol):
    """Something that a report must show."""

    def demand(self, report: Report) -> None:
        """None, or Unverified("bad-policy") with what is missing."""


def _refuse(message: str) -> Unverified:
    return Unverified("bad-policy", message)


@dataclass(frozen=True)
class AllOf:
    """Every one of the demands; all that fail are named."""

    demands: Sequence[Demand]

    def demand(self, report: Report) -> None:
        """As Demand."""
        failures = _failures(self.demands, report)
        if failures:
            raise _refuse("; ".join(failures))


@dataclass(frozen=True)
class AnyOf:
    """At least one of the demands."""

    demands: Sequence[Demand]

    def demand(self, report: Report) -> None:
        """As Demand."""
        failures = _failures(self.demands, report)
        if len(failures) == len(self.demands):
            raise _refuse("; or ".join(failures) or "no demand to fulfil")


@dataclass(frozen=True)
class AtLeast:
    """k different organisations vouch for each party set, and for each record in none.

    An organisation vouches for a party set by a verdict of one of its validators that is in the
    validator's log, that no disclosed claim overtakes and, with `recomputed`, that was recomputed
    here to the byte; for a record by a receipt over the checkpoint that covers it, or the claim.
    """

    k: int
    accepted: Sequence[str] = ()  # organisations; empty: every one whose validator is pinned
    recomputed: bool = True

    def demand(self, report: Report) -> None:
        """As Demand."""
        for party_set in report.party_sets:
            self.enough(self._for_set(party_set), f"vouch on {party_set.name}")
        in_sets = {claim for party_set in report.party_sets for claim in map(id, party_set.claims)}
        for record in report.records:
            if id(record.body) not in in_sets:
                self.enough(set(record.logged_s), f"vouch for {record.name}")

    def _for_set(self, party_set: CheckedSet) -> set[PinnedValidator]:
        return {
            said.validator
            for said in party_set.said
            if said.logged and said.counts and (said.recomputed or not self.recomputed)
        }

    def enough(self, validators: set[PinnedValidator], what: str) -> None:
        """Unverified unless these are of k organisations that count."""
        organisations = {validator.organisation for validator in validators}
        if self.accepted:
            organisations &= set(self.accepted)
        if len(organisations) < self.k:
            raise _refuse(
                f"{len(organisations)} of the {self.k} validators' organisations that the policy "
                f"needs {what}"
            )


def _failures(demands: Sequence[Demand], report: Report) -> list[str]:
    failures = []
    for one in demands:
        try:
            one.demand(report)
        except Unverified as refusal:
            failures.append(refusal.message)
    return failures


@dataclass(frozen=True)
class SomethingShown:
    """An empty file fulfils nothing; every disclosed record is one of an accepted fleet."""

    def demand(self, report: Report) -> None:
        """As Demand."""
        if report.unverified_records:
            what, why = report.unverified_records[0]
            raise _refuse(f"{what} is not verified: {why}")
        if not report.records:
            raise _refuse("no record of a device of an accepted fleet is disclosed")


@dataclass(frozen=True)
class GoodKeys:
    """No record by a key that is compromised or suspect, as far as the credentials tell.

    Of a compromised key what lies in the trusted prefix stays, when the validators' organisations
    that `counting` demands had each logged it before the revocation.
    """

    counting: Sequence[AtLeast] = ()

    def demand(self, report: Report) -> None:
        """As Demand."""
        for record in report.records:
            if record.status == "prior":
                self._prior(record)
            elif record.status not in GOOD_STATUSES:
                raise _refuse(f"the key of {record.name} is {record.status}")

    def _prior(self, record: Record) -> None:
        what = f"to have logged {record.name} before its key was revoked as compromised"
        if not any(one.k for one in self.counting):
            raise _refuse(f"the key of {record.name} is compromised, and no validator counts")
        for one in self.counting:
            one.enough(set(record.prior), what)


@dataclass(frozen=True)
class MinimumCustody:
    """Every record is by a key that is held at least so well: an index of CUSTODIES.

    Only the counted level counts: what evidence in the enrolment shows, not what a root says.
    """

    level: int

    def demand(self, report: Report) -> None:
        """As Demand."""
        failures: dict[bytes, str] = {}
        for record in report.records:
            if record.custody < self.level:
                failures.setdefault(record.key, self._failure(record))
        if failures:
            named = list(failures.values())[:KEYS_NAMED_MAX]
            if len(failures) > len(named):
                named.append(f"and {len(failures) - len(named)} keys more")
            raise _refuse("; ".join(named))

    def _failure(self, record: Record) -> str:
        why = record.held.why()
        return (
            f"key {b64u(record.key)} of device {device_text(record.device)} is held in "
            f"{CUSTODIES[record.custody]}, the policy needs {CUSTODIES[self.level]}"
            + (f" ({printable(why, WHY_CHARS_MAX)})" if why else "")
        )


@dataclass(frozen=True)
class Firmware:
    """Every record was made under one of these firmware releases, by its disclosed boot event."""

    digests: frozenset[bytes]

    def demand(self, report: Report) -> None:
        """As Demand."""
        for record in report.records:
            if record.firmware is None:
                raise _refuse(f"the firmware of {record.name} is not disclosed")
            if record.firmware not in self.digests:
                raise _refuse(f"the firmware of {record.name} is none that the policy accepts")


@dataclass(frozen=True)
class Profiles:
    """Every party set is under a profile of these digests, or signed by one of these publishers."""

    digests: frozenset[bytes]
    publishers: frozenset[str]

    def demand(self, report: Report) -> None:
        """As Demand."""
        for party_set in report.party_sets:
            digest = party_set.profile
            if digest in self.digests or report.published.get(digest, set()) & self.publishers:
                continue
            raise _refuse(f"the profile {b64u(digest)} is none that the policy accepts")


@dataclass(frozen=True)
class States:
    """Every party set has one of these states, by every verdict on it."""

    states: frozenset[str]

    def demand(self, report: Report) -> None:
        """As Demand."""
        for party_set in report.party_sets:
            states = party_set.states
            if not states or not set(states) <= self.states:
                raise _refuse(
                    f"{party_set.name} is {' and '.join(states) or 'not decided'}, the policy "
                    f"accepts {', '.join(sorted(self.states))}"
                )


@dataclass(frozen=True)
class FreshStatus:
    """The newest verdict on each party set is at most so old: it is what tells key status."""

    age_ms_max: int
    at_ms: int | None = None

    def demand(self, report: Report) -> None:
        """As Demand."""
        if self.at_ms is None:
            raise _refuse("the age of key status cannot be judged: no time was given")
        for party_set in report.party_sets:
            times = [said.verdict.time_ms for said in party_set.said]
            if not times or self.at_ms - max(times) > self.age_ms_max:
                raise _refuse(f"what is known of the keys of {party_set.name} is too old")


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


@dataclass(frozen=True)
class Policy:
    """Trust, and demands.  Make it from text with parse(), or of parts in code."""

    trust: Trust
    demands: tuple[Demand, ...]
    status_age_ms_max: int | None = None

    @staticmethod
    def parse(text: str) -> Policy:
        """The policy in a TOML text; Malformed names the line and the key."""
        return parse_policy(text)

    def demand(self, report: Report, at_s: int | None = None) -> None:
        """None when the report fulfils the policy, else Unverified("bad-policy")."""
        demands = self.demands
        if self.status_age_ms_max is not None:
            at_ms = None if at_s is None else at_s * 1000
            demands = (*demands, FreshStatus(self.status_age_ms_max, at_ms))
        AllOf((SomethingShown(), GoodKeys(_counting(demands)), *demands)).demand(report)


def _counting(demands: Sequence[Demand]) -> tuple[AtLeast, ...]:
    # Every AtLeast of the policy, however deep: what one of them would accept, all must.
    found: list[AtLeast] = []
    for one in demands:
        if isinstance(one, AtLeast):
            found.append(one)
        elif isinstance(one, (AllOf, AnyOf)):
            found += _counting(one.demands)
    return tuple(found)


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
    outcome = top.table("outcome", default=None)
    states = outcome.texts("states", default=["matched"])
    for state in states:
        if state not in STATES or state == "pending":
            raise outcome.fail("states", f"{state!r} is no state of a verdict")
    outcome.finish()
    demands.append(States(frozenset(states)))
    top.finish()
    return Policy(Trust(roots, tuple(validators), publishers), tuple(demands), age_ms)


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


def describe_policy(policy: Policy) -> list[str]:
    """What the policy trusts, for people."""
    lines = [
        f"fleet root {name}, key {device_text(key.thumbprint())}"
        for name, key in sorted(policy.trust.roots.items())
    ]
    for one in policy.trust.validators:
        what = "validators of the root" if one.is_root else "validator"
        lines.append(f"{what} {one.name} of {one.organisation}")
    return lines
