"""The index of direct neighbours in memory (docs/reconciliation.md, sections 5.8 and 6).

It knows of each claim which claims of other interactions its checks may read, and which party sets
are to be looked at again when it comes, or when its maker's key turns out otherwise.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Mapping

from tallystick.evidence.claim import Claim
from tallystick.evidence.profile import Profile
from tallystick.verify.checks import kin_of
from tallystick.verify.inputs import GOOD_STATUSES, KnownClaim, SetKey
from tallystick.verify.neighbours import Bounds, Kin, predecessor, successor
from tallystick.verify.plan import Plan, plan_of


class _Shelf:
    # The grants of one scope, by begin: whoever lies near an interval is found by halving.

    def __init__(self) -> None:
        self._rows: list[tuple[int, bytes, int]] = []

    def put(self, span: Bounds, reference: bytes) -> None:
        insort(self._rows, (span[0], reference, span[1]))

    def around(self, begin_ms: int, longest_ms: int) -> Iterator[tuple[Bounds, bytes]]:
        """All that begin less than `longest_ms` before or after."""
        at = bisect_left(self._rows, (begin_ms - longest_ms + 1,))
        while at < len(self._rows) and self._rows[at][0] < begin_ms + longest_ms:
            begin, reference, end = self._rows[at]
            yield (begin, end), reference
            at += 1


class Nearby:
    """Claims of the profiles that have such checks, by what brings them together."""

    def __init__(self, where: Mapping[bytes, tuple[SetKey, KnownClaim]]) -> None:
        # By reference, kept by whoever owns the claims: statuses change there.
        self._where = where
        self._kin: dict[bytes, tuple[Plan, Kin]] = {}
        # (what rivals share, the acquisition) -> releases, in the order of their references
        self._releases: dict[tuple[bytes, bytes], list[bytes]] = {}
        # (scope, one of the two ways to see intervals) -> grants
        self._grants: dict[tuple[bytes, int], _Shelf] = {}

    def add_profile(self, profile: Profile) -> bool:
        """A profile that came to be known; whether its claims are to be added."""
        plan = plan_of(profile)
        kin = kin_of(plan)
        if kin is not None:
            self._kin[profile.digest] = plan, kin
        return kin is not None

    def add(self, known: KnownClaim) -> None:
        """A readable claim, once."""
        claim = known.claim
        if claim is None or claim.profile not in self._kin:
            return
        _, kin = self._kin[claim.profile]
        if kin.cites(claim):
            chain = kin.chain(claim, known.device)
            for acquisition in claim.relied:
                insort(self._releases.setdefault((chain, acquisition), []), known.reference)
        for granted in kin.granted(claim, known.device):
            for way, span in enumerate(granted.spans):
                if span is not None:
                    shelf = self._grants.setdefault((granted.scope, way), _Shelf())
                    shelf.put(span, known.reference)

    def touched(self, known: KnownClaim) -> set[SetKey]:
        """The party sets whose checks may read this claim, itself aside."""
        return {
            self._where[reference][0]
            for reference in self._near(known)
            if reference != known.reference
        }

    def _near(self, known: KnownClaim) -> Iterator[bytes]:
        claim = known.claim
        if claim is None or claim.profile not in self._kin:
            return
        _, kin = self._kin[claim.profile]
        if kin.cites(claim):
            chain = kin.chain(claim, known.device)
            for acquisition in claim.relied:
                # What every release names, and what is not known, makes nobody a rival.
                if self._acquired(kin, acquisition) is not None:
                    yield from self._releases.get((chain, acquisition), ())
        for granted in kin.granted(claim, known.device):
            for way, span in enumerate(granted.spans):
                shelf = self._grants.get((granted.scope, way))
                if span is not None and shelf is not None:
                    for _, reference in shelf.around(span[0], granted.longest_ms):
                        yield reference

    def others(self, key: SetKey, known: KnownClaim) -> list[KnownClaim]:
        """The direct neighbours of a claim of this set, as its checks will pick them."""
        claim = known.claim
        if claim is None or claim.profile not in self._kin:
            return []
        _, kin = self._kin[claim.profile]
        found: list[KnownClaim] = []
        if kin.cites(claim):
            chain = kin.chain(claim, known.device)
            for acquisition in claim.relied:
                there = self._acquired(kin, acquisition)
                if there is None:
                    continue
                found.append(there)
                found += self._rival(key, known, self._releases.get((chain, acquisition), []))
        for granted in kin.granted(claim, known.device):
            for way, span in enumerate(granted.spans):
                shelf = self._grants.get((granted.scope, way))
                if span is None or shelf is None:
                    continue
                rows = [
                    row
                    for row in shelf.around(span[0], granted.longest_ms)
                    if self._counts(key, row[1])
                ]
                for pick in (predecessor, successor):
                    reference = pick(span, rows, granted.longest_ms)
                    if reference is not None:
                        found.append(self._where[reference][1])
        return found

    def _acquired(self, kin: Kin, reference: bytes) -> KnownClaim | None:
        there = self._where.get(reference)
        claim = None if there is None else there[1].claim
        if there is None or claim is None or not kin.acquires(claim):
            return None
        return there[1]

    def _rival(self, key: SetKey, known: KnownClaim, releases: list[bytes]) -> list[KnownClaim]:
        at = bisect_left(releases, known.reference)
        nearest: Iterable[bytes] = (*releases[at:], *reversed(releases[:at]))
        rival = next((reference for reference in nearest if self._counts(key, reference)), None)
        return [] if rival is None else [self._where[rival][1]]

    def _counts(self, key: SetKey, reference: bytes) -> bool:
        there, known = self._where[reference]
        claim = known.claim
        return (
            there.interaction != key.interaction
            and known.status in GOOD_STATUSES
            and claim is not None
            and self._fits(claim)
        )

    def _fits(self, claim: Claim) -> bool:
        plan, _ = self._kin[claim.profile]
        return plan.misfit(claim) is None
