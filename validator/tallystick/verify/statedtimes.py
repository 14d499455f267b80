"""Times that devices state, held against receipts by others (docs/policy.md, section 3).  Pure.

A checkpoint was made after the custody receipt that it names and before the first receipt over it;
a record after the checkpoint before it and before the first receipt over a checkpoint of its log
that covers it. What a device says of the time is its word, and so is what a receipt says: a time is
refuted only where enough organisations agree on it, and doubted where fewer say so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.credential import Identity
from tallystick.evidence.custody import VerifiedCustodyReceipt
from tallystick.evidence.keys import device_text
from tallystick.evidence.number import from_scaled, to_text
from tallystick.evidence.profile import Profile
from tallystick.verify._text import count, printable, utc
from tallystick.verify.demands import counting
from tallystick.verify.policy import Policy, Trust
from tallystick.verify.report import PinnedValidator, Record

# Clocks of gateways and validators are other people's clocks: so far they may differ and be right.
SLACK_MS = 120_000
AGREEING_MIN = 2  # organisations, where the policy trusts more than one
SIGNERS_NAMED_MAX = 4
TIMED = ("order", "within")
Log = tuple[bytes, bytes]  # device, epoch
Logged = Mapping[bytes, Mapping[PinnedValidator, int]]


@dataclass(frozen=True)
class Dated:
    """What one receipt says of when something was made: after or before its time."""

    organisation: str
    signer: bytes  # id of the gateway or validator
    name: str
    at_ms: int
    own: bool = False  # by a gateway of the device's own fleet, and named by the device


@dataclass(frozen=True)
class Found:
    """What receipts say against a stated time; None each where they do not."""

    refuted: str | None = None
    doubted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Window:
    """When something was made, by receipts; a side without any is open."""

    after: tuple[Dated, ...]
    before: tuple[Dated, ...]
    agreeing: int  # organisations that must agree

    def judge(self, begin_ms: int, end_ms: int, *, ahead: bool = False) -> Found:
        """Whether something of begin..end can have been then; ahead: it may speak of the future."""
        early = _Side(self.after, -1, end_ms, self.agreeing)
        late = _Side(() if ahead else self.before, 1, begin_ms, self.agreeing)
        said = early.said("after"), late.said("before")
        if early.refutes:
            return Found(f"{utc(end_ms)}, and was {said[0]}")
        if late.refutes:
            return Found(f"{utc(begin_ms)}, and was {said[1]}")
        return Found(
            doubted=tuple(
                f"{utc(at_ms)}; it was {why}: that clock or the device's is wrong"
                for side, at_ms, why in ((early, end_ms, said[0]), (late, begin_ms, said[1]))
                if side.against
            )
        )


class _Side:
    # The receipts on one side, and those of them that a stated time contradicts.

    def __init__(self, dated: tuple[Dated, ...], sign: int, stated_ms: int, agreeing: int) -> None:
        self.against: list[Dated] = []
        silent: set[str] = set()  # organisations with a signer that says nothing against it
        self.stated_ms = stated_ms
        self.organisations = {one.organisation for one in dated}
        strictest: dict[tuple[str, bytes], Dated] = {}
        for one in sorted(dated, key=lambda one: (sign * one.at_ms, not one.own, one.signer)):
            strictest.setdefault((one.organisation, one.signer), one)
        for one in strictest.values():
            if sign * (stated_ms - one.at_ms) > SLACK_MS:
                self.against.append(one)
            else:
                silent.add(one.organisation)
        self.saying = {one.organisation for one in self.against} - silent
        self.own = next((one for one in self.against if one.own), None)
        self.refutes = self.own is not None or len(self.saying) >= agreeing

    def said(self, when: str) -> str:
        """As in: made before that, by receipts of 2 of 3 organisations (...)."""
        if not self.against:
            return ""
        if self.own is not None:
            return (
                f"made {when} {utc(self.own.at_ms)}, by a receipt that the device names "
                f"({self.own.name})"
            )
        named = [
            f"{one.name}: {when} {utc(one.at_ms)}, "
            f"{to_text(from_scaled(abs(self.stated_ms - one.at_ms), -3))} s off"
            for one in self.against[:SIGNERS_NAMED_MAX]
        ]
        more = len(self.against) - len(named)
        named += [f"and {count(more, 'signer')} more"] if more else []
        saying = {one.organisation for one in self.against}
        return (
            f"made {when} that, by receipts of {len(saying)} of "
            f"{count(len(self.organisations), 'organisation')} ({'; '.join(named)})"
        )


def agreeing(policy: Policy) -> int:
    """How many organisations must agree before their receipts refute a time."""
    demanded = max((one.k for one in counting(policy.demands)), default=0)
    trust = policy.trust
    trusted = {one.organisation for one in trust.validators}
    trusted |= {_organisation(trust, root) for root in trust.roots}
    return max(demanded, AGREEING_MIN if len(trusted) > 1 else 1)


def _organisation(trust: Trust, root: str) -> str:
    # A fleet that also runs a validator is one organisation, under the name that the policy gives.
    return next((one.organisation for one in trust.validators if one.name == root), root)


@dataclass
class StatedTimes:
    """The bounds that a file's receipts give; `refuted` and `doubted` are what they say against."""

    policy: Policy
    identities: Mapping[bytes, Identity]  # of devices, by id
    checkpoints: Iterable[VerifiedCheckpoint]
    custody: Mapping[bytes, tuple[VerifiedCustodyReceipt, Identity]]  # with its gateway
    logged_s: Logged  # when a checkpoint or claim was logged at the latest, by digest or reference
    refuted: list[str] = field(default_factory=list)
    doubted: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._agreeing = agreeing(self.policy)
        self._heads: dict[Log, list[VerifiedCheckpoint]] = {}
        self._over: dict[tuple[Any, ...], list[Dated]] = {}
        for receipt, gateway in self.custody.values():
            of = (receipt.device, receipt.epoch, receipt.to, receipt.root)
            self._over.setdefault(of, []).append(self._by_gateway(receipt, gateway))
        for head in self.checkpoints:
            self._heads.setdefault((head.device, head.epoch), []).append(head)
        for heads in self._heads.values():
            for head in heads:
                self._clock(head)

    def _clock(self, head: VerifiedCheckpoint) -> None:
        if head.wall is None:
            return
        time_ms, uncertainty_ms = head.wall
        window = Window(tuple(self._named(head)), tuple(self._before(head)), self._agreeing)
        found = window.judge(time_ms - uncertainty_ms, time_ms + uncertainty_ms)
        self._say(f"checkpoint at {head.size} of device {device_text(head.device)}", found)

    def claim(self, record: Record, profile: Profile | None) -> str | None:
        """What refutes the time of a claim that its profile's checks read; it is in `refuted`."""
        body = record.body
        if not isinstance(body, Claim) or body.interval is None or profile is None:
            return None
        place = f"{body.role}.{body.claim}"
        if not _reads(profile, TIMED, place):
            return None
        begin_ms, end_ms, uncertainty_ms = body.interval
        found = self.window(record).judge(
            begin_ms - uncertainty_ms,
            end_ms + uncertainty_ms,
            ahead=_reads(profile, ("exclusive",), place),  # a booking is of a time to come
        )
        return self._say(record.name, found)

    def _say(self, what: str, found: Found) -> str | None:
        self.doubted += [f"{what} states {why}" for why in found.doubted]
        if found.refuted is None:
            return None
        said = f"{what} states {found.refuted}"
        self.refuted.append(said)
        return said

    def window(self, record: Record) -> Window:
        """When a record was made."""
        heads = self._heads.get((record.device, record.epoch), [])
        after = [one for head in heads if head.size <= record.index for one in self._named(head)]
        before = [one for head in heads if head.size > record.index for one in self._before(head)]
        before += _by_validators(record.logged_s)
        return Window(tuple(after), tuple(before), self._agreeing)

    def _named(self, head: VerifiedCheckpoint) -> list[Dated]:
        found = self.custody.get(head.custody or b"")
        if found is None or found[0].device != head.device:
            return []
        device = self.identities.get(head.device)
        own = device is not None and device.iss == found[1].iss
        return [self._by_gateway(*found, own=own)]

    def _before(self, head: VerifiedCheckpoint) -> list[Dated]:
        of = (head.device, head.epoch, head.size, head.root)
        return self._over.get(of, []) + _by_validators(self.logged_s.get(head.digest, {}))

    def _by_gateway(
        self, receipt: VerifiedCustodyReceipt, gateway: Identity, *, own: bool = False
    ) -> Dated:
        organisation = _organisation(self.policy.trust, gateway.iss)
        name = f"gateway {gateway.text} of {printable(organisation)}"
        return Dated(organisation, gateway.id, name, receipt.time_ms, own)


def _by_validators(logged_s: Mapping[PinnedValidator, int]) -> list[Dated]:
    # A second begins where it is stated: the entry was there before its end.
    return [
        Dated(
            validator.organisation,
            validator.key,
            f"validator {validator.name} of {printable(validator.organisation)}",
            at_s * 1000 + 999,
        )
        for validator, at_s in logged_s.items()
    ]


def _reads(profile: Profile, kinds: tuple[str, ...], place: str) -> bool:
    for kind, _, parameters in profile.checks:
        if kind in kinds:
            for value in parameters.values():
                if value == place or (isinstance(value, list) and place in value):
                    return True
    return False
