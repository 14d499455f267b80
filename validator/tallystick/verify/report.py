"""What checking an evidence file came to: verified objects, what was checked, and what was not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from tallystick.evidence.claim import Claim
from tallystick.evidence.credential import Identity
from tallystick.evidence.enrolment import SUBJECTS
from tallystick.evidence.finding import Finding
from tallystick.evidence.forkproof import ForkProof
from tallystick.evidence.keycustody import Counted, of_period
from tallystick.evidence.keys import b64u, device_text
from tallystick.evidence.profile import Profile
from tallystick.evidence.verdict import VerifiedVerdict
from tallystick.verify._text import count

B = TypeVar("B")


@dataclass(frozen=True)
class PinnedValidator:
    """A validator whose key was pinned, or enrolled by a root that was pinned for validators."""

    name: str
    organisation: str
    key: bytes  # thumbprint of the key that signs its receipts and verdicts


@dataclass
class Record:
    """A disclosed record that was verified as far as its device's signed checkpoint."""

    device: bytes
    epoch: bytes
    index: int
    leaf: bytes
    reference: bytes
    boot: int
    status: str
    key: bytes  # thumbprint of the key that signed its checkpoint
    held: Counted  # how that key is held, as far as its evidence shows
    identity: Identity
    body: object  # Claim, Decision, Event or AcceptedHalf
    firmware: bytes | None = None  # of its boot, when the boot event is disclosed too
    # Validators whose logs show it before the revocation that says that its key is compromised.
    prior: frozenset[PinnedValidator] = frozenset()
    # Who logged it, and when at the latest, in seconds since 1970.
    logged_s: dict[PinnedValidator, int] = field(default_factory=dict)

    @property
    def custody(self) -> int:
        """The counted level of its key's custody: an index of CUSTODIES."""
        return self.held.level

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"record {self.index} of device {device_text(self.device)}"


@dataclass(frozen=True)
class HeldKey:
    """A key of a verified identity, and how it is held as far as its evidence shows."""

    identity: Identity
    key: bytes  # thumbprint
    status: str  # active, rotated, retired, lost or compromised
    held: Counted

    @property
    def name(self) -> str:
        """How reports call it."""
        return (
            f"key {b64u(self.key)} of {SUBJECTS[self.identity.subject]} {self.identity.text} "
            f"of {self.identity.iss}"
        )


@dataclass
class Said:
    """One validator's newest verdict on a party set."""

    validator: PinnedValidator
    verdict: VerifiedVerdict
    logged: bool  # a receipt of its own log covers the verdict
    recomputed: bool  # the finding was recomputed from the disclosed claims, byte for byte
    outdated: bool = False  # with all disclosed claims the state is another one
    late: bool = False  # it rests on a claim that this validator, not others, logged too late

    @property
    def counts(self) -> bool:
        """Whether its state is one of the party set's."""
        return not self.outdated and not self.late


@dataclass
class CheckedSet:
    """A party set: its disclosed claims, the verdicts on it, and what we find ourselves."""

    namespace: str
    interaction: bytes
    profile: bytes
    parties: dict[str, list[bytes]]
    name: str
    said: list[Said] = field(default_factory=list)
    own: Finding | None = None
    claims: list[Claim] = field(default_factory=list)
    # Times that a check reads and that receipts refute (statedtimes.py).
    refuted: list[str] = field(default_factory=list)

    @property
    def states(self) -> list[str]:
        """What the verdicts say, and where none covers what is disclosed, what that gives."""
        states = {said.verdict.finding.state for said in self.said if said.counts}
        if self.own is not None:
            states.add(self.own.state)
        return sorted(states)


@dataclass(frozen=True)
class Proven:
    """Misbehaviour that the file proves: two statements that cannot both be true."""

    name: str
    accused: tuple[bytes, ...]  # ids that it convicts; none where it is not shown who it was
    about: tuple[bytes, ...]  # ids that it speaks of
    who: str
    says: tuple[str, str]
    not_shown: tuple[str, ...]
    digest: bytes  # SHA-256 of the proof

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        return f"Proven of {self.who}: {self.name}."


@dataclass
class Report:
    """The result of a check; `policy.demand(report)` says whether it is enough."""

    checked: list[tuple[str, str]] = field(default_factory=list)
    not_checked: list[tuple[str, str]] = field(default_factory=list)
    tolerances: list[str] = field(default_factory=list)
    # Times that devices state and that receipts refute, in words.
    refuted_times: list[str] = field(default_factory=list)
    # Times that fewer organisations' receipts contradict than must agree, in words.
    doubted_times: list[str] = field(default_factory=list)
    profiles: dict[bytes, Profile] = field(default_factory=dict)
    # Publishers of profiles, by a verified signature, by profile digest.
    published: dict[bytes, set[str]] = field(default_factory=dict)
    identities: dict[bytes, Identity] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    # Disclosed records whose device no accepted root vouches for, with the reason.
    unverified_records: list[tuple[str, str]] = field(default_factory=list)
    validators: set[PinnedValidator] = field(default_factory=set)
    # The sizes of each validator's log under which receipts are, and who cosigned which.
    receipted: dict[PinnedValidator, set[int]] = field(default_factory=dict)
    cosigned: dict[tuple[PinnedValidator, int], set[str]] = field(default_factory=dict)
    party_sets: list[CheckedSet] = field(default_factory=list)
    # Sets of which the file shows only claims that a verdict on another one used.
    beside: list[CheckedSet] = field(default_factory=list)
    forks: list[ForkProof] = field(default_factory=list)
    proven: list[Proven] = field(default_factory=list)
    note: str | None = None
    _left: set[tuple[str, str]] = field(default_factory=set)

    def bodies(self, kind: type[B]) -> list[tuple[Record, B]]:
        """The verified records of one kind (Claim, Decision, Event...), each with its body."""
        return [(one, one.body) for one in self.records if isinstance(one.body, kind)]

    def check(self, what: str, detail: str) -> None:
        """Something was checked and holds."""
        self.checked.append((what, detail))

    def prove(self, proven: Proven) -> None:
        """Somebody misbehaved, and signed it."""
        if proven.digest not in {one.digest for one in self.proven}:
            self.proven.append(proven)
            self.check(f"proof of {proven.name}", "its statements contradict; accepted keys signed")

    @property
    def convicted(self) -> frozenset[bytes]:
        """Ids of whom misbehaviour is proven."""
        return frozenset(id_ for one in self.proven for id_ in one.accused)

    def leave(self, what: str, why: str) -> None:
        """Something was not checked."""
        # Once: what several verdicts leave open is one thing that was not checked.
        if (what, why) not in self._left:
            self._left.add((what, why))
            self.not_checked.append((what, why))

    @property
    def keys(self) -> list[HeldKey]:
        """Every key of the identities that were verified, identity by identity."""
        return [
            HeldKey(
                identity,
                period.key.thumbprint(),
                period.reason or ("rotated" if period.ended else "active"),
                of_period(identity, period),
            )
            for identity in self.identities.values()
            for period in identity.keys
        ]

    @property
    def outcome(self) -> str:
        """The result in a sentence or two."""
        proven = [one.sentence for one in self.proven]
        if not self.party_sets:
            if not self.records:
                return " ".join(proven) or "Nothing that a device recorded could be verified."
            who = len({record.device for record in self.records})
            records = f"{count(len(self.records), 'record')} of {count(who, 'device')}"
            return " ".join([f"Verified: {records}.", *proven])
        return " ".join([*(_sentence(party_set) for party_set in self.party_sets), *proven])


def _sentence(party_set: CheckedSet) -> str:
    if not party_set.said:
        state = party_set.own.state if party_set.own is not None else "not decided"
        return f"{party_set.name}: {state}, by the disclosed claims alone; no verdict was verified."
    parts = []
    if party_set.own is not None:
        parts.append(f"{party_set.own.state}, by the disclosed claims, which no verdict covers")
    for state in sorted({one.verdict.finding.state for one in party_set.said}):
        said = [one for one in party_set.said if one.verdict.finding.state == state]
        organisations = {one.validator.organisation for one in said}
        again = sum(one.recomputed for one in said)
        who = count(len(said), "validator")
        detail = f"say {who} of {count(len(organisations), 'organisation')}"
        parts.append(f"{state}, {detail}, {again} of them recomputed here")
    return f"{party_set.name}: " + "; ".join(parts) + "."
