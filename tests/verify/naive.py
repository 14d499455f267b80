"""A second implementation of docs/reconciliation.md: slow, plain, and sharing no code.

It was written from the page, not from the engine: rows and comprehensions over raw values,
fractions for arithmetic, the bytes of the finding made by hand.  Only the CBOR encoder and the
input types are shared, and those have tests of their own.
"""

from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from typing import Any

from tallystick.evidence import cbor
from tallystick.evidence.number import Dec, to_text
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from verify import naive_neighbours as neighbours

KNOWN_CHECKS = ("agree", "limit", "order", "within", "quorum", "custody", "exclusive")
GOOD = {"active", "rotated", "retired", "lost", "prior"}
NOTHING_THERE = object()


def h(value: Any) -> bytes:
    return sha256(cbor.encode(value)).digest()


def rational(value: int | Dec) -> Fraction:
    if isinstance(value, Dec):
        return Fraction(value.mantissa) * Fraction(10) ** value.exponent
    return Fraction(value)


def is_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or isinstance(value, Dec)


def has_type(value: Any, kind: str) -> bool:
    if kind == "number":
        return is_number(value)
    if kind == "numbers":
        return isinstance(value, list) and all(is_number(item) for item in value)
    return type(value) is {"text": str, "bytes": bytes, "bool": bool}[kind]


def find(inputs: PartySetInputs) -> bytes:
    """The encoded finding."""
    return Naive(inputs).finding()


class Naive:
    @staticmethod
    def lasting(ms: int) -> str:
        return lasting(ms)

    def __init__(self, inputs: PartySetInputs) -> None:
        self.given = inputs
        self.profile = inputs.profile
        best: dict[bytes, KnownClaim] = {}
        for claim in sorted(inputs.claims, key=lambda k: (k.claim is None, k.status, k.custody)):
            best.setdefault(claim.reference, claim)
        self.claims = [best[reference] for reference in sorted(best)]
        if self.profile is None:
            self.digest = next(k.claim.profile for k in self.claims if k.claim is not None)
        else:
            self.digest = self.profile.digest

    # --- the finding -----------------------------------------------------------------------

    def finding(self) -> bytes:
        refusal = self.row_one()
        if refusal:
            return self.refused(*refusal)
        assert self.profile is not None
        strangers = [*self.given.others, *(k for k in self.claims if not self.belongs(k))]
        strangers.sort(key=lambda k: (k.reference, k.claim is None, k.status, k.custody))
        self.others = [
            k for at, k in enumerate(strangers) if k.reference not in {o[0] for o in strangers[:at]}
        ]
        self.claims = [k for k in self.claims if self.belongs(k)]
        self.slots = {key: self.judge(key) for key in self.slot_keys()}
        missing = [key for key, (state, _, _) in self.slots.items() if state == "missing"]
        closed = bool(self.given.closed) if missing else None
        times: dict[bytes, list[Any]] = {}
        if closed:
            for evidence in sorted(self.given.silence, key=lambda e: (e[3], e[1], e[2])):
                if evidence[0] in {device for _, device, _ in missing}:
                    times.setdefault(evidence[0], list(evidence))
        checks: list[list[Any]] = []
        borrowed: dict[bytes, KnownClaim] = {}
        if closed is False:
            state = "pending"
        else:
            checks = self.built_in()
            causes = []
            for check in map(list, self.profile.checks):
                self.read: list[KnownClaim] = []
                self.lent: list[KnownClaim] = []
                result = self.run(check)
                causes.append(result[4])
                borrowed |= {k.reference: k for k in self.lent}
                named = [k.reference for k in self.read + self.lent]
                blamed = sorted(set(result[3]))
                checks.append([*check[:2], *result[:2], self.shown(result[2]), blamed, named])
            state = self.state(checks, causes, bool(missing))
        own: list[list[Any]] = []
        others: list[list[Any]] = []
        rows: list[list[Any]] = []
        for (role, _device, name), (_state, counting, _) in self.slots.items():
            for known in counting:
                mine = self.belongs(known)
                (own if mine else others).append(self.input_row(known, known.claim is not None))
                shown = name if known.claim is not None else "?"
                row = [known.reference, known.device, role, shown, known.status, known.custody]
                if mine and not any(known.reference == seen[0] for seen in rows):
                    rows.append(row)
        others += [self.input_row(k, True) for k in borrowed.values()]
        beside = canonical([[row[0], row[1], row[3], row[4]] for row in others])
        everybody = [row[0] for row in canonical(rows)] + [row[0] for row in beside]
        for line in checks:
            line[6] = sorted({everybody.index(reference) for reference in line[6]})
        absences = [
            [role, device, name, "silent" if device in times else "unheard"]
            for role, device, name in missing
        ]
        inputs = [own, others, list(times.values())]
        return self.encode(inputs, closed, state, absences, checks, rows, beside)

    def encode(
        self,
        inputs: Any,
        closed: Any,
        state: str,
        missing: Any,
        checks: Any,
        rows: Any,
        beside: Any,
    ) -> bytes:
        given = self.given
        parties = {role: list(devices) for role, devices in given.parties.items()}
        digest = h(
            [self.digest, given.namespace, given.interaction, parties]
            + [canonical(part) for part in inputs]
            + [closed]
        )
        head = [20, digest, given.namespace, given.interaction, parties, self.digest, state]
        return cbor.encode([*head, missing, checks, canonical(rows), beside])

    @staticmethod
    def input_row(known: KnownClaim, readable: bool) -> list[Any]:
        return [*known[:2], known.leaf, known.status, known.custody, readable]

    # --- row 1 -----------------------------------------------------------------------------

    def row_one(self) -> tuple[str, str, str] | None:
        if self.profile is None:
            return "profile", "known", "The profile is not known."
        for check in map(list, self.profile.checks):
            if check[0] not in KNOWN_CHECKS:
                text = f"The profile names the check {check[0]}, which is not known."
                return "profile", "known", text
            # Of what cannot be read, the random worlds have these two only.
            kinds = [kind for kind, *_ in map(list, self.profile.checks)]
            borrowers = [at for at, kind in enumerate(kinds) if kind in ("custody", "exclusive")]
            if borrowers[4:] and check == list(self.profile.checks)[borrowers[4]]:
                text = f"The parameters of the check {check[1]} cannot be read."
                return "profile", "known", text
            if check[0] == "order" and check[2]["first"] == check[2]["then"]:
                text = f"The parameters of the check {check[1]} cannot be read."
                return "profile", "known", text
        parties = self.given.parties
        fits = set(parties) <= set(self.profile.roles)
        for role, bounds in self.profile.roles.items():
            fits = fits and bounds[0] <= len(parties.get(role, [])) <= bounds[1]
        if not fits or not 1 <= len(self.slot_keys()) <= 32:
            return "parties", "fit", "The party map does not fit the profile."
        return None

    def refused(self, check: str, name: str, reason: str) -> bytes:
        claims = self.claims[:64]
        readable = check == "parties"
        inputs = [[self.input_row(k, readable and k.claim is not None) for k in claims], [], []]
        rows = [
            [
                k.reference,
                k.device,
                "?" if k.claim is None else k.claim.role,
                "?" if k.claim is None else k.claim.claim,
                k.status,
                k.custody,
            ]
            for k in claims
        ]
        result = [check, name, "not_evaluated", reason, [], [], []]
        return self.encode(inputs, None, "insufficient", [], [result], rows, [])

    # --- slots -----------------------------------------------------------------------------

    def slot_keys(self) -> list[tuple[str, bytes, str]]:
        assert self.profile is not None
        keys = [
            (role, device, name)
            for role, devices in self.given.parties.items()
            for device in devices
            for name in self.profile.claims.get(role, {})
        ]
        return sorted(keys, key=lambda key: cbor.encode(list(key)))

    def belongs(self, known: KnownClaim) -> bool:
        claim = known.claim
        if claim is None:
            return True
        same = claim.namespace == self.given.namespace and claim.profile == self.digest
        return same and cbor.encode(claim.parties) == cbor.encode(dict(self.given.parties))

    def misfits(self, known: KnownClaim) -> list[str]:
        assert self.profile is not None
        claim = known.claim
        assert claim is not None
        wanted = self.profile.claims[claim.role][claim.claim]
        bad = [
            name
            for name, value in claim.fields.items()
            if name not in wanted or not has_type(value, wanted[name][0])
        ]
        bad += [n for n, field in wanted.items() if field[3] and n not in claim.fields]
        return sorted(bad, key=cbor.encode)

    def judge(self, key: tuple[str, bytes, str]) -> tuple[str, list[KnownClaim], Any]:
        """(state, claims that count, what is wrong with an unusable one)."""
        role, device, name = key
        mine = [k for k in self.claims if k.device == device]
        here = [k for k in mine if k.claim and (k.claim.role, k.claim.claim) == (role, name)]
        usable = [k for k in here if k.status in GOOD and not self.misfits(k)]
        if usable:
            contents = {cbor.encode(k.claim.values()[2:]) for k in usable if k.claim}
            firsts = [
                next(k for k in usable if k.claim and cbor.encode(k.claim.values()[2:]) == content)
                for content in contents
            ]
            firsts.sort(key=lambda k: k.reference)
            if len(firsts) > 1:
                return "contradicted", firsts[:2], None
            rival = self.rival(key)
            if rival is not None:
                return "contradicted", [firsts[0], rival], None
            return "filled", firsts, None
        if here:
            known = here[0]
            if known.status not in GOOD:
                return "unusable", [known], ["status", known.status]
            return "unusable", [known], ["fit", self.misfits(known)[0]]
        hidden = [k for k in mine if k.claim is None]
        if hidden:
            return "unusable", hidden[:1], ["readable", False]
        return "missing", [], None

    def rival(self, key: tuple[str, bytes, str]) -> KnownClaim | None:
        role, device, name = key
        found = [
            k
            for k in self.others
            if k.claim is not None
            and k.device == device
            and k.status in GOOD
            and (k.claim.role, k.claim.claim) == (role, name)
            and k.claim.namespace == self.given.namespace
            and k.claim.interaction_id() == self.given.interaction
            and device in k.claim.parties.get(role, [])
            and not self.belongs(k)
        ]
        return min(found, key=lambda k: k.reference, default=None)

    # --- results ---------------------------------------------------------------------------

    def built_in(self) -> list[list[Any]]:
        results: list[list[Any]] = []
        twice = [(key, slot) for key, slot in self.slots.items() if slot[0] == "contradicted"]
        if twice:
            values = [[k.reference, key[2], None] for key, slot in twice for k in slot[1]]
            blamed = sorted({key[1] for key, _ in twice})
            (role, _, name), _ = twice[0]
            text = f"{role}.{name} was claimed in two ways by one device" + more(twice)
            named = [k.reference for _, slot in twice for k in slot[1]]
            results.append(["claims", "once", "fail", text, self.shown(values), blamed, named])
        bad = [slot for slot in self.slots.values() if slot[0] == "unusable"]
        if bad:
            values = [[counting[0].reference, *why] for _, counting, why in bad]
            role, _, name = next(key for key, slot in self.slots.items() if slot is bad[0])
            text = {
                "readable": f"The body of {role}.{name} is not here",
                "status": f"{role}.{name} was made under a key that is {bad[0][2][1]}",
                "fit": f"The field {bad[0][2][1]} of {role}.{name} does not fit the profile",
            }[bad[0][2][0]] + more(bad)
            named = [counting[0].reference for _, counting, _ in bad]
            values = self.shown(values)
            results.append(["claims", "usable", "not_evaluated", text, values, [], named])
        return results

    @staticmethod
    def shown(values: list[list[Any]]) -> list[list[Any]]:
        return [
            [reference, field, value if len(cbor.encode(value)) <= 128 else h(value)]
            for reference, field, value in values[:4]
        ]

    def state(self, checks: list[list[Any]], causes: list[str | None], missing: bool) -> str:
        if "fail" in [check[2] for check in checks]:
            return "conflicting"
        if "lacks" in causes or "unusable" in [slot[0] for slot in self.slots.values()]:
            return "insufficient"
        if missing:
            return "one_sided"
        return "unresolved" if "undecided" in causes else "matched"

    # --- checks: (result, reason, values, blamed, cause) -------------------------------------

    def run(self, check: list[Any]) -> Any:
        kind, _, parameters = check
        single = parameters.get("release") or parameters.get("grant")
        places = parameters.get("fields") or parameters.get("claims") or (single and [single])
        there, obstacle = [], None
        for place in places or [parameters["first"], parameters["then"]]:
            role, claim, field = [*place.split("."), ""][:3]
            for (a, _, b), (state, counting, _) in self.slots.items():
                if (a, b) == (role, claim) and state == "filled":
                    body = counting[0].claim
                    assert body is not None
                    self.read.append(counting[0])
                    there.append((place, field, counting[0], body.fields.get(field, NOTHING_THERE)))
                elif (a, b) == (role, claim) and obstacle is None:
                    words = {"missing": "is missing", "unusable": "cannot be used"}
                    obstacle = f"A claim {role}.{claim} {words.get(state, 'is contradicted')}."
        if not there:
            if obstacle:
                return "not_evaluated", obstacle, [], [], "slot"
            return "pass", "There is nothing to compare.", [], [], None
        if kind == "quorum":
            return self.quorum(parameters, there, obstacle)
        if single:
            return neighbours.judge(self, check, there, obstacle)
        failed, lack, passed, unsure = (*getattr(self, kind)(parameters, there), None)[:4]
        if failed:
            return ("fail", *failed, None)
        if obstacle:
            return "not_evaluated", obstacle, [], [], "slot"
        if lack:
            reason, values = lack if isinstance(lack, tuple) else (lack, [])
            return "not_evaluated", reason, values, [], "lacks"
        if unsure:
            return ("not_evaluated", *unsure, [], "undecided")
        return "pass", passed, [], [], None

    # Moments as fractions of nothing: plain integers, None without an interval.

    @staticmethod
    def span(row: Any) -> tuple[int, int] | None:
        interval = row[2].claim.interval
        if interval is None:
            return None
        return interval[0] - interval[2], interval[1] + interval[2]

    @staticmethod
    def told(*rows: Any) -> list[list[Any]]:
        return [[row[2].reference, "interval", row[2].claim.interval] for row in rows]

    def order(self, parameters: dict[str, Any], there: list[Any]) -> Any:
        first, then = parameters["first"], parameters["then"]
        failed: Any = None
        lack: Any = None
        unsure: Any = None
        pairs = [(a, b) for a in there if a[0] == first for b in there if b[0] == then]
        for a, b in pairs:
            span_a, span_b = self.span(a), self.span(b)
            if a[2].reference in b[2].claim.relied:
                continue
            if b[2].reference in a[2].claim.relied:
                failed = failed or (f"{then} came before {first}.", self.told(a, b), [])
            elif span_a is None or span_b is None:
                who = first if span_a is None else then
                text = f"{who} has no interval, and neither claim names the other."
                lack = lack or (text, self.told(a, b))
            elif span_b[1] < span_a[0]:
                failed = failed or (f"{then} came before {first}.", self.told(a, b), [])
            elif not span_a[1] < span_b[0]:
                text = f"The intervals of {first} and {then} overlap."
                unsure = unsure or (text, self.told(a, b))
        passed = f"{first} came before {then}." if pairs else "There is nothing to compare."
        return failed, lack, passed, unsure

    def within(self, parameters: dict[str, Any], there: list[Any]) -> Any:
        allowed = parameters["duration_ms"]
        rows = [(row, self.span(row)) for row in there]
        spans = [(row, span) for row, span in rows if span is not None]
        failed: Any = None
        lack: Any = None
        unsure: Any = None
        if any(late[0] - early[1] > allowed for _, late in spans for _, early in spans):
            early = min(spans, key=lambda one: one[1][1])[0]
            highest = max(span[0] for _, span in spans)
            late = next(row for row, span in spans if span[0] == highest)
            text = f"{early[0]} and {late[0]} are more than {lasting(allowed)} apart."
            failed = (text, self.told(early, late), [])
        if len(rows) < 2:
            return failed, None, "There is nothing to compare."
        bare = [row for row, span in rows if span is None]
        if bare:
            lack = (f"{bare[0][0]} has no interval.", self.told(bare[0]))
        elif any(late[1] - early[0] > allowed for _, late in spans for _, early in spans):
            early = min(spans, key=lambda one: one[1][0])[0]
            highest = max(span[1] for _, span in spans)
            late = next(row for row, span in spans if span[1] == highest)
            told = self.told(early) if early is late else self.told(early, late)
            unsure = (f"{early[0]} and {late[0]} may be more than {lasting(allowed)} apart.", told)
        return failed, lack, f"The claims lie within {lasting(allowed)}.", unsure

    def quorum(
        self, parameters: dict[str, Any], there: list[Any], obstacle: str | None
    ) -> tuple[str, str, list[list[Any]], list[bytes], str | None]:
        rows = [row for row in there if row[3] is not NOTHING_THERE]
        most = 0
        for one in rows:
            pairs = [[one, other] for other in rows]
            most = max(most, sum(self.agree(parameters, pair)[0] is None for pair in pairs))
        needed = parameters["at_least"]
        if most >= needed:
            words = self.agree(parameters, there)[2].removeprefix("The values agree")
            return "pass", f"{most} of {len(rows)} values agree{words}", [], [], None
        if obstacle:
            return "not_evaluated", obstacle, [], [], "slot"
        values = [[row[2].reference, row[1], row[3]] for row in rows]
        text = f"At most {most} of {len(rows)} values agree; {needed} are needed."
        return "fail", text, values, [], None

    def spec(self, place: str) -> Any:
        assert self.profile is not None
        role, claim, field = place.split(".")
        return self.profile.claims[role][claim][field]

    def agree(self, parameters: dict[str, Any], there: list[Any]) -> Any:
        unit = self.spec(there[0][0])[1]
        absolute, relative = parameters.get("within"), parameters.get("within_rel")
        how = "are not equal."
        passed = "The values agree."
        if absolute is not None:
            tail = " ".join(filter(None, [to_text(absolute), unit])) + "."
            how, passed = "differ by more than " + tail, "The values agree within " + tail
        if relative is not None:
            tail = f"{to_text(relative)} of the larger one."
            how, passed = "differ by more than " + tail, "The values agree within " + tail

        def apart(a: Any, b: Any) -> bool:
            if absolute is not None:
                return abs(rational(a) - rational(b)) > rational(absolute)
            if relative is not None:
                x, y = rational(a), rational(b)
                return abs(x - y) > rational(relative) * max(abs(x), abs(y))
            return bool(cbor.encode(a) != cbor.encode(b))

        lack = next((f"{place} is not given." for place, _, _, v in there if v is NOTHING_THERE), 0)
        for one, two in combinations([row for row in there if row[3] is not NOTHING_THERE], 2):
            a, b, words = one[3], two[3], None
            if isinstance(a, list):
                if len(a) != len(b):
                    words = "have different numbers of elements."
                elif any(apart(x, y) for x, y in zip(a, b, strict=True)):
                    words = how
            elif apart(a, b):
                words = how
            if words:
                values = [[row[2].reference, row[1], row[3]] for row in (one, two)]
                return (f"{one[0]} and {two[0]} {words}", values, []), lack, passed
        return None, lack, passed

    def limit(self, _parameters: dict[str, Any], there: list[Any]) -> Any:
        lacks, faults = [], []
        for place, field, known, value in there:
            declared = known.claim.constraints.get(field)
            if value is NOTHING_THERE:
                lacks.append(f"{place} is not given.")
            elif declared is None:
                lacks.append(f"{place} has no constraint.")
            elif declared[2] not in (None, self.spec(place)[1]):
                lacks.append(f"{place} has a constraint in another unit.")
            else:
                x, y = rational(value), rational(declared[1])
                true = {
                    "<": x < y,
                    "<=": x <= y,
                    "=": x == y,
                    "!=": x != y,
                    ">=": x >= y,
                    ">": x > y,
                }[declared[0]]
                text = f"{place} does not satisfy its constraint."
                if true:
                    text = f"{place} satisfies its constraint, and its maker says that it does not."
                if not true or not declared[3]:
                    faults.append((text, [known.reference, field, value], known.device))
        failed = None
        if faults:
            failed = (faults[0][0], [row for _, row, _ in faults], [who for _, _, who in faults])
        return failed, lacks[0] if lacks else None, "The constraints hold."


def more(rows: list[Any]) -> str:
    return "." if len(rows) == 1 else f" (and {len(rows) - 1} more)."


def lasting(ms: int) -> str:
    if ms == 0 or ms % 1000:
        return f"{ms} ms"
    seconds = ms // 1000
    if seconds % 60:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds % 3600 else f"{seconds // 3600} h"


def canonical(rows: list[list[Any]]) -> list[list[Any]]:
    """In bytewise order of the encodings, each once."""
    unique = {cbor.encode(row): row for row in rows}
    return [unique[key] for key in sorted(unique)]
