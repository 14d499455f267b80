"""Device profile: [23, digest, name, version, claims], what a device needs of a profile."""

# docs/protocol.md, 6.4.  claims: role -> claim name -> field name -> [type, unit, decimals,
# required].

from tallystick.evidence import _shape as shape
from tallystick.evidence import number, value
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed
from tallystick.evidence.kinds import DEVICE_PROFILE
from tallystick.evidence.limits import PROFILE_BYTES_MAX
from tallystick.evidence.number import DECIMALS_MAX, Dec

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = ("number", "numbers", "text", "bytes", "bool")
DECIMALS = 6  # of a float where the profile declares none


class DeviceProfile(Wire):
    """digest: of the whole profile."""

    def __init__(self, digest: bytes, name: str, version: int, claims: "dict[str, Any]") -> None:
        self.digest = shape.octets(digest, 32, "device profile")
        self.name = value.check_name(name)
        self.version = shape.uint(version, "device profile")
        self.claims = check_claims(claims)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [DEVICE_PROFILE, self.digest, self.name, self.version, self.claims]

    def rules(self, role: str, claim: str) -> "dict[str, list[Any]]":
        """The fields of a claim; Malformed when the profile has no such role or claim."""
        rules = self.claims.get(role, {}).get(claim)
        if rules is None:
            raise Malformed(
                "bad-value", "profile %s has no claim %s of a %s" % (self.name, claim, role)
            )
        return rules  # type: ignore[no-any-return]  # checked by check_claims

    def fields(self, role: str, claim: str, given: "dict[str, Any]") -> "dict[str, Any]":
        """Canonical values of what the programming interface was given, by the field's type."""
        rules = self.rules(role, claim)
        fields: dict[str, Any] = {}
        for name, item in given.items():
            rule = rules.get(name)
            if rule is None:
                raise Malformed("bad-value", "the profile has no field %s here" % name)
            decimals = DECIMALS if rule[2] is None else rule[2]
            if rule[0] == "number":
                fields[name] = number.of(item, decimals)
            elif rule[0] == "numbers":
                fields[name] = [number.of(part, decimals) for part in shape.array(item, name)]
            else:
                fields[name] = item
        check_fields(rules, fields)
        return fields


def check_claims(claims: "Any") -> "dict[str, Any]":
    """Role -> claim -> field -> [type, unit, decimals, required]."""
    for role, by_name in _named(claims, 1):
        value.check_name(role)
        for claim, rules in _named(by_name, 1):
            value.check_name(claim)
            for name, rule in _named(rules, 0):
                value.check_name(name)
                kind, unit, decimals, required = shape.row(rule, 4, "field")
                shape.one_of(kind, TYPES, "field")
                value.check_unit(unit)
                if decimals is not None:
                    shape.uint(decimals, "field", DECIMALS_MAX)
                shape.boolean(required, "field")
    return claims  # type: ignore[no-any-return]  # checked by _named


def _named(table: "Any", least: int) -> "Any":
    if type(table) is not dict:
        raise Malformed("bad-type", "a profile's claims are maps by name")
    if len(table) < least:
        raise Malformed("bad-value", "a profile without a role, or a role without a claim")
    return table.items()


def _fits(kind: str, item: "Any") -> bool:
    if kind == "number":
        return type(item) is int or type(item) is Dec
    if kind == "numbers":
        return type(item) is list and all(_fits("number", part) for part in item)
    return type(item) is {"text": str, "bytes": bytes, "bool": bool}[kind]


def check_fields(rules: "dict[str, list[Any]]", fields: "dict[str, Any]") -> None:
    """Malformed unless a claim's canonical fields are those of the profile."""
    for name, item in fields.items():
        rule = rules.get(name)
        if rule is None:
            raise Malformed("bad-value", "the profile has no field %s here" % name)
        if not _fits(rule[0], item):
            raise Malformed("bad-type", "field %s must be of type %s" % (name, rule[0]))
    for name, rule in rules.items():
        if rule[3] and name not in fields:
            raise Malformed("bad-value", "field %s is required" % name)


def parse(data: bytes) -> DeviceProfile:
    """Strict; Malformed with a reason of section 1.7."""
    profile = DeviceProfile(
        *shape.fields(data, DEVICE_PROFILE, 4, PROFILE_BYTES_MAX, "device profile")
    )
    profile._data = data
    return profile
