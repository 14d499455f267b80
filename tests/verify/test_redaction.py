"""Redacted claims: what is found without a body is `insufficient`, and never wrong."""

import random
from collections import Counter

from tallystick.evidence.finding import Finding
from tallystick.verify.inputs import PartySetInputs
from tallystick.verify.reconcile import find
from verify.worlds import random_inputs

WORLDS = 1_000


def redacted(inputs: PartySetInputs, rng: random.Random) -> PartySetInputs:
    """The same, some bodies not there: of claims of the set, and of others that checks use."""
    claims = [one._replace(claim=None) if rng.random() < 0.4 else one for one in inputs.claims]
    others = [one._replace(claim=None) if rng.random() < 0.2 else one for one in inputs.others]
    return inputs._replace(claims=claims, others=others)


def contradicted(finding: Finding) -> bool:
    return any(check.name == "once" and check.result == "fail" for check in finding.checks)


def readable(inputs: PartySetInputs) -> bool:
    return any(one.claim is not None for one in inputs.claims)


def test_without_bodies_nothing_is_matched_or_blamed_that_is_not_with_them() -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for seed in range(WORLDS):
        rng = random.Random(seed)
        inputs = random_inputs(rng)
        less = redacted(inputs, rng)
        if inputs.profile is None or not readable(less):
            continue
        full, part = find(inputs), find(less)
        if full.state == "pending":
            # A hash may stand for the claim that is missing, so less waits less: compare what is.
            full, part = find(inputs._replace(closed=True)), find(less._replace(closed=True))
        seen[full.state, part.state] += 1
        gone = {one.reference for one in less.claims if one.claim is None}
        used = {row[0] for row in part.claims}
        if part.state == "matched":
            # Of two claims for one slot one alone looks well: then the other's body is not there,
            # and its maker is blamed as soon as it comes.
            assert full.state == "matched" or contradicted(full), seed
            assert not used & gone, seed
        if part.state == "conflicting":
            assert full.state == "conflicting", seed
            whole = {one for check in full.checks for one in check.blamed}
            assert {one for check in part.checks for one in check.blamed} <= whole, seed
        if used & gone and part.state != "pending":
            # A body that a slot lacks leaves it insufficient, if nothing is contradicted anyway.
            assert part.state in {"insufficient", "conflicting"}, seed
        # Nobody is called absent whose claim is there as a hash.
        absent = {row[1] for row in part.missing} - {row[1] for row in full.missing}
        assert not absent & {one.device for one in less.claims if one.claim is None}, seed
    for pair in (
        ("matched", "insufficient"), ("conflicting", "insufficient"), ("matched", "matched"),
        ("conflicting", "conflicting"), ("one_sided", "insufficient"),
    ):  # fmt: skip
        assert seen[pair] >= 1, (pair, seen)
