"""The bookkeeping gives the engine the same inputs in whatever order claims arrive."""

import random
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.evidence.number import from_text
from tallystick.verify import profiles
from tallystick.verify.inputs import KnownClaim, SetKey, TimeEvidence
from tallystick.verify.partysets import UNINVITED_MAX, Book, set_key, uninvited
from tallystick.verify.reconcile import find
from verify import worlds
from verify.worlds import DEVICES, known, make_claim

SIGHTING = profiles.load("sighting")
LOW, HIGH, STRANGER = DEVICES[:3]
PARTIES = {"high": [HIGH], "low": [LOW]}


def seen(role: str, range_m: str = "2.1", **more: Any) -> KnownClaim:
    parties = more.pop("parties", PARTIES)
    device = more.pop("device", parties[role][0])
    index = more.pop("index", 1)
    fields = {"range_m": from_text(range_m), "time_s": 7}
    claim = make_claim(SIGHTING.digest, parties, role, "seen", fields, **more)
    return known(claim, device, index=index)


def book(*claims: KnownClaim) -> Book:
    made = Book()
    made.add_profile(SIGHTING)
    for at, claim in enumerate(claims):
        made.add(claim, at, 1000 + at)
    return made


def key_of(claim: KnownClaim) -> SetKey:
    assert claim.claim is not None
    return set_key(claim.claim)


def test_a_set_is_found_due_once_and_closed() -> None:
    low = seen("low")
    made = book(low)
    key = key_of(low)
    assert find(made.inputs(key)).state == "pending"
    assert list(made.due(1000 + SIGHTING.deadline_ms - 1)) == []
    due = list(made.due(1000 + SIGHTING.deadline_ms))
    assert [one.key for one in due] == [key]
    assert list(made.due(10**12)) == []
    made.close(key)
    assert find(made.inputs(key)).state == "one_sided"
    assert made.add(seen("high"), 9, 10**6) == [key]
    assert find(made.inputs(key)).state == "matched"


def test_deadlines_begin_when_the_profile_is_known() -> None:
    low = seen("low")
    made = Book()
    made.add(low, 0, 1000)
    assert find(made.inputs(key_of(low))).state == "insufficient"
    assert list(made.due(10**12)) == []
    assert made.add_profile(SIGHTING) == [key_of(low)]
    assert made.add_profile(SIGHTING) == []
    assert len(list(made.due(10**12))) == 1


def test_a_repeated_claim_touches_nothing() -> None:
    low = seen("low")
    made = book(low)
    assert made.add(low, 5, 5000) == []


def test_a_stranger_is_listed_and_changes_nothing() -> None:
    """A23."""
    low, high = seen("low"), seen("high")
    other = {"high": [STRANGER], "low": [LOW]}
    squat = seen("high", parties=other)
    made = book(low, high)
    before = find(made.inputs(key_of(low)))
    assert made.add(squat, 3, 3000) == [key_of(squat)]
    assert find(made.inputs(key_of(low))) == before
    assert made.uninvited(key_of(low)) == [key_of(squat).parties]
    assert made.uninvited(key_of(squat)) == [key_of(low).parties]


def test_a_claim_under_two_maps_touches_both_sets() -> None:
    low, high = seen("low"), seen("high")
    twice = seen("low", parties={"high": [STRANGER], "low": [LOW]}, index=8)
    made = book(low, high)
    assert set(made.add(twice, 3, 3000)) == {key_of(low), key_of(twice)}
    for key in (key_of(low), key_of(twice)):
        made.close(key)
        finding = find(made.inputs(key))
        assert finding.state == "conflicting"
        assert finding.checks[0].blamed == [LOW]


def test_a_claim_without_a_body_is_found_by_who_relied_on_it() -> None:
    high = seen("high")
    low = seen("low", relied=[high.reference])
    hidden = high._replace(claim=None)
    made = book(low)
    key = key_of(low)
    assert made.add(hidden, 1, 1001) == [key]
    assert find(made.inputs(key)).state == "insufficient"
    assert set(made.add(high, 2, 1002)) == {key}
    assert find(made.inputs(key)).state == "matched"
    # Somebody else's hidden claim is none of ours.
    foreign = seen("high", parties={"high": [STRANGER], "low": [LOW]})._replace(claim=None)
    assert made.add(foreign, 3, 1003) == []


def test_a_key_that_becomes_doubtful_touches_its_sets() -> None:
    low, high = seen("low"), seen("high")
    made = book(low, high)
    assert made.restate(HIGH, "compromised") == [key_of(low)]
    assert find(made.inputs(key_of(low))).state == "insufficient"
    assert made.restate(STRANGER, "compromised") == []


def test_silence_is_kept_as_it_was_first_found() -> None:
    low = seen("low")
    made = book(low)
    key = key_of(low)
    due_ms = 1000 + SIGHTING.deadline_ms
    made.hear(TimeEvidence(HIGH, bytes(32), bytes(32), due_ms))
    made.close(key)
    assert find(made.inputs(key)).missing[0].absence == "unheard"
    made.hear(TimeEvidence(HIGH, b"\x01" * 32, bytes(32), due_ms + 5))
    silent = find(made.inputs(key))
    assert silent.missing[0].absence == "silent"
    made.hear(TimeEvidence(HIGH, b"\x02" * 32, bytes(32), due_ms + 50))
    assert find(made.inputs(key)) == silent


def test_the_list_of_uninvited_sets_is_bounded() -> None:
    hashes = [bytes([n]) * 32 for n in range(99)]
    assert uninvited(hashes[0], reversed(hashes)) == hashes[1 : 1 + UNINVITED_MAX]


@settings(max_examples=60)
@given(st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_finding(rng: random.Random) -> None:
    given_ = worlds.random_inputs(rng)
    known = [one for one in [*given_.claims, *given_.others] if one.claim is not None]
    # A made-up world may hold a claim twice, held in two ways; a log holds it once.
    claims = list({one.reference: one for one in known}.values())
    findings: list[dict[SetKey, bytes]] = []
    for _ in range(3):
        made = Book()
        if given_.profile is not None:
            made.add_profile(given_.profile)
        rng.shuffle(claims)
        for at, one in enumerate(claims):
            made.add(one, at, at)
        for key in made.sets:
            made.close(key)
        findings.append({key: find(made.inputs(key)).encode() for key in made.sets})
    assert findings[0] == findings[1] == findings[2]


def test_the_cost_of_a_claim_does_not_grow_with_open_interactions() -> None:
    claims = [seen("low", task=f"order-{n}") for n in range(12_000)]
    made = book()

    def cost(some: list[KnownClaim]) -> float:
        begin = time.perf_counter()
        for at, one in enumerate(some):
            made.add(one, at, at)
        return (time.perf_counter() - begin) / len(some)

    first = min(cost(claims[at : at + 500]) for at in range(0, 2000, 500))
    for one in claims[2000:10_000]:
        made.add(one, 0, 5000)
    last = min(cost(claims[at : at + 500]) for at in range(10_000, 12_000, 500))
    assert last < 4 * first
