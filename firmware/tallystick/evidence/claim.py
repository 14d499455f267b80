"""Claim: what its maker states about its own part of an interaction (docs/protocol.md, 2.1)."""

# [1, uptime_ms, namespace, interaction, profile, role, claim, fields, constraints, parties,
#  interval, relied]

from tallystick.evidence import _shape as shape
from tallystick.evidence import ids, value
from tallystick.evidence._wire import Wire
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.limits import PARTIES_MAX, RECORD_BYTES_MAX, RELIED_MAX, TEXT_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Claim(Wire):
    """interaction: the task's text or 16 random bytes; parties: role -> ids, the maker's too."""

    def __init__(
        self,
        uptime_ms: int,
        namespace: str,
        interaction: str | bytes,
        profile: bytes,
        role: str,
        claim: str,
        fields: "dict[str, Any]",
        constraints: "dict[str, list[Any]]",
        parties: dict[str, list[bytes]],
        interval: list[int] | None,
        relied: list[bytes],
    ) -> None:
        self.uptime_ms = shape.uint(uptime_ms, "claim")
        self.namespace = value.check_name(namespace)
        if type(interaction) is bytes:
            shape.octets(interaction, ids.INTERACTION_SIZE, "interaction id")
        else:
            shape.text(interaction, TEXT_BYTES_MAX, "task")
        self.interaction = interaction
        self.profile = shape.octets(profile, 32, "profile digest")
        self.role = value.check_name(role)
        self.claim = value.check_name(claim)
        self.fields = value.check_named(fields)
        self.constraints = _check_constraints(constraints, fields)
        self.parties = check_parties(parties)
        self.interval = _check_interval(interval)
        self.relied = shape.hashes(relied, RELIED_MAX, "relied")
        shape.ascending(relied, "relied")

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            CLAIM,
            self.uptime_ms,
            self.namespace,
            self.interaction,
            self.profile,
            self.role,
            self.claim,
            self.fields,
            self.constraints,
            self.parties,
            self.interval,
            self.relied,
        ]

    def interaction_id(self) -> bytes:
        """16 bytes."""
        return ids.interaction_id(self.profile, self.namespace, self.interaction)

    def party_set(self) -> bytes:
        """32 bytes."""
        return ids.party_set(self.parties)

    def check_maker(self, device: bytes) -> None:
        """Unverified unless the device is in the claim's own party map under its role."""
        if device not in self.parties.get(self.role, ()):
            raise Unverified("not-a-party", "the maker is not in its claim's own party map")


def parse(data: bytes) -> Claim:
    """Strict; Malformed with a reason of section 1.7."""
    claim = Claim(*shape.fields(data, CLAIM, 11, RECORD_BYTES_MAX, "claim"))
    claim._data = data
    return claim


def _check_constraints(constraints: "Any", fields: "dict[str, Any]") -> "dict[str, list[Any]]":
    if type(constraints) is not dict:
        raise Malformed("bad-type", "constraints must be a map")
    for name, constraint in constraints.items():
        if name not in fields:
            raise Malformed("bad-value", "a constraint on a field that the claim does not have")
        value.check_number(fields[name])
        value.check_limit(*shape.row(constraint, 4, "constraint"))
    return constraints


def check_parties(parties: "Any") -> dict[str, list[bytes]]:
    """The map from role to device ids, unique and in bytewise order within a role."""
    if type(parties) is not dict:
        raise Malformed("bad-type", "parties must be a map")
    if not parties:
        raise Malformed("bad-value", "parties: no role")
    count = 0
    for role, devices in parties.items():
        value.check_name(role)
        count += len(shape.hashes(devices, PARTIES_MAX, "parties"))
        if not devices:
            raise Malformed("bad-value", "parties: a role without a device")
        shape.ascending(devices, "parties")
    if count > PARTIES_MAX:
        raise Malformed("too-large", "parties: more than 32 device ids")
    return parties


def _check_interval(interval: "Any") -> list[int] | None:
    if interval is not None:
        begin, end, uncertainty = shape.row(interval, 3, "interval")
        for field in (begin, end, uncertainty):
            shape.uint(field, "interval")
        if begin > end:
            raise Malformed("bad-value", "interval: ends before it begins")
    return interval  # type: ignore[no-any-return]  # checked by row()


def declare(
    fields: "dict[str, Any]", constraints: "dict[str, Any]", decimals: int = 6
) -> "dict[str, list[Any]]":
    """Constraints of API values, name -> (operator, limit[, unit]), with the result computed."""
    from tallystick.evidence import number  # noqa: PLC0415  # costs heap

    declared = {}
    for name, rule in constraints.items():
        if type(rule) is not tuple or not 2 <= len(rule) <= 3:
            raise Malformed("bad-type", "a claim's constraint is (operator, limit[, unit])")
        if name not in fields:
            raise Malformed("bad-value", "a constraint on a field that the claim does not have")
        limit = number.of(rule[1], decimals)
        held = value.holds(value.check_number(fields[name]), rule[0], limit)
        declared[name] = [rule[0], limit, rule[2] if len(rule) == 3 else None, held]
    return declared
