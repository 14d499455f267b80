"""What proofs of misbehaviour are read with: claims by reference, and what statements say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import leaf as leaves
from tallystick.evidence._proofs import Proof
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.digest import sha256
from tallystick.evidence.half import Half
from tallystick.evidence.headproofs import Equivocation, TwoStories
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.keys import b64u
from tallystick.evidence.verdict import Verdict
from tallystick.evidence.verdictproofs import Premature
from tallystick.verify._text import printable, utc
from tallystick.verify.report import Proven

# Nobody but validators can tell: a credential that stops before its end verifies.
REVOKED = "that no key of it was revoked as compromised, which a file may leave out"


def by_reference(halves: Iterable[Half]) -> dict[bytes, Half]:
    """Halves by the references of their claims."""
    # A reference binds maker, place and body, so no signature is needed to know whose body it is.
    found = {}
    for half in halves:
        head = checkpoints.parse(half.checkpoint)
        leaf = leaves.leaf(half.salt, half.record)
        found[claim_reference(head.device, head.epoch, half.index, leaf)] = half
    return found


def inside(proof: TwoStories | Equivocation) -> bytes:
    """The root that the second head's tree has at the size of the first."""
    root: bytes = proof.second.root if proof.inside is None else proof.inside[0]
    return root


def short(root: bytes) -> str:
    """The first bytes of a root, to tell it from another."""
    return root[:6].hex() + "\u2026"


def head_says(head: Checkpoint) -> str:
    """What a device's head says."""
    counter = "" if head.counter is None else f", counter {head.counter}"
    return (
        f"it signed {head.size} records of epoch {b64u(head.epoch)}, {head.claims} of them claims, "
        f"in boot {head.boot} at {head.uptime_ms} ms{counter}"
    )


def closing_says(proof: Premature) -> tuple[str, str]:
    """What a closing says, and what the log's times say."""
    closing = proof.closing
    where = printable(f"interaction {b64u(closing.interaction)} in {closing.namespace}")
    begin = f"which it had logged at {utc(proof.first_ms)} or later"
    return (
        f"its log closes {where} at {utc(proof.closed_ms)}",
        f"it names a deadline {closing.deadline_ms} ms after the first claim, {begin}",
    )


def verdict_says(verdict: Verdict) -> str:
    """What a verdict says."""
    finding = verdict.finding
    where = f"interaction {b64u(finding.interaction)} in {finding.namespace}"
    return printable(f"at {utc(verdict.time_ms)} it found {where} {finding.state}")


def differing(one: Any, other: Any) -> str:
    """Of two findings of one state: the first check that came out otherwise."""
    if one.state != other.state:
        return ""
    theirs = {check.name: check for check in other.checks}
    for check in one.checks:
        known = theirs.get(check.name)
        if known is None or (known.result, known.blamed) != (check.result, check.blamed):
            said = "nothing" if known is None else known.result
            return printable(f", with {check.name} {check.result} where it says {said}")
    return ", with other claims or other parts missing"


def proven(
    proof: Proof,
    accused: list[bytes],
    who: str,
    says: tuple[str, str],
    *not_shown: str,
    about: tuple[bytes, ...] = (),
) -> Proven:
    """A proof that holds, as a report has it."""
    named = tuple(accused)
    if named:
        not_shown = (*not_shown, REVOKED)
    return Proven(proof.NAME, named, about or named, who, says, not_shown, sha256(proof.encode()))
