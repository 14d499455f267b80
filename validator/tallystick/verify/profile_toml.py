"""Profiles as people write them: TOML text in, the evidence format's Profile out.

The format is specified in docs/reconciliation.md, section 1.
"""

from __future__ import annotations

from typing import Any

from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import PARTIES_MAX, PROFILE_BYTES_MAX
from tallystick.evidence.profile import Profile
from tallystick.evidence.statement import check_iss
from tallystick.verify._toml import Document, Table
from tallystick.verify.neighbours import ANYONE, MAKER, MAKERS_MAX
from tallystick.verify.neighbours import CHECKS_MAX as ELSEWHERE_MAX

ROLES_MAX = 16
CLAIMS_MAX = 8
FIELDS_MAX = 64
CHECKS_MAX = 16
VERSION_MAX = 2**31 - 1
DECIMALS_MAX = 15

FIELD_TYPES = ("number", "numbers", "text", "bytes", "bool")
NUMERIC = ("number", "numbers")

Field = list[Any]
Claims = dict[str, dict[str, dict[str, Field]]]
Roles = dict[str, list[int]]


def parse_profile(text: str) -> Profile:
    """The profile that a TOML text describes; Malformed names the line and the key."""
    top = Document(text, "profile", PROFILE_BYTES_MAX).top
    name = top.name("name")
    version = top.integer("version", 1, VERSION_MAX)
    publisher = top.text("publisher")
    try:
        check_iss(publisher)
    except Malformed:
        raise top.fail("publisher", "must be 1 to 20 characters of a-z, 0-9, . and -") from None
    deadline_ms = top.duration_ms("deadline")
    roles = _roles(top.table("roles"))
    claims = _claims(top.table("claims"), roles)
    tables = top.tables("checks", items_max=CHECKS_MAX)
    checks = [_check(table, claims, roles) for table in tables]
    for at in [at for at, check in enumerate(checks) if check[0] in _ELSEWHERE][ELSEWHERE_MAX:]:
        text = f"is one more than {ELSEWHERE_MAX} that read claims of other interactions"
        raise top.document.fail(("checks", at, "check"), text)
    top.finish()
    names = [check[1] for check in checks]
    for at, check_name in enumerate(names):
        if check_name in names[:at]:
            raise top.document.fail(("checks", at, "name"), f"{check_name!r} is given twice")
    profile = Profile(name, version, publisher, deadline_ms, roles, claims, checks)
    if len(profile.encode()) > PROFILE_BYTES_MAX:
        raise Malformed("too-large", f"profile: its encoding passes {PROFILE_BYTES_MAX} bytes")
    return profile


def _roles(table: Table) -> Roles:
    roles: Roles = {}
    for role in table.names():
        table.check_name(role, role)
        below = table.table(role)
        least = below.integer("min", 0, PARTIES_MAX)
        roles[role] = [least, below.integer("max", max(least, 1), PARTIES_MAX)]
        below.finish()
    if not 1 <= len(roles) <= ROLES_MAX:
        raise table.fail(None, f"must name 1 to {ROLES_MAX} roles")
    return roles


def _claims(table: Table, roles: Roles) -> Claims:
    claims: Claims = {}
    for role in table.names():
        if role not in roles:
            raise table.fail(role, "is no role of this profile")
        below = table.table(role)
        claims[role] = {name: _fields(below, name) for name in below.names()}
        if not 1 <= len(claims[role]) <= CLAIMS_MAX:
            raise table.fail(role, f"must have 1 to {CLAIMS_MAX} claims")
    for role in roles:
        if role not in claims:
            raise table.fail(None, f"the role {role!r} has no claim: add [claims.{role}.NAME]")
    return claims


def _fields(table: Table, claim: str) -> dict[str, Field]:
    table.check_name(claim, claim)
    below = table.table(claim)
    fields: dict[str, Field] = {}
    for name in below.names():
        below.check_name(name, name)
        field = below.table(name)
        kind = field.text("type")
        if kind not in FIELD_TYPES:
            raise field.fail("type", "must be one of " + ", ".join(FIELD_TYPES))
        numeric = kind in NUMERIC
        for key in ("unit", "decimals"):
            if field.has(key) and not numeric:
                raise field.fail(key, "is for numbers only")
        unit = field.text("unit", default=None, chars_max=16)
        decimals = field.integer("decimals", 0, DECIMALS_MAX, default=None)
        fields[name] = [kind, unit, decimals, field.boolean("required", default=True)]
        field.finish()
    if len(fields) > FIELDS_MAX:
        raise table.fail(claim, f"must have at most {FIELDS_MAX} fields")
    return fields


def _check(table: Table, claims: Claims, roles: Roles) -> list[Any]:
    kind = table.text("check")
    name = table.name("name")
    read, elsewhere = _PARAMETERS.get(kind), _ELSEWHERE.get(kind)
    if read is not None:
        parameters = read(table, claims)
    elif elsewhere is not None:
        parameters = elsewhere(table, claims, roles)
    else:
        raise table.fail("check", "must be one of " + ", ".join((*_PARAMETERS, *_ELSEWHERE)))
    table.finish()
    return [kind, name, parameters]


def _claim(table: Table, key: str, place: str, claims: Claims) -> dict[str, Field]:
    # The fields of the claim that `role.claim` names.
    parts = place.split(".")
    if len(parts) != 2 or parts[0] not in claims or parts[1] not in claims[parts[0]]:
        raise table.fail(key, f"{place!r} is no role.claim of this profile")
    return claims[parts[0]][parts[1]]


def _places(table: Table, claims: Claims) -> tuple[list[str], list[Field]]:
    places = table.texts("fields")
    fields = []
    for at, place in enumerate(places):
        whole, _, field = place.rpartition(".")
        known = _claim(table, "fields", whole, claims) if "." in whole else {}
        if field not in known:
            raise table.fail("fields", f"{place!r} is no role.claim.field of this profile")
        if place in places[:at]:
            raise table.fail("fields", f"{place!r} is given twice")
        fields.append(known[field])
    if not places:
        raise table.fail("fields", "must name at least one role.claim.field")
    return places, fields


def _compared(table: Table, claims: Claims) -> dict[str, Any]:
    # Fields that are compared with each other, and the tolerance.
    places, fields = _places(table, claims)
    if len({(kind, unit) for kind, unit, _, _ in fields}) > 1:
        raise table.fail("fields", "must be of one type and unit")
    parameters: dict[str, Any] = {"fields": places}
    for key in ("within", "within_rel"):
        if not table.has(key):
            continue
        if fields[0][0] not in NUMERIC:
            raise table.fail(key, "is for numbers only")
        parameters[key] = table.decimal(key)
    if "within" in parameters and "within_rel" in parameters:
        raise table.fail("within_rel", "cannot stand together with within")
    return parameters


def _limit(table: Table, claims: Claims) -> dict[str, Any]:
    places, fields = _places(table, claims)
    if any(field[0] != "number" for field in fields):
        raise table.fail("fields", "must be of type number")
    return {"fields": places}


def _order(table: Table, claims: Claims) -> dict[str, Any]:
    parameters = {key: table.text(key) for key in ("first", "then")}
    for key, place in parameters.items():
        _claim(table, key, place, claims)
    if parameters["first"] == parameters["then"]:
        raise table.fail("then", "must be another claim than first")
    return parameters


def _within(table: Table, claims: Claims) -> dict[str, Any]:
    places = table.texts("claims")
    for place in places:
        _claim(table, "claims", place, claims)
    if not places or len(set(places)) != len(places):
        raise table.fail("claims", "must name at least one claim, each once")
    return {"claims": places, "duration_ms": table.duration_ms("duration")}


def _quorum(table: Table, claims: Claims) -> dict[str, Any]:
    parameters = _compared(table, claims)
    parameters["at_least"] = table.integer("at_least", 1, PARTIES_MAX)
    return parameters


def _named(table: Table, key: str, fields: dict[str, Field]) -> str:
    name = table.text(key)
    if name not in fields or fields[name][0] not in {"text", "bytes"}:
        raise table.fail(key, f"{name!r} is no field of type text or bytes of the claim")
    if not fields[name][3]:
        raise table.fail(key, f"{name!r} must be a required field")
    return name


def _makers(table: Table, key: str, place: str, roles: Roles) -> None:
    if roles[place.partition(".")[0]][1] > MAKERS_MAX:
        raise table.fail(key, f"its role may have at most {MAKERS_MAX} devices")


def _custody(table: Table, claims: Claims, roles: Roles) -> dict[str, Any]:
    release, acquire = table.text("release"), table.text("acquire")
    fields = _claim(table, "release", release, claims), _claim(table, "acquire", acquire, claims)
    if release == acquire:
        raise table.fail("acquire", "must be another claim than release")
    _makers(table, "release", release, roles)
    item = _named(table, "item", fields[0])
    if _named(table, "item", fields[1]) != item or fields[0][item][0] != fields[1][item][0]:
        raise table.fail("item", "must be a field of one type of both claims")
    origin = table.boolean("origin", default=False)
    return {"release": release, "acquire": acquire, "item": item, "origin": origin}


def _exclusive(table: Table, claims: Claims, roles: Roles) -> dict[str, Any]:
    grant = table.text("grant")
    resource = _named(table, "resource", _claim(table, "grant", grant, claims))
    _makers(table, "grant", grant, roles)
    longest_ms = table.duration_ms("longest")
    if not longest_ms:
        raise table.fail("longest", "must be at least 1 ms")
    by = table.text("by", default=ANYONE)
    if by not in (ANYONE, MAKER):
        raise table.fail("by", f'must be "{MAKER}" or "{ANYONE}"')
    return {"grant": grant, "resource": resource, "longest_ms": longest_ms, "by": by}


_PARAMETERS = {
    "agree": _compared,
    "order": _order,
    "within": _within,
    "limit": _limit,
    "quorum": _quorum,
}
# Those that read claims of other interactions (docs/reconciliation.md, section 5.8).
_ELSEWHERE = {"custody": _custody, "exclusive": _exclusive}
