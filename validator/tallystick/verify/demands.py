"""What a policy can demand (docs/policy.md): small predicates over the report of a check.

Predicates compose with AllOf, AnyOf and AtLeast.  A demand returns None or raises
Unverified("bad-policy").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import b64u, device_text
from tallystick.verify._text import printable
from tallystick.verify.inputs import GOOD_STATUSES
from tallystick.verify.report import CheckedSet, PinnedValidator, Record, Report

KEYS_NAMED_MAX = 8
WHY_CHARS_MAX = 400


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
    A validator of whom the file proves misbehaviour vouches for nothing.
    """

    k: int
    accepted: Sequence[str] = ()  # organisations; empty: every one whose validator is pinned
    recomputed: bool = True

    def demand(self, report: Report) -> None:
        """As Demand."""
        for party_set in report.party_sets:
            self.enough(self._for_set(party_set, report), f"vouch on {party_set.name}")
        in_sets = {claim for party_set in report.party_sets for claim in map(id, party_set.claims)}
        for record in report.records:
            if id(record.body) not in in_sets:
                honest = {one for one in record.logged_s if one.key not in report.convicted}
                self.enough(honest, f"vouch for {record.name}")

    def _for_set(self, party_set: CheckedSet, report: Report) -> set[PinnedValidator]:
        return {
            said.validator
            for said in party_set.said
            if said.logged
            and said.counts
            and (said.recomputed or not self.recomputed)
            and said.validator.key not in report.convicted
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


@dataclass(frozen=True)
class CosignedLogs:
    """Each log whose receipts are in the file was cosigned by k organisations beside its own.

    Under each size that has receipts: the file holds the log checkpoint of that size, with the
    cosignatures of witnesses that the policy accepts.
    """

    k: int

    def demand(self, report: Report) -> None:
        """As Demand."""
        for validator, sizes in sorted(report.receipted.items(), key=lambda row: row[0].name):
            for size in sorted(sizes):
                found = report.cosigned.get((validator, size), set())
                if len(found) < self.k:
                    raise _refuse(
                        f"{len(found)} of the {self.k} organisations that the policy needs "
                        f"cosigned the log of validator {validator.name} at size {size}"
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
class Misbehaved:
    """The file proves misbehaviour: what `tally verify --proof` demands in a policy's place."""

    def demand(self, report: Report) -> None:
        """As Demand."""
        if not report.proven:
            raise _refuse("no misbehaviour is proven by the file")


@dataclass(frozen=True)
class TrueTimes:
    """No interaction rests on a time that a device states and receipts refute."""

    def demand(self, report: Report) -> None:
        """As Demand."""
        for one in report.party_sets:
            for said in one.refuted:
                raise _refuse(f"{one.name} rests on a false time: {said}")


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
        # A device's first key has the device's own id; a later one is named too.
        key = "the key" if record.key == record.device else f"key {b64u(record.key)}"
        return (
            f"{key} of device {device_text(record.device)} is held in "
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


def counting(demands: Sequence[Demand]) -> tuple[AtLeast, ...]:
    """Every AtLeast of the demands, however deep: what one of them would accept, all must."""
    found: list[AtLeast] = []
    for one in demands:
        if isinstance(one, AtLeast):
            found.append(one)
        elif isinstance(one, (AllOf, AnyOf)):
            found += counting(one.demands)
    return tuple(found)
