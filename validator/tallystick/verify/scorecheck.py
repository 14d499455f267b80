"""Checking a score that somebody signed: who signed, and that the logs give its numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick.evidence.errors import CouldNotCheck, Unverified
from tallystick.evidence.score import Score
from tallystick.verify.logcopy import LogCopy
from tallystick.verify.policy import Policy
from tallystick.verify.report import Proven
from tallystick.verify.scoring import score as compute


def scored_again(made: Score, logs: Sequence[LogCopy], proofs: Iterable[Proven] = ()) -> None:
    """None when these logs give the score; they may have grown since.

    CouldNotCheck where a log or proof that it names is not there, Unverified("tampered") where
    another score comes out or a log has another root at the size that it names.
    """
    by_origin = {log.origin: log for log in logs}
    then = []
    for row in made.logs:
        log = by_origin.get(row.origin)
        if log is None or log.size < row.size:
            raise CouldNotCheck(
                "truncated", f"the log {row.origin} is not here as far as {row.size}"
            )
        cut = log if log.size == row.size else log.at(row.size)
        if cut.note.root != row.root:
            raise Unverified("tampered", f"the log {row.origin} has another root at {row.size}")
        then.append(cut)
    wanted = set(made.proofs)
    counted = [one for one in proofs if one.digest in wanted]
    if len({one.digest for one in counted}) < len(wanted):
        raise CouldNotCheck("truncated", "the score counts proofs that are not here")
    again = compute(then, made.from_ms, made.to_ms, counted)
    for name in ("validators", "gateways"):
        ours, theirs = getattr(again, name), getattr(made, name)
        for row in theirs:
            if row not in ours:
                raise Unverified("tampered", f"the logs do not give this of {name}: {row}")
        if ours != theirs:
            raise Unverified("tampered", f"the score leaves out {name} that the logs show")
    if again.payload() != made.payload():
        raise Unverified("tampered", "the logs do not give this score")


def check_score(made: Score, policy: Policy) -> str:
    """Who signed a score, in words; Unverified when a key of that name did not."""
    keys = [policy.trust.roots.get(made.iss)]
    keys += [one.key for one in policy.trust.validators if one.name == made.iss]
    for key in keys:
        if key is not None and key.kid() == made.received().kid:
            made.verify(key)
            return f"by {made.iss}"
    raise CouldNotCheck("wrong-key", f"the policy has no key by which {made.iss} signed the score")
