"""Profile: what a kind of interaction consists of, and when it matches (docs/protocol.md, 6.4)."""

# [11, name, version, publisher, deadline_ms, roles, claims, checks]; its digest names it.  As a
# statement (section 1.5) it is signed by its publisher or a validator.

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement, value
from tallystick.evidence._wire import Wire
from tallystick.evidence.deviceprofile import DeviceProfile, check_claims
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, b64u
from tallystick.evidence.kinds import PROFILE
from tallystick.evidence.limits import PARTIES_MAX, PROFILE_BYTES_MAX, PROFILE_CHECKS_MAX
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CHECKS = ("agree", "order", "within", "limit", "quorum", "custody", "exclusive")


class Profile(Wire):
    """roles: name -> [min, max]; claims: see DeviceProfile; checks: [check, name, parameters]."""

    def __init__(
        self,
        name: str,
        version: int,
        publisher: str,
        deadline_ms: int,
        roles: "dict[str, list[int]]",
        claims: "dict[str, Any]",
        checks: "list[list[Any]]",
    ) -> None:
        self.name = value.check_name(name)
        self.version = shape.uint(version, "profile")
        self.publisher = value.check_name(publisher)
        self.deadline_ms = shape.uint(deadline_ms, "profile")
        self.roles = _check_roles(roles)
        self.claims = check_claims(claims)
        for role in claims:
            if role not in roles:
                raise Malformed("bad-value", "profile: claims of a role that it does not have")
        self.checks = _check_checks(checks)
        self._digest: bytes | None = None

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            PROFILE,
            self.name,
            self.version,
            self.publisher,
            self.deadline_ms,
            self.roles,
            self.claims,
            self.checks,
        ]

    @property
    def digest(self) -> bytes:
        """SHA-256 over the encoding, which names the profile."""
        if self._digest is None:
            self._digest = sha256(self.encode())
        return self._digest

    def device_profile(self) -> DeviceProfile:
        """What a device needs of it."""
        return DeviceProfile(self.digest, self.name, self.version, self.claims)


def _check_roles(roles: "Any") -> "dict[str, list[int]]":
    if type(roles) is not dict or not roles:
        raise Malformed("bad-type", "profile: roles must be a map of at least one")
    for role, cardinality in roles.items():
        value.check_name(role)
        least, most = shape.row(cardinality, 2, "role")
        shape.uint(least, "role", PARTIES_MAX)
        if shape.uint(most, "role", PARTIES_MAX) < max(1, least):
            raise Malformed("bad-value", "role: its maximum is below its minimum or 1")
    return roles


def _check_checks(checks: "Any") -> "list[list[Any]]":
    names = []
    for check in shape.array(checks, "checks", 0, PROFILE_CHECKS_MAX):
        kind, name, parameters = shape.row(check, 3, "check")
        shape.one_of(kind, CHECKS, "check")
        names.append(value.check_name(name))
        value.check_named(parameters)
    if len(set(names)) != len(names):
        raise Malformed("duplicate-key", "checks: a name is given twice")
    return checks  # type: ignore[no-any-return]  # checked by array()


def parse(data: bytes) -> Profile:
    """Strict; Malformed with a reason of section 1.7."""
    profile = Profile(*shape.fields(data, PROFILE, 7, PROFILE_BYTES_MAX, "profile"))
    profile._data = data
    return profile


class SignedProfile(Signed):
    """A profile as a statement; `sub` is its digest."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return self.profile.values()

    def subject(self) -> str:
        """What `sub` must be: the profile digest as text."""
        return b64u(self.profile.digest)

    def verify(self, key: PublicKey) -> "VerifiedProfile":
        """Unverified unless this key, the publisher's, signed; blocks."""
        return self._verified(VerifiedProfile, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps; the result is a VerifiedProfile."""
        return self._verifier(VerifiedProfile, key)


class VerifiedProfile(SignedProfile):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse_statement(data: bytes) -> SignedProfile:
    """As received; Malformed with a reason of section 1.7, Unverified for another subject."""
    received = statement.parse(data, PROFILE)
    signed = SignedProfile(parse(received.payload))
    if received.sub != signed.subject():
        raise Unverified("wrong-device", "a profile's subject is not its digest")
    signed.statement = received
    return signed
