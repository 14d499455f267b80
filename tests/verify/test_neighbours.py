"""`custody` and `exclusive`, one row of the specification after the other.

docs/reconciliation.md, sections 5.6 to 5.8. The naive implementation agrees on every case.
"""

from typing import Any

import pytest

from tallystick.evidence.finding import Finding, parse
from tallystick.evidence.profile import Profile
from tallystick.verify._text import duration_text
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.reconcile import find
from verify import naive, worlds
from verify.worlds import DEVICES, known, make_claim

A, B, C = DEVICES[:3]
PARTIES = {"giver": [A], "taker": [B]}
ITEM = {"item": ["text", None, None, True], "note": ["text", None, None, False]}
ROLES = {"giver": [1, 1], "taker": [1, 1]}
CLAIMS = {"giver": {"released": ITEM}, "taker": {"acquired": ITEM}}


def under(kind: str, parameters: dict[str, Any], many: int = 1) -> Profile:
    checks = [[kind, f"it-{n}", parameters] for n in range(many)]
    return Profile("p", 1, "acme", 1000, ROLES, CLAIMS, checks)


def chain(*, origin: bool = False) -> Profile:
    places = {"release": "giver.released", "acquire": "taker.acquired"}
    return under("custody", {**places, "item": "item", "origin": origin})


CHAIN, OPEN_CHAIN = chain(), chain(origin=True)


def said(
    profile: Profile, role: str, device: bytes, task: str = "order-1", **more: Any
) -> KnownClaim:
    name = {"giver": "released", "taker": "acquired"}[role]
    other = B if role == "giver" else A
    parties = {
        role: [device],
        ({"giver", "taker"} - {role}).pop(): [other if other != device else C],
    }
    status, index = more.pop("status", "active"), more.pop("index", 1)
    fields = {"item": more.pop("item", "pallet-7"), **more.pop("fields", {})}
    claim = make_claim(profile.digest, parties, role, name, fields, task=task, **more)
    return known(claim, device, status=status, index=index)


def finding(profile: Profile, given: KnownClaim, *others: KnownClaim, **more: Any) -> Finding:
    """On `given`, by giver A to taker B, who acquires the same item."""
    assert given.claim is not None
    taken = said(profile, "taker", B, interval=[0, 0, 0], item=given.claim.fields["item"])
    inputs = PartySetInputs(
        profile,
        worlds.NAMESPACE,
        given.claim.interaction_id(),
        PARTIES,
        more.pop("claims", [given, taken]),
        others,
        closed=True,
        silence=(),
    )
    found = find(inputs)
    assert found.encode() == naive.find(inputs)
    assert parse(found.encode()) == found
    return found


def told(found: Finding) -> tuple[str, str, list[bytes], list[bytes]]:
    """State, reason, who is blamed, and the claims of other interactions that were read."""
    check = found.checks[-1]
    beside = [row.claim for row in found.others]
    assert set(beside) <= set(found.used(check))
    return found.state, check.reason, check.blamed, beside


# --- custody -----------------------------------------------------------------------------------


def acquired(device: bytes = A, task: str = "order-0", **more: Any) -> KnownClaim:
    return said(more.pop("profile", CHAIN), "taker", device, task, **more)


def released(
    *cited: KnownClaim, task: str = "order-1", device: bytes = A, **more: Any
) -> KnownClaim:
    relied = [one.reference for one in cited]
    return said(more.pop("profile", CHAIN), "giver", device, task, relied=relied, **more)


GOOD = "The item was released by who acquired it."
NONE = "giver.released names no acquisition that is known here."


def test_an_item_is_released_by_who_acquired_it() -> None:
    got = acquired()
    found = finding(CHAIN, released(got), got)
    assert told(found) == ("matched", GOOD, [], [got.reference])
    assert found.checks[-1].values == []
    # The release, and what it ends: the taker's claim is none of this check's.
    assert len(found.checks[-1].used) == 2


def test_a_release_that_names_nothing_lacks_it_unless_items_may_begin() -> None:
    assert told(finding(CHAIN, released())) == ("insufficient", NONE, [], [])
    first = "giver.released names no acquisition: its maker is the first to keep the item."
    assert told(finding(OPEN_CHAIN, released(profile=OPEN_CHAIN))) == ("matched", first, [], [])


def test_what_is_not_known_here_is_not_known_to_be_another_thing() -> None:
    got = acquired()
    assert told(finding(CHAIN, released(got)))[:2] == ("insufficient", NONE)
    hidden = got._replace(claim=None)
    assert told(finding(CHAIN, released(got), hidden))[:2] == ("insufficient", NONE)
    # When its body comes, the finding is another one.
    assert told(finding(CHAIN, released(got), got, hidden))[:2] == ("matched", GOOD)


@pytest.mark.parametrize(
    "other",
    [
        # Of another namespace, another claim, another profile, or of this very interaction.
        acquired(namespace="site-2"),
        released(task="order-0"),
        acquired(profile=OPEN_CHAIN),
        acquired(task="order-1", index=7),
        # A device that is none of the claim's own parties made it.
        acquired()._replace(device=C),
    ],
)
def test_only_acquisitions_count(other: KnownClaim) -> None:
    assert told(finding(CHAIN, released(other), other))[:2] == ("insufficient", NONE)


def test_another_device_s_acquisition_fails_and_blames_who_released() -> None:
    got = acquired(C)
    state, reason, blamed, beside = told(finding(CHAIN, released(got), got))
    assert (state, reason) == (
        "conflicting",
        "giver.released ends the acquisition of another device.",
    )
    assert (blamed, beside) == ([A], [got.reference])


def test_another_item_s_acquisition_fails_and_shows_both() -> None:
    got = acquired(item="pallet-8")
    found = finding(CHAIN, released(got), got)
    state, reason, blamed, _ = told(found)
    assert (state, blamed) == ("conflicting", [A])
    assert reason == "giver.released ends the acquisition of another item."
    assert [value.value for value in found.checks[0].values] == ["pallet-7", "pallet-8"]


def test_more_than_one_acquisition_fails() -> None:
    both = [acquired(), acquired(task="order-00"), acquired(task="order-000")]
    state, reason, blamed, beside = told(finding(CHAIN, released(*both), *both))
    assert (state, blamed) == ("conflicting", [A])
    assert reason == "giver.released names more than one acquisition."
    assert beside == sorted(one.reference for one in both)[:2]


RIVAL = "Another release ends the acquisition that giver.released ends."


def test_two_releases_that_cite_one_acquisition_both_fail() -> None:
    got = acquired()
    ours, theirs = released(got), released(got, task="order-2")
    for own, rival in ((ours, theirs), (theirs, ours)):
        claim = own.claim
        assert claim is not None
        taken = said(CHAIN, "taker", B, str(claim.interaction))
        found = finding(CHAIN, own, got, rival, claims=[own, taken])
        state, reason, blamed, beside = told(found)
        assert (state, reason, blamed) == ("conflicting", RIVAL, [A])
        assert beside == sorted([got.reference, rival.reference])
        assert [value.claim for value in found.checks[0].values] == [
            own.reference,
            got.reference,
            rival.reference,
        ]


@pytest.mark.parametrize(
    "changes",
    [
        {"device": C},  # it fails there, and its maker is blamed there
        {"status": "compromised"},
        {"fields": {"stray": "x"}},
        {"namespace": "site-2"},
        {"task": "order-1", "index": 9},  # of this interaction: the same release, said again
    ],
)
def test_a_release_that_does_not_count_is_no_rival(changes: dict[str, Any]) -> None:
    got = acquired()
    rival = released(got, **{"task": "order-2", **changes})
    assert told(finding(CHAIN, released(got), got, rival))[:2] == ("matched", GOOD)


def test_of_many_rivals_the_next_one_is_named() -> None:
    got = acquired()
    some = sorted(
        (released(got, task=f"order-{n}") for n in range(2, 9)), key=lambda k: k.reference
    )
    for at, own in enumerate(some):
        claim = own.claim
        assert claim is not None
        taken = said(CHAIN, "taker", B, str(claim.interaction))
        rest = [one for one in some if one is not own]
        found = finding(CHAIN, own, got, *rest, claims=[own, taken])
        nearest = some[at + 1] if at + 1 < len(some) else some[-2]
        assert told(found)[3] == sorted([got.reference, nearest.reference])
        # The neighbours alone give the same bytes: an index need not give more.
        assert finding(CHAIN, own, got, nearest, claims=[own, taken]) == found


def test_an_acquisition_by_a_doubtful_key_cannot_be_used_and_a_good_one_beside_it_can() -> None:
    doubtful = acquired(status="compromised")
    got = acquired(task="order-00")
    release = released(doubtful, got)
    assert told(finding(CHAIN, release, doubtful))[:2] == (
        "insufficient",
        "The acquisition that giver.released names cannot be used.",
    )
    assert told(finding(CHAIN, release, doubtful, got)) == ("matched", GOOD, [], [got.reference])


# --- exclusive ---------------------------------------------------------------------------------

GRANT = {"grant": "giver.released", "resource": "item", "longest_ms": 100}
ALONE = under("exclusive", {**GRANT, "by": "anyone"})
OWN = under("exclusive", {**GRANT, "by": "maker"})
FREE = "No other grant of the same item that is known here overlaps."
TWICE = "Another grant of the same item overlaps giver.released."
PERHAPS = "Another grant of the same item may overlap giver.released."


def grant(
    interval: list[int] | None, task: str = "order-1", device: bytes = A, **more: Any
) -> KnownClaim:
    profile = more.pop("profile", ALONE)
    return said(profile, "giver", device, task, interval=interval, **more)


@pytest.mark.parametrize(
    ("ours", "theirs", "state", "reason"),
    [
        ([100, 150, 0], [150, 200, 0], "matched", FREE),  # who leaves and who enters do not meet
        ([100, 150, 0], [149, 200, 0], "conflicting", TWICE),
        ([100, 150, 5], [139, 200, 5], "conflicting", TWICE),
        ([100, 150, 5], [140, 200, 5], "unresolved", PERHAPS),
        ([100, 150, 5], [159, 200, 5], "unresolved", PERHAPS),
        ([100, 150, 5], [160, 200, 5], "matched", FREE),
        ([100, 150, 0], [120, 120, 0], "matched", FREE),  # it lasts no time
        ([120, 120, 0], [100, 150, 0], "matched", FREE),
        ([120, 120, 5], [100, 150, 0], "unresolved", PERHAPS),
        ([100, 190, 0], [100, 190, 0], "conflicting", TWICE),
    ],
)
def test_intervals(ours: list[int], theirs: list[int], state: str, reason: str) -> None:
    for one, two in ((ours, theirs), (theirs, ours)):
        found = finding(ALONE, grant(one), grant(two, "order-2", C))
        check = found.checks[0]
        assert (found.state, check.reason, check.blamed) == (state, reason, [])
        assert [value.value for value in check.values] == ([] if state == "matched" else [one, two])


def test_the_neighbours_are_named_where_nothing_overlaps() -> None:
    near = grant([20, 60, 0], "order-2", C), grant([200, 250, 0], "order-3", C)
    far = grant([10, 55, 0], "order-4", C), grant([201, 202, 0], "order-5", C)
    found = finding(ALONE, grant([101, 150, 0]), *near, *far)
    assert told(found) == ("matched", FREE, [], sorted(one.reference for one in near))
    assert found == finding(ALONE, grant([101, 150, 0]), *near)
    # Further away than a grant may last, nobody is a neighbour.
    found = finding(ALONE, grant([120, 150, 0]), *near, *far)
    assert told(found)[3] == sorted([near[1].reference])
    assert told(finding(ALONE, grant([100, 150, 0]), *near))[3] == [near[0].reference]


def test_a_long_grant_is_found_behind_short_ones() -> None:
    long, short = grant([10, 90, 0], "order-2", C), grant([40, 45, 0], "order-3", C)
    found = finding(ALONE, grant([60, 70, 0]), long, short)
    assert told(found) == ("conflicting", TWICE, [], [long.reference])


def test_a_doubtful_clock_hides_no_sure_overlap() -> None:
    vague, sure = grant([40, 50, 45], "order-2", C), grant([30, 80, 0], "order-3", C)
    found = finding(ALONE, grant([60, 70, 0]), vague, sure)
    assert told(found)[:3] == ("conflicting", TWICE, [])
    assert told(finding(ALONE, grant([60, 70, 0]), vague))[:2] == ("unresolved", PERHAPS)


def test_who_granted_twice_is_blamed() -> None:
    found = finding(ALONE, grant([100, 150, 0]), grant([100, 150, 0], "order-2"))
    assert told(found)[:3] == ("conflicting", TWICE, [A])


def test_where_a_resource_has_a_keeper_no_stranger_disturbs_it() -> None:
    ours, strange = (
        grant([100, 150, 0], profile=OWN),
        grant([100, 150, 0], "order-2", C, profile=OWN),
    )
    assert told(finding(OWN, ours, strange)) == ("matched", FREE, [], [])
    twice = grant([100, 150, 0], "order-2", profile=OWN)
    assert told(finding(OWN, ours, twice))[:3] == ("conflicting", TWICE, [A])


def test_nobody_blocks_a_resource_for_long() -> None:
    ours = grant([100, 150, 0])
    for endless in ([0, 10**9, 0], [0, 101, 0], [50, 148, 2], [0, 2**62, 0]):
        found = finding(ALONE, ours, grant(endless, "order-2", C))
        assert told(found) == ("matched", FREE, [], [])
        assert finding(ALONE, grant(endless), ours).others == []
    too_long = "giver.released lasts longer than 100 ms."
    assert told(finding(ALONE, grant([0, 101, 0])))[:3] == ("conflicting", too_long, [A])
    assert told(finding(ALONE, grant([0, 100, 0])))[0] == "matched"
    perhaps = "giver.released may last longer than 100 ms."
    assert told(finding(ALONE, grant([0, 98, 2])))[:2] == ("unresolved", perhaps)
    assert told(finding(ALONE, grant([0, 96, 2])))[:2] == ("matched", FREE)


def test_a_grant_without_an_interval_lacks_it() -> None:
    lacks = "giver.released has no interval."
    ours = grant([100, 150, 0])
    assert told(finding(ALONE, grant(None), ours)) == ("insufficient", lacks, [], [])
    assert told(finding(ALONE, grant([2**62, 2**62, 1]), ours))[:2] == ("insufficient", lacks)
    assert told(finding(ALONE, ours, grant(None, "order-2")))[:2] == ("matched", FREE)


@pytest.mark.parametrize(
    "changes",
    [
        {"item": "pallet-8"},
        {"namespace": "site-2"},
        {"status": "suspect"},
        {"fields": {"stray": "x"}},
        {"task": "order-1", "index": 9},
        {"profile": OWN},
    ],
)
def test_a_grant_that_does_not_count_is_no_neighbour(changes: dict[str, Any]) -> None:
    other = grant([100, 150, 0], **{"task": "order-2", **changes})
    found = finding(ALONE, grant([100, 150, 0]), other)
    assert told(found) == ("matched", FREE, [], [])


# --- what cannot be read -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("custody", {"origin": 1}),
        ("custody", {"item": "note"}),
        ("custody", {"item": 7}),
        ("custody", {"acquire": "giver.released"}),
        ("custody", {"acquire": "giver.lost"}),
        ("custody", {"stray": 1}),
        ("exclusive", {"resource": "note"}),
        ("exclusive", {"by": "all"}),
        ("exclusive", {"by": []}),
        ("exclusive", {"longest_ms": 0}),
        ("exclusive", {"longest_ms": True}),
        ("exclusive", {"longest_ms": 10**12}),
        ("exclusive", {"grant": 7}),
        ("exclusive", {"stray": 1}),
    ],
)
def test_parameters_that_nobody_can_read(kind: str, change: dict[str, Any]) -> None:
    base = (CHAIN if kind == "custody" else ALONE).checks[0][2]
    for parameters in ({**base, **change}, {key: base[key] for key in list(base)[1:]}):
        profile = under(kind, parameters)
        own = said(profile, "giver", A, interval=[1, 2, 0])
        inputs = PartySetInputs(
            *(profile, worlds.NAMESPACE, worlds.ORDER, PARTIES, [own], ()), closed=True, silence=()
        )
        found = find(inputs)
        assert found.state == "insufficient"
        assert found.checks[0].reason == "The parameters of the check it-0 cannot be read."


def test_a_role_of_many_makes_no_exclusive_grants_and_a_fifth_check_cannot_be_read() -> None:
    def reasons(profile: Profile) -> list[str]:
        own = said(profile, "giver", A, interval=[1, 2, 0])
        return [check.reason for check in finding(profile, own).checks]

    parameters = ALONE.checks[0][2]
    assert reasons(under("exclusive", parameters, 4)) == [FREE] * 4
    assert reasons(under("exclusive", parameters, 5)) == [
        "The parameters of the check it-4 cannot be read."
    ]
    for checks in (ALONE.checks, CHAIN.checks):
        crowd = Profile("p", 1, "acme", 1000, {**ROLES, "giver": [1, 5]}, CLAIMS, checks)
        own = said(crowd, "giver", A, interval=[1, 2, 0])
        inputs = PartySetInputs(
            *(crowd, worlds.NAMESPACE, worlds.ORDER, PARTIES, [own], ()), closed=True, silence=()
        )
        assert find(inputs).checks[0].reason == "The parameters of the check it-0 cannot be read."


def test_the_largest_finding_fits_a_log_entry() -> None:
    """All bounds at once: 32 slots, 28 of them contradicted, 16 checks, 64 neighbours."""
    devices = sorted(worlds.device_id(str(n)) for n in range(32))
    few, many, name = "g" * 64, "m" * 64, "c" * 64
    fields = {f"{n}" * 64: ["text", None, None, True] for n in range(4)}
    claims = {few: {name: fields}, many: {name: fields}}
    checks: list[list[Any]] = []
    for n, field in enumerate(fields):
        parameters = {"grant": f"{few}.{name}", "resource": field, "longest_ms": 100}
        checks.append(["exclusive", f"{n:064}", {**parameters, "by": "anyone"}])
    places = [f"{role}.{name}.{'0' * 64}" for role in (few, many)]
    checks += [["agree", f"{n:064}", {"fields": places}] for n in range(4, 16)]
    profile = Profile("p" * 64, 1, "acme", 1000, {few: [1, 4], many: [1, 28]}, claims, checks)
    parties = {few: devices[:4], many: devices[4:]}

    def made(role: str, device: bytes, values: list[str], task: str, when: list[int]) -> KnownClaim:
        given = dict(zip(fields, values, strict=True))
        claim = make_claim(profile.digest, parties, role, name, given, task=task, interval=when)
        return known(claim, device, index=len(values[0]))

    own = [
        made(few, device, [f"{number}-{n}" + "x" * 120 for n in range(4)], "order-1", [100, 150, 9])
        for number, device in enumerate(devices[:4])
    ]
    own += [
        made(many, device, [text] * 4, "order-1", [1, 2, 0])
        for device in devices[4:]
        for text in ("x" * 200, "y" * 201)
    ]
    # For each grant and resource: before and after, surely and at most.
    others = [
        made(
            few,
            devices[number],
            [f"{number}-{k}" + "x" * 120 if k == n else f"{number}{n}{k}{at}" for k in range(4)],
            f"order-{number}-{n}-{at}",
            when,
        )
        for number in range(4)
        for n in range(4)
        for at, when in enumerate(([90, 120, 0], [70, 115, 15], [110, 130, 0], [130, 140, 30]))
    ]
    given = PartySetInputs(
        *(profile, worlds.NAMESPACE, worlds.ORDER, parties, own, others), closed=True, silence=()
    )
    interaction = own[0].claim.interaction_id() if own[0].claim else b""
    found = find(given._replace(interaction=interaction))
    assert found.encode() == naive.find(given._replace(interaction=interaction))
    assert (found.state, len(found.claims), len(found.others)) == ("conflicting", 60, 64)
    assert len(found.encode()) < 36_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        *((0, "0 ms"), (1, "1 ms"), (1500, "1500 ms"), (2000, "2 s"), (90_000, "90 s")),
        *((120_000, "2 min"), (5_400_000, "90 min"), (7_200_000, "2 h")),
    ],
)
def test_a_duration_is_written_as_a_profile_writes_it(ms: int, text: str) -> None:
    assert duration_text(ms) == naive.lasting(ms) == text


def test_a_built_in_reason_tells_of_the_first_and_counts_the_others() -> None:
    ours = grant([100, 150, 0])
    taken = said(ALONE, "taker", B, interval=[0, 0, 0])
    again = [grant([100, 150, 0], item="x", index=2), said(ALONE, "taker", B, item="x", index=2)]
    found = finding(ALONE, ours, claims=[ours, taken, *again])
    assert found.checks[0].reason == (
        "giver.released was claimed in two ways by one device (and 1 more)."
    )
    stolen = taken._replace(status="suspect")
    found = finding(ALONE, ours, claims=[ours, stolen])
    assert found.checks[0].reason == "taker.acquired was made under a key that is suspect."
    found = finding(ALONE, ours, claims=[ours._replace(claim=None), taken])
    assert found.checks[0].reason == "The body of giver.released is not here."
    odd = grant([100, 150, 0], fields={"stray": "x"})
    found = finding(ALONE, odd, claims=[odd, taken])
    assert found.checks[0].reason == "The field stray of giver.released does not fit the profile."
