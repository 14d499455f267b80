"""The second implementation of `custody` and `exclusive`: every claim with every other one."""

from typing import Any

from tallystick.evidence.claim import Claim
from tallystick.verify.inputs import KnownClaim

Row = tuple[KnownClaim, Claim]
LEVELS = {"fail": 0, "lacks": 1, "undecided": 2, "pass": 3}


def abroad(world: Any, place: str) -> list[Row]:
    """All claims of other interactions at a place, under this profile, by reference."""
    role, name = place.split(".")
    rows = [
        (k, k.claim)
        for k in world.others
        if k.claim is not None
        and (k.claim.role, k.claim.claim) == (role, name)
        and (k.claim.profile, k.claim.namespace) == (world.digest, world.given.namespace)
        and k.claim.interaction_id() != world.given.interaction
        and k.device in k.claim.parties.get(role, [])
    ]
    return sorted(rows, key=lambda row: row[0].reference)


def good(world: Any, known: KnownClaim) -> bool:
    return known.status in {"active", "rotated", "retired", "lost", "prior"} and not world.misfits(
        known
    )


def judge(world: Any, check: list[Any], there: list[Any], obstacle: str | None) -> Any:
    kind, _, parameters = check
    told = []
    for row in there:
        one = custody if kind == "custody" else exclusive
        level, reason, values, blamed, lent = one(world, parameters, row[2])
        world.lent += lent
        told.append((LEVELS[level], reason, values, blamed, level))
    worst = min(told, key=lambda one: one[0])
    if worst[4] == "fail":
        blamed = [device for one in told if one[4] == "fail" for device in one[3]]
        return "fail", worst[1], worst[2], blamed, None
    if obstacle:
        return "not_evaluated", obstacle, [], [], "slot"
    if worst[4] == "pass":
        return "pass", worst[1], [], [], None
    return "not_evaluated", worst[1], worst[2], [], worst[4]


def custody(world: Any, parameters: dict[str, Any], own: KnownClaim) -> Any:
    release, item = parameters["release"], parameters["item"]
    assert own.claim is not None
    cited = [
        row for row in abroad(world, parameters["acquire"]) if row[0].reference in own.claim.relied
    ]
    counting = [row for row in cited if good(world, row[0])]

    def fail(text: str, rows: list[Row]) -> Any:
        assert own.claim is not None
        values = [[own.reference, item, own.claim.fields[item]]]
        values += [[k.reference, item, claim.fields[item]] for k, claim in rows]
        return "fail", text, values, [own.device], [k for k, _ in rows]

    if len(counting) >= 2:
        return fail(f"{release} names more than one acquisition.", counting[:2])
    if counting:
        [(acquisition, what)] = counting
        if acquisition.device != own.device:
            return fail(f"{release} ends the acquisition of another device.", counting)
        if what.fields[item] != own.claim.fields[item]:
            return fail(f"{release} ends the acquisition of another item.", counting)
        rivals = [
            (k, claim)
            for k, claim in abroad(world, release)
            if good(world, k) and k.device == own.device and acquisition.reference in claim.relied
        ]
        later = [row for row in rivals if row[0].reference > own.reference]
        if rivals:
            rival = later[0] if later else rivals[-1]
            text = f"Another release ends the acquisition that {release} ends."
            return fail(text, [*counting, rival])
        return "pass", "The item was released by who acquired it.", [], [], [acquisition]
    if cited:
        text = f"The acquisition that {release} names cannot be used."
        return "lacks", text, [], [], [cited[0][0]]
    if parameters["origin"]:
        text = f"{release} names no acquisition: its maker is the first to keep the item."
        return "pass", text, [], [], []
    return "lacks", f"{release} names no acquisition that is known here.", [], [], []


def span(claim: Claim, way: int) -> tuple[int, int] | None:
    """way 1: at most; way -1: surely.  None: no time at all."""
    assert claim.interval is not None
    begin, end, doubt = claim.interval
    first, last = begin - way * doubt, end + way * doubt
    return (first, last) if last > first else None


def timed(claim: Claim) -> bool:
    return claim.interval is not None and claim.interval[1] + claim.interval[2] <= 2**62


def exclusive(world: Any, parameters: dict[str, Any], own: KnownClaim) -> Any:
    grant, resource, longest = (parameters[key] for key in ("grant", "resource", "longest_ms"))
    mine = own.claim
    assert mine is not None
    values: list[list[Any]] = [[own.reference, "interval", mine.interval]]
    if not timed(mine):
        return "lacks", f"{grant} has no interval.", [], [], []
    assert mine.interval is not None
    begin, end, doubt = mine.interval
    if end - begin > longest:
        return (
            "fail",
            f"{grant} lasts longer than {world.lasting(longest)}.",
            values,
            [own.device],
            [],
        )
    if end - begin + 2 * doubt > longest:
        return (
            "undecided",
            f"{grant} may last longer than {world.lasting(longest)}.",
            values,
            [],
            [],
        )
    rivals = [
        (k, claim)
        for k, claim in abroad(world, grant)
        if good(world, k)
        and timed(claim)
        and claim.interval is not None
        and claim.interval[1] - claim.interval[0] + 2 * claim.interval[2] <= longest
        and claim.fields[resource] == mine.fields[resource]
        and (parameters["by"] == "anyone" or k.device == own.device)
    ]
    lent, meeting = [], {}
    for way in (-1, 1):
        here = span(mine, way)
        if here is None:
            continue
        rows = [(*s, k, c) for k, c in rivals if (s := span(c, way)) is not None]
        before = [r for r in rows if here[0] - longest < r[0] <= here[0]]
        after = [r for r in rows if here[0] < r[0] < here[0] + longest]
        # sort() keeps the order by reference among equal ones.
        near = sorted(before, key=lambda r: -r[1])[:1] + sorted(after, key=lambda r: r[0])[:1]
        lent += [r[2] for r in near]
        shared = [r for r in near if max(here[0], r[0]) < min(here[1], r[1])]
        # The whole world, to see that the neighbours suffice.
        anybody = any(max(here[0], r[0]) < min(here[1], r[1]) for r in rows)
        assert anybody == bool(shared)
        if shared:
            meeting[way] = shared[0]
    for way, level, word in ((-1, "fail", "overlaps"), (1, "undecided", "may overlap")):
        if way in meeting:
            _, _, other, claim = meeting[way]
            values.append([other.reference, "interval", claim.interval])
            blamed = [own.device] if other.device == own.device else []
            return (
                level,
                f"Another grant of the same {resource} {word} {grant}.",
                values,
                blamed,
                lent,
            )
    text = f"No other grant of the same {resource} that is known here overlaps."
    return "pass", text, [], [], lent
