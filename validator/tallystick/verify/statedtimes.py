"""Times that devices state, held against receipts by others (docs/policy.md, section 3).  Pure.

A checkpoint was made after the custody receipt that it names and before the first receipt over it;
a record after the checkpoint before it and before the first receipt over a checkpoint of its log
that covers it. What a device says of the time is its word; outside these bounds it is refuted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.custody import VerifiedCustodyReceipt
from tallystick.evidence.keys import device_text
from tallystick.evidence.profile import Profile
from tallystick.verify._text import utc
from tallystick.verify.report import Record

# Clocks of gateways and validators are other people's clocks: so far they may differ and be right.
SLACK_MS = 120_000
TIMED = ("order", "within")
Log = tuple[bytes, bytes]  # device, epoch
Logged = Mapping[bytes, Mapping[Any, int]]


@dataclass(frozen=True)
class Window:
    """When something was made, by receipts; None where none is there."""

    after_ms: int | None
    before_ms: int | None

    def refutes(self, begin_ms: int, end_ms: int, *, ahead: bool = False) -> str | None:
        """Why nothing of begin..end can have been then; None where it can.

        ahead: it may speak of a time to come.
        """
        if self.after_ms is not None and end_ms < self.after_ms - SLACK_MS:
            return f"{utc(end_ms)}, and was made after {utc(self.after_ms)}, as a receipt shows"
        late = self.before_ms is not None and begin_ms > self.before_ms + SLACK_MS
        if late and self.before_ms is not None and not ahead:
            return f"{utc(begin_ms)}, and was made before {utc(self.before_ms)}, as a receipt shows"
        return None


@dataclass
class StatedTimes:
    """The bounds that a file's receipts give; `said` are the times that they refute."""

    checkpoints: Iterable[VerifiedCheckpoint]
    custody: Mapping[bytes, VerifiedCustodyReceipt]
    logged_s: Logged  # when a checkpoint or claim was logged at the latest, by digest or reference
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._heads: dict[Log, list[VerifiedCheckpoint]] = {}
        for head in self.checkpoints:
            self._heads.setdefault((head.device, head.epoch), []).append(head)
        for heads in self._heads.values():
            for head in heads:
                self._clock(head)

    def _clock(self, head: VerifiedCheckpoint) -> None:
        if head.wall is None:
            return
        time_ms, uncertainty_ms = head.wall
        window = Window(self._named_ms(head), self._over_ms(head))
        why = window.refutes(time_ms - uncertainty_ms, time_ms + uncertainty_ms)
        if why is not None:
            what = f"checkpoint at {head.size} of device {device_text(head.device)}"
            self.said.append(f"{what} states {why}")

    def claim(self, record: Record, profile: Profile | None) -> str | None:
        """What is wrong with the time of a claim that its profile's checks read; it is `said`."""
        body = record.body
        if not isinstance(body, Claim) or body.interval is None or profile is None:
            return None
        place = f"{body.role}.{body.claim}"
        if not _reads(profile, TIMED, place):
            return None
        begin_ms, end_ms, uncertainty_ms = body.interval
        why = self.window(record).refutes(
            begin_ms - uncertainty_ms,
            end_ms + uncertainty_ms,
            ahead=_reads(profile, ("exclusive",), place),  # a booking is of a time to come
        )
        if why is None:
            return None
        said = f"{record.name} states {why}"
        self.said.append(said)
        return said

    def window(self, record: Record) -> Window:
        """When a record was made."""
        heads = self._heads.get((record.device, record.epoch), [])
        after = [self._named_ms(head) for head in heads if head.size <= record.index]
        before = [self._over_ms(head) for head in heads if head.size > record.index]
        before += [at_s * 1000 + 999 for at_s in record.logged_s.values()]
        return Window(
            max((at for at in after if at is not None), default=None),
            min((at for at in before if at is not None), default=None),
        )

    def _named_ms(self, head: VerifiedCheckpoint) -> int | None:
        named = None if head.custody is None else self.custody.get(head.custody)
        same = named is not None and named.device == head.device
        return named.time_ms if same and named is not None else None

    def _over_ms(self, head: VerifiedCheckpoint) -> int | None:
        times = [at_s * 1000 + 999 for at_s in self.logged_s.get(head.digest, {}).values()]
        times += [
            one.time_ms
            for one in self.custody.values()
            if (one.device, one.epoch, one.to) == (head.device, head.epoch, head.size)
            and one.root == head.root
        ]
        return min(times, default=None)


def _reads(profile: Profile, kinds: tuple[str, ...], place: str) -> bool:
    for kind, _, parameters in profile.checks:
        if kind in kinds:
            for value in parameters.values():
                if value == place or (isinstance(value, list) and place in value):
                    return True
    return False
