"""Which claims belong together, as they arrive (docs/reconciliation.md, sections 2 and 3).

Pure bookkeeping in memory: log indexes and log times are arguments.  A claim costs a fixed number
of dictionary look-ups, however many interactions are open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from tallystick.evidence.claim import Claim
from tallystick.evidence.profile import Profile
from tallystick.verify.inputs import (
    GOOD_STATUSES,
    KnownClaim,
    PartySetInputs,
    SetKey,
    TimeEvidence,
)
from tallystick.verify.nearby import Nearby

UNINVITED_MAX = 32


def set_key(claim: Claim) -> SetKey:
    """The party set of a claim."""
    return SetKey(claim.namespace, claim.interaction_id(), claim.profile, claim.party_set())


def uninvited(own: bytes, others: Iterable[bytes]) -> list[bytes]:
    """What a verdict lists: the other party sets of the interaction, the lowest 32 hashes."""
    return sorted(set(others) - {own})[:UNINVITED_MAX]


class PartySet:
    """One party set; `first_entry` and `first_ms` are log index and log time of its first claim."""

    def __init__(
        self, key: SetKey, parties: Mapping[str, list[bytes]], first_entry: int, first_ms: int
    ) -> None:
        self.key = key
        self.parties = parties
        self.first_entry = first_entry
        self.first_ms = first_ms
        self.deadline_ms: int | None = None
        self.closed = False
        self.claims: dict[bytes, KnownClaim] = {}
        # References that its claims relied on: one of them may be a claim without a body.
        self.relied: set[bytes] = set()
        # Found once, kept: a later checkpoint of a silent device must not change the finding.
        self.silence: dict[bytes, TimeEvidence] = {}

    @property
    def due_ms(self) -> int | None:
        """Log time from which the set may be closed; None while its profile is not known."""
        return None if self.deadline_ms is None else self.first_ms + self.deadline_ms


class Book:
    """The party sets of a log; every method that changes something says which sets it touched."""

    def __init__(self) -> None:
        self.sets: dict[SetKey, PartySet] = {}
        self._interactions: dict[tuple[str, bytes], list[SetKey]] = {}
        self._profiles: dict[bytes, Profile] = {}
        self._bodiless: dict[bytes, KnownClaim] = {}
        self._relying: dict[bytes, set[SetKey]] = {}
        self._made: dict[tuple[str, bytes, bytes, str, str], dict[bytes, KnownClaim]] = {}
        self._by_device: dict[bytes, set[SetKey]] = {}
        self._heard: dict[bytes, TimeEvidence] = {}
        # Log times never fall, so sets of one deadline fall due in the order of their arrival.
        self._waiting: dict[int, deque[SetKey]] = {}
        self._where: dict[bytes, tuple[SetKey, KnownClaim]] = {}
        self._nearby = Nearby(self._where)

    def add_profile(self, profile: Profile) -> list[SetKey]:
        """A profile that came to be known; its sets get their deadlines."""
        if profile.digest in self._profiles:
            return []
        self._profiles[profile.digest] = profile
        touched = [key for key in self.sets if key.profile == profile.digest]
        for key in sorted(touched, key=lambda key: self.sets[key].first_entry):
            self._start(self.sets[key], profile)
        if self._nearby.add_profile(profile):
            for key in touched:
                for known in self.sets[key].claims.values():
                    self._nearby.add(known)
        return touched

    def _start(self, party_set: PartySet, profile: Profile) -> None:
        party_set.deadline_ms = profile.deadline_ms
        self._waiting.setdefault(profile.deadline_ms, deque()).append(party_set.key)

    def add(self, known: KnownClaim, entry: int, log_ms: int) -> list[SetKey]:
        """A logged claim, with its log index and log time."""
        claim = known.claim
        if claim is None:
            self._bodiless[known.reference] = known
            return [
                key
                for key in self._relying.get(known.reference, ())
                if _is_party(self.sets[key].parties, known.device)
            ]
        key = set_key(claim)
        party_set = self.sets.get(key)
        if party_set is None:
            party_set = self.sets[key] = PartySet(key, claim.parties, entry, log_ms)
            self._interactions.setdefault(key[:2], []).append(key)
            profile = self._profiles.get(key.profile)
            if profile is not None:
                self._start(party_set, profile)
        elif known.reference in party_set.claims:
            return []
        party_set.claims[known.reference] = known
        self._by_device.setdefault(known.device, set()).add(key)
        for reference in claim.relied:
            party_set.relied.add(reference)
            self._relying.setdefault(reference, set()).add(key)
        # The body of a claim that was known by its leaf: whoever relied on it reads it now.
        self._bodiless.pop(known.reference, None)
        touched = {key: None, **dict.fromkeys(self._relying.get(known.reference, ()))}
        made = self._made.setdefault(_maker(key, known.device, claim), {})
        for other in made.values():
            if other.claim is not None:
                touched[set_key(other.claim)] = None
        made[known.reference] = known
        self._where[known.reference] = key, known
        self._nearby.add(known)
        touched.update(dict.fromkeys(self._nearby.touched(known)))
        return list(touched)

    def restate(self, device: bytes, status: str) -> list[SetKey]:
        """Another key status for all claims of a device."""
        touched = set(self._by_device.get(device, ()))
        for key in sorted(touched):
            claims = self.sets[key].claims
            for reference, known in claims.items():
                if known.device == device and known.claim is not None:
                    changed = claims[reference] = known._replace(status=status)
                    made = self._made[_maker(key, device, known.claim)]
                    made[reference] = changed
                    self._where[reference] = key, changed
                    touched |= self._relying.get(reference, set()) | self._nearby.touched(changed)
        return sorted(touched)

    def hear(self, evidence: TimeEvidence) -> None:
        """Time evidence of a device whose claims are held as far as its checkpoint counts them."""
        known = self._heard.get(evidence.device)
        if known is None or known.time_ms < evidence.time_ms:
            self._heard[evidence.device] = evidence

    def due(self, log_ms: int) -> Iterator[PartySet]:
        """Sets to close at this log time; each is given once.  The caller logs a closing."""
        for waiting in self._waiting.values():
            while waiting:
                party_set = self.sets[waiting[0]]
                due_ms = party_set.due_ms
                if due_ms is None or due_ms > log_ms:
                    break
                waiting.popleft()
                yield party_set

    def close(self, key: SetKey) -> None:
        """The log holds a closing of the set."""
        self.sets[key].closed = True

    def inputs(self, key: SetKey) -> PartySetInputs:
        """What the engine needs for one set."""
        party_set = self.sets[key]
        claims = list(party_set.claims.values())
        for reference in party_set.relied:
            known = self._bodiless.get(reference)
            if known is not None and _is_party(party_set.parties, known.device):
                claims.append(known)
        return PartySetInputs(
            self._profiles.get(key.profile),
            key.namespace,
            key.interaction,
            party_set.parties,
            claims,
            self._others(party_set),
            party_set.closed,
            self._silence(party_set),
        )

    def _others(self, party_set: PartySet) -> list[KnownClaim]:
        key = party_set.key
        others = [
            other
            for known in party_set.claims.values()
            for other in self._nearby.others(key, known)
        ]
        if len(self._interactions[key[:2]]) == 1:
            return others
        seen: set[tuple[bytes, str, str]] = set()
        for known in party_set.claims.values():
            claim = known.claim
            if claim is None or (known.device, claim.role, claim.claim) in seen:
                continue
            seen.add((known.device, claim.role, claim.claim))
            made = self._made[_maker(key, known.device, claim)]
            others += [
                other
                for reference, other in made.items()
                if reference not in party_set.claims and other.status in GOOD_STATUSES
            ]
        return others

    def _silence(self, party_set: PartySet) -> list[TimeEvidence]:
        due_ms = party_set.due_ms
        if party_set.closed and due_ms is not None:
            for devices in party_set.parties.values():
                for device in devices:
                    heard = self._heard.get(device)
                    if device not in party_set.silence and heard and heard.time_ms > due_ms:
                        party_set.silence[device] = heard
        return list(party_set.silence.values())

    def uninvited(self, key: SetKey) -> list[bytes]:
        """Hashes of the other party sets of the interaction, as a verdict lists them."""
        others = (other.parties for other in self._interactions[key[:2]] if other != key)
        return uninvited(b"", others)


def _maker(key: SetKey, device: bytes, claim: Claim) -> tuple[str, bytes, bytes, str, str]:
    # Two claims with equal ones contradict each other.
    return key.namespace, key.interaction, device, claim.role, claim.claim


def _is_party(parties: Mapping[str, list[bytes]], device: bytes) -> bool:
    return any(device in devices for devices in parties.values())
