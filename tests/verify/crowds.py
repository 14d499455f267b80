"""Random worlds where `custody` and `exclusive` have much to read: few devices and moments."""

from __future__ import annotations

import random

from tallystick.evidence.profile import Profile
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from verify.worlds import DEVICES, known, make_claim

TASKS = ("order-1", "order-2", "order-3", "order-4")
NAMES = {"giver": "released", "taker": "acquired"}
FIELDS = {"item": ["text", None, None, True], "bay": ["bytes", None, None, True]}
STATUSES = ["active"] * 12 + ["suspect", "compromised"]


def profile(rng: random.Random) -> Profile:
    """Custody of items, and bays that are granted once."""
    places = {"release": "giver.released", "acquire": "taker.acquired", "item": "item"}
    checks = [["custody", "chain", {**places, "origin": rng.random() < 0.5}]]
    for place in ("giver.released", "taker.acquired"):
        if rng.random() < 0.7:
            by, longest_ms = rng.choice(("anyone", "maker")), rng.choice((6, 20))
            parameters = {"grant": place, "resource": "bay", "longest_ms": longest_ms, "by": by}
            checks.append(["exclusive", f"alone-{len(checks)}", parameters])
    rng.shuffle(checks)
    roles = {"giver": [1, 1], "taker": [1, 2]}
    claims = {role: {name: FIELDS} for role, name in NAMES.items()}
    return Profile("p", 1, "acme", 1000, roles, claims, checks)


def claims(rng: random.Random, under: Profile, count: int) -> list[KnownClaim]:
    """Claims of several interactions, some of which rely on others."""
    made: dict[bytes, KnownClaim] = {}
    for _ in range(count):
        role = rng.choice(sorted(NAMES))
        devices = rng.sample(DEVICES[:4], rng.choice((2, 2, 2, 3)))
        device, *rest = devices if role == "giver" else devices[:2][::-1]
        parties = {"giver": [device], "taker": sorted(rest)}
        if role == "taker":
            parties = {"giver": rest, "taker": sorted([device, *devices[2:]])}
        interval = None
        if rng.random() < 0.95:
            begin = rng.randrange(100, 112)
            interval = [begin, begin + rng.choice((0, 1, 2, 3, 5, 8)), rng.choice((0, 0, 1, 2))]
        there = [one.reference for one in made.values()]
        fields = {"item": rng.choice(("a", "a", "a", "b")), "bay": rng.choice((b"1", b"1", b"2"))}
        if rng.random() < 0.03:
            fields["stray"] = "x"
        claim = make_claim(
            under.digest,
            parties,
            role,
            NAMES[role],
            fields,
            task=rng.choice(TASKS),
            namespace=rng.choice(["site-1"] * 20 + ["site-2"]),
            interval=interval,
            relied=rng.sample(there, min(len(there), rng.choice((0, 1, 1, 1, 2)))),
        )
        one = known(claim, device, index=rng.choice((1, 2)), status=rng.choice(STATUSES))
        made[one.reference] = one
    return list(made.values())


def inputs(rng: random.Random) -> PartySetInputs:
    """One party set of such a world, complete where the world allows it, and all other claims."""
    under = profile(rng)
    some = claims(rng, under, rng.choice((4, 8, 12)))
    own = rng.choice(some).claim
    assert own is not None
    mine = [one for one in some if one.claim is not None and one.claim.parties == own.parties]
    mine = [
        one
        for one in mine
        if one.claim is not None
        and one.claim.interaction_id() == own.interaction_id()
        and one.claim.namespace == own.namespace
    ]
    present = {(one.claim.role, one.device) for one in mine if one.claim is not None}
    for role, devices in own.parties.items():
        for device in devices:
            if (role, device) not in present and rng.random() < 0.9:
                cited = [o.reference for o in some if o.device == device]
                claim = make_claim(
                    under.digest,
                    own.parties,
                    role,
                    NAMES[role],
                    {"item": "a", "bay": b"1"},
                    task=str(own.interaction),
                    namespace=own.namespace,
                    interval=[rng.randrange(100, 112), 114, 1],
                    relied=rng.sample(cited, min(1, len(cited))),
                )
                mine.append(known(claim, device, index=3))
    others = [one for one in some if one not in mine]
    return PartySetInputs(
        *(under, own.namespace, own.interaction_id(), own.parties, mine, others),
        closed=rng.random() < 0.9,
        silence=(),
    )
