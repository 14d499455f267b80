"""The index gives the engine the neighbours that it would pick from all claims there are."""

import os
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.evidence.finding import Finding
from tallystick.verify.inputs import KnownClaim, PartySetInputs, SetKey
from tallystick.verify.partysets import Book
from tallystick.verify.reconcile import find
from verify import crowds, naive, worlds

# docs/reconciliation.md says how to ask for more.
INTERACTIONS = int(os.environ.get("TALLYSTICK_RANDOM_INTERACTIONS", "4000"))
# A thousand at a time: each stays far below the time that a test may take.
BLOCKS = max(4, INTERACTIONS // 1000)


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_naive_implementation_agrees(block: int) -> None:
    states: Counter[str] = Counter()
    results: Counter[tuple[str, str]] = Counter()
    for seed in range(block, INTERACTIONS, BLOCKS):
        rng = random.Random(seed)
        # Three of four of all kinds of checks, one of neighbours that crowd each other.
        given_ = crowds.inputs(rng) if seed // BLOCKS % 4 == 0 else worlds.random_inputs(rng)
        finding = find(given_)
        assert finding.encode() == naive.find(given_), seed
        states[finding.state] += 1
        results.update((check.check, check.result) for check in finding.checks)
    assert set(states) == {
        *("matched", "conflicting", "one_sided", "insufficient", "unresolved", "pending")
    }
    for kind in ("agree", "custody", "exclusive"):
        assert all(results[kind, result] for result in ("pass", "fail", "not_evaluated")), kind


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_order_duplication_and_delay_change_nothing(rng: random.Random) -> None:
    given_ = crowds.inputs(rng)
    expected = find(given_).encode()
    assert naive.find(given_) == expected
    for _ in range(3):
        assert find(worlds.shuffled(given_, rng)).encode() == expected


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_what_a_finding_names_is_all_that_it_needs(rng: random.Random) -> None:
    """Who recomputes a verdict has the claims that it names, and no others (section 5.8)."""
    given_ = crowds.inputs(rng) if rng.random() < 0.7 else worlds.random_inputs(rng)
    finding = find(given_)
    used = {row.claim for row in finding.others}
    pool = [*given_.others, *given_.claims]
    others = [one for one in pool if one.reference in used]
    assert find(given_._replace(others=others)).encode() == finding.encode()
    for check in finding.checks:
        assert set(finding.used(check)) <= used | {row.claim for row in finding.claims}


def everything(book: Book) -> dict[SetKey, Finding]:
    return {key: find(book.inputs(key)) for key in book.sets}


def from_all(book: Book, known: list[KnownClaim]) -> dict[SetKey, bytes]:
    """By the naive implementation, which is given every claim of every other set."""
    found = {}
    for key in book.sets:
        given_ = book.inputs(key)
        own = set(book.sets[key].claims)
        others = [one for one in known if one.reference not in own]
        found[key] = naive.find(PartySetInputs(*given_[:5], others, *given_[6:]))
    return found


@settings(max_examples=60)
@given(st.randoms(use_true_random=False))
def test_what_is_touched_is_all_that_changes(rng: random.Random) -> None:
    """Claims in any order, and keys that turn out bad: only what is touched is made again."""
    under = crowds.profile(rng)
    some = crowds.claims(rng, under, rng.choice((6, 14, 20)))
    rng.shuffle(some)
    book = Book()
    late = rng.random() < 0.3
    if not late:
        book.add_profile(under)
    known: dict[bytes, KnownClaim] = {}
    findings: dict[SetKey, Finding] = {}
    for at, one in enumerate(some):
        touched = set(book.add(one, at, at))
        known[one.reference] = one
        if late and at == len(some) // 2:
            touched |= set(book.add_profile(under))
        if rng.random() < 0.1:
            device, status = rng.choice(some).device, rng.choice(("active", "compromised"))
            touched |= set(book.restate(device, status))
            for other in known.values():
                if other.device == device:
                    known[other.reference] = other._replace(status=status)
        for key in touched:
            book.close(key)
            findings[key] = find(book.inputs(key))
    assert findings == everything(book)
    if not late or len(some) > 1:
        assert {key: one.encode() for key, one in findings.items()} == from_all(
            book, list(known.values())
        )


def test_of_many_releases_each_has_one_neighbour() -> None:
    """The next one by reference, and for the last one the one before it."""
    rng = random.Random(2)
    under = crowds.profile(rng)
    a, b = worlds.DEVICES[:2]

    def made(role: str, device: bytes, task: str, relied: list[bytes]) -> KnownClaim:
        parties = {"giver": [a], "taker": [b]} if role == "giver" else {"giver": [b], "taker": [a]}
        fields = {"item": "a", "bay": b"1"}
        name = crowds.NAMES[role]
        claim = worlds.make_claim(
            under.digest, parties, role, name, fields, task=task, relied=relied
        )
        return worlds.known(claim, device)

    got = made("taker", a, "order-0", [])
    # All name the same thing beside it, which is no acquisition: it makes nobody a rival.
    common = made("giver", a, "order-00", [])
    some = [made("giver", a, f"order-{n}", [got.reference, common.reference]) for n in range(1, 9)]
    book = Book()
    book.add_profile(under)
    for at, one in enumerate([common, *some[:-1]]):
        assert len(book.add(one, at, at)) == 1
    assert len(book.add(got, 9, 9)) == 8
    assert len(book.add(some[-1], 10, 10)) == 8
    some.sort(key=lambda one: one.reference)
    for at, one in enumerate(some):
        assert one.claim is not None
        key = next(key for key, kept in book.sets.items() if one.reference in kept.claims)
        book.close(key)
        nearest = some[at + 1] if at + 1 < len(some) else some[-2]
        others = {row.claim for row in find(book.inputs(key)).others}
        assert others == {got.reference, nearest.reference}


def test_a_claim_far_away_costs_nothing() -> None:
    """However many were granted before, one reads what begins around it and no more."""
    rng = random.Random(1)
    under = crowds.profile(rng)
    claims = crowds.claims(rng, under, 60)
    book = Book()
    book.add_profile(under)
    for at, one in enumerate(claims):
        book.add(one, at, at)
    for key in book.sets:
        given_ = book.inputs(key)
        picked = {row.claim for row in find(given_).others}
        assert picked <= {one.reference for one in given_.others}
        # Of each claim: two neighbours in two ways for each check, an acquisition and a rival.
        assert len(picked) <= 10 * len(list(given_.claims))
