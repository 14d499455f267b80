"""What a finding is computed from, as the engine takes it (docs/reconciliation.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tallystick.evidence.claim import Claim
from tallystick.evidence.profile import Profile

# How far ahead of a validator's a gateway's clock may be for its custody receipts to show silence.
SKEW_MS_MAX = 10_000
GOOD_STATUSES = frozenset(("active", "rotated", "retired", "lost", "prior"))


class KnownClaim(NamedTuple):
    """A claim as a validator knows it; `claim` is None when its body is not there.

    `reference`, `device` and `leaf` are 32 bytes, `epoch` 8; `status` is the key's status at the
    claim (section 3.3), `custody` 0 software to 3 secure element.
    """

    reference: bytes
    device: bytes
    epoch: bytes
    index: int  # type: ignore[assignment]  # the protocol's name, above a method of tuples
    leaf: bytes
    claim: Claim | None
    status: str
    custody: int


class SetKey(NamedTuple):
    """What the claims of one party set share; `parties` is the hash of the map."""

    namespace: str
    interaction: bytes
    profile: bytes
    parties: bytes


class TimeEvidence(NamedTuple):
    """A device's logged checkpoint and the custody receipt, dated `time_ms`, that it names."""

    device: bytes
    checkpoint: bytes
    receipt: bytes
    time_ms: int


class PartySetInputs(NamedTuple):
    """One party set and what bears on it.

    `claims` are those of the set and those without a body that a claim of the set relied on;
    `others` are claims of other party sets and interactions; `silence` is time evidence dated
    after the set's deadline.  Order and repetition mean nothing anywhere.
    """

    profile: Profile | None
    namespace: str
    interaction: bytes
    parties: Mapping[str, list[bytes]]
    claims: Iterable[KnownClaim]
    others: Iterable[KnownClaim]
    closed: bool
    silence: Iterable[TimeEvidence]
