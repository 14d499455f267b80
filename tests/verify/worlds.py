"""Random party sets for the tests of reconciliation: small worlds, so that things collide."""

from __future__ import annotations

import random
from typing import Any

from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.ids import claim_reference
from tallystick.evidence.number import Dec, from_scaled
from tallystick.evidence.profile import Profile
from tallystick.verify.inputs import KnownClaim, PartySetInputs, TimeEvidence

DEVICES = [sha256(b"device %d" % number) for number in range(6)]
NAMESPACE = "site-1"
ORDER = sha256(b"order-1")[:16]
STATUSES = ["active"] * 12 + ["rotated", "retired", "lost", "prior", "suspect", "compromised"]
OPERATORS = ("<", "<=", "=", "!=", ">=", ">")


def device_id(text: str) -> bytes:
    return sha256(b"device " + text.encode())


def make_claim(
    profile: bytes,
    parties: dict[str, list[bytes]],
    role: str,
    name: str,
    fields: dict[str, Any],
    constraints: dict[str, list[Any]] | None = None,
    *,
    uptime_ms: int = 1000,
    task: str = "order-1",
    namespace: str = NAMESPACE,
    relied: list[bytes] | None = None,
    interval: list[int] | None = None,
) -> Claim:
    return Claim(
        uptime_ms,
        namespace,
        task,
        profile,
        role,
        name,
        fields,
        constraints or {},
        parties,
        interval,
        sorted(set(relied or [])),
    )


def known(
    claim: Claim, device: bytes, *, index: int = 1, status: str = "active", custody: int = 0
) -> KnownClaim:
    leaf = sha256(claim.encode() + device)
    epoch = bytes(8)
    reference = claim_reference(device, epoch, index, leaf)
    return KnownClaim(reference, device, epoch, index, leaf, claim, status, custody)


def _random_checks(
    rng: random.Random, claims: dict[str, Any], places: dict[str, list[str]]
) -> list[list[Any]]:
    checks: list[list[Any]] = []
    for field, named in places.items():
        if rng.random() < 0.8:
            some = rng.sample(named, rng.randint(1, len(named)))
            parameters: dict[str, Any] = {"fields": some}
            if field in "nv" and rng.random() < 0.7:
                key = rng.choice(("within", "within_rel"))
                parameters[key] = from_scaled(rng.choice((0, 25, 100)), -2)
            checks.append(["agree", f"agree-{field}", parameters])
    if rng.random() < 0.5:
        checks.append(["limit", "limit-n", {"fields": rng.sample(places["n"], 1)}])
    whole = [f"{role}.{name}" for role, names in claims.items() for name in names]
    if len(whole) > 1 and rng.random() < 0.3:
        first, then = rng.sample(whole, 2)
        checks.append(["order", "in-turn", {"first": first, "then": then}])
    if rng.random() < 0.3:
        some = rng.sample(whole, rng.randint(1, len(whole)))
        checks.append(["within", "soon", {"claims": some, "duration_ms": rng.choice((0, 5, 20))}])
    if rng.random() < 0.3:
        field = rng.choice(sorted(places))
        parameters = {"fields": rng.sample(places[field], rng.randint(1, len(places[field])))}
        if field in "nv" and rng.random() < 0.7:
            parameters[rng.choice(("within", "within_rel"))] = from_scaled(rng.choice((0, 100)), -2)
        checks.append(["quorum", "most", {**parameters, "at_least": rng.choice((1, 2, 3))}])
    checks += _neighbourly_checks(rng, claims)
    if rng.random() < 0.05:
        checks.append(["order", "unread", {"first": "giver.said", "then": "giver.said"}])
    rng.shuffle(checks)
    return checks


def _neighbourly_checks(rng: random.Random, claims: dict[str, Any]) -> list[list[Any]]:
    # Where each claim names something: an item, or what is granted.
    naming = [
        (f"{role}.{name}", field)
        for role, names in claims.items()
        for name, fields in names.items()
        for field in "tb"
        if field in fields and fields[field][3]
    ]
    checks: list[list[Any]] = []
    if naming and rng.random() < 0.5:
        place, field = rng.choice(naming)
        many = rng.choice((1, 1, 1, 1, 1, 1, 1, 2, 5))
        for n in range(many):
            parameters = {"grant": place, "resource": field, "longest_ms": rng.choice((4, 12, 40))}
            parameters["by"] = rng.choice(("anyone", "maker"))
            checks.append(["exclusive", f"alone-{n}", parameters])
    pairs = [(a, b, f) for a, f in naming for b, g in naming if f == g and a != b]
    if pairs and rng.random() < 0.6:
        a, b, field = rng.choice(pairs)
        parameters = {"release": a, "acquire": b, "item": field, "origin": rng.random() < 0.3}
        checks.append(["custody", "chain", parameters])
    return checks


def random_profile(rng: random.Random) -> Profile:
    """One or two roles, one or two claims each; checks of every kind."""
    roles: dict[str, list[int]] = {"giver": [1, rng.choice((1, 2))]}
    if rng.random() < 0.9:
        least = rng.choice((0, 1, 1, 1))
        roles["receiver"] = [least, max(least, rng.choice((1, 2, 3)))]
    if rng.random() < 0.2:
        roles["observer-of-a-long-name-indeed"] = [0, 2]
    unit = rng.choice((None, "m"))
    claims: dict[str, Any] = {}
    places: dict[str, list[str]] = {}
    for role in roles:
        claims[role] = {}
        for name in ["said"] if rng.random() < 0.8 else ["said", "also-said"]:
            fields: dict[str, Any] = {}
            for field, kind in (("n", "number"), ("v", "numbers"), ("t", "text"), ("b", "bytes")):
                if field == "n" or rng.random() < 0.5:
                    fields[field] = [kind, unit, None, rng.random() < 0.8]
                    places.setdefault(field, []).append(f"{role}.{name}.{field}")
            if rng.random() < 0.2:
                fields["flag"] = ["bool", None, None, False]
                places.setdefault("flag", []).append(f"{role}.{name}.flag")
            claims[role][name] = fields
    checks = _random_checks(rng, claims, places)
    return Profile("p", 1, "acme", rng.choice((1000, 2000)), roles, claims, checks)


def _value(rng: random.Random, kind: str) -> Any:
    if rng.random() < 0.03:
        return rng.choice((None, "odd", 7, True, [1, "x"], {}))
    if kind == "number":
        return from_scaled(rng.choice((0, 10, 13, 25, -25, 100, 125)), rng.choice((-2, -1, 0, 20)))
    if kind == "numbers":
        return [_value(rng, "number") for _ in range(rng.choice((0, 2, 2, 2, 3)))]
    if kind == "text":
        return rng.choice(("pallet-7", "pallet-7", "pallet-8", "x" * 200))
    if kind == "bytes":
        return rng.choice((b"", b"\x01", b"y" * 300))
    return rng.random() < 0.5


def _claim(
    rng: random.Random,
    profile: Profile,
    parties: dict[str, list[bytes]],
    device: bytes,
    relied: list[bytes],
    tasks: tuple[str, ...] = ("order-1",) * 9 + ("order-2",),
) -> KnownClaim:
    roles = [role for role, devices in parties.items() if device in devices] or list(parties)
    role = rng.choice(roles)
    names = profile.claims.get(role, {"said": {}})
    name = rng.choice(sorted(names))
    fields = {}
    constraints: dict[str, list[Any]] = {}
    for field, rule in names[name].items():
        if rng.random() < 0.93:
            fields[field] = _value(rng, rule[0])
    if rng.random() < 0.04:
        fields["stray"] = 1
    if rng.random() < 0.03:
        name = "unheard-of"
    value = fields.get("n")
    limit = _value(rng, "number")
    numeric = type(value) in {int, Dec} and type(limit) in {int, Dec}
    if numeric and rng.random() < 0.7:
        unit = rng.choice((None, None, "m", "km"))
        constraints["n"] = [rng.choice(OPERATORS), limit, unit, rng.random() < 0.7]
    interval = None
    if rng.random() < 0.85:
        begin = rng.choice((100, 103, 110, 130))
        interval = [begin, begin + rng.choice((0, 2, 10)), rng.choice((0, 1, 5))]
    digest = profile.digest if rng.random() < 0.95 else sha256(b"another profile")
    claim = make_claim(
        digest,
        parties,
        role,
        name,
        fields,
        constraints,
        uptime_ms=rng.choice((1, 2, 3)),
        task=rng.choice(tasks),
        namespace=rng.choice([NAMESPACE] * 19 + ["site-2"]),
        interval=interval,
        relied=rng.sample(relied, min(len(relied), rng.choice((0, 0, 1, 2)))),
    )
    status = rng.choice(STATUSES)
    return known(claim, device, index=rng.choice((1, 2)), status=status, custody=rng.randrange(4))


def _abroad(
    rng: random.Random, profile: Profile, parties: dict[str, list[bytes]], members: list[bytes]
) -> list[KnownClaim]:
    # Claims of other interactions, which rely on each other as ours rely on them.
    made: list[KnownClaim] = []
    if any(check[0] in {"custody", "exclusive"} for check in map(list, profile.checks)):
        tasks = ("order-2", "order-3", "order-4", "order-1")
        for _ in range(rng.choice((0, 2, 4, 6))):
            relied = [one.reference for one in made]
            made.append(_claim(rng, profile, parties, rng.choice(members), relied, tasks))
    return made


def random_inputs(rng: random.Random) -> PartySetInputs:
    """A party set with its claims, claims of others, hidden claims and time evidence."""
    profile = random_profile(rng)
    devices = rng.sample(DEVICES, 4)
    parties: dict[str, list[bytes]] = {}
    for role, (least, most) in profile.roles.items():
        count = rng.randint(least, most) if rng.random() < 0.96 else rng.randint(0, 4)
        if count:
            parties[role] = sorted(rng.sample(devices, min(count, 4)))
    if not parties:
        parties["giver"] = [devices[0]]
    if rng.random() < 0.02:
        parties["stranger"] = [DEVICES[5]]
    members = sorted({device for some in parties.values() for device in some})
    claims: list[KnownClaim] = []
    abroad = _abroad(rng, profile, parties, members)
    for device in members:
        some = range(rng.choice((0, 1, 1, 1, 1, 2, 3)))
        for _ in some:
            relied = [one.reference for one in (*claims, *abroad)]
            claims.append(_claim(rng, profile, parties, device, relied))
    # The same thing said again: another index and uptime, no contradiction.
    for one in list(claims):
        if rng.random() < 0.1 and one.claim is not None:
            values = one.claim.values()[2:]
            again = known(Claim(99, *values), one.device, index=9, status=rng.choice(STATUSES))
            claims.append(again)
        if rng.random() < 0.08:
            claims[claims.index(one)] = one._replace(claim=None)
    others = list(abroad)
    if rng.random() < 0.3:
        elsewhere = dict(parties, **{rng.choice(sorted(parties)): sorted(devices[:2])})
        twofold = [device for device in members if rng.random() < 0.5]
        others += [_claim(rng, profile, elsewhere, device, []) for device in twofold]
    silence = [
        TimeEvidence(device, sha256(b"c%d" % n), sha256(b"r%d" % n), rng.choice((5000, 6000)))
        for device in devices
        for n in range(2)
        if rng.random() < 0.4
    ]
    # Somebody must name the profile where it is not known.
    if not any(one.claim is not None for one in claims):
        claims.append(_claim(rng, profile, parties, members[0], []))
    interaction = make_claim(profile.digest, parties, "giver", "said", {}).interaction_id()
    shown = profile if rng.random() < 0.97 else None
    closed = rng.random() < 0.6
    return PartySetInputs(shown, NAMESPACE, interaction, parties, claims, others, closed, silence)


def shuffled(inputs: PartySetInputs, rng: random.Random) -> PartySetInputs:
    """The same inputs, out of order and some of them twice."""

    def mix(items: Any) -> list[Any]:
        mixed = list(items)
        mixed += [one for one in mixed if rng.random() < 0.4]
        rng.shuffle(mixed)
        return mixed

    return inputs._replace(
        claims=mix(inputs.claims), others=mix(inputs.others), silence=mix(inputs.silence)
    )
