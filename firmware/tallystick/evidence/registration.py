# CPython only
"""Registration policy: what a validator's log admits, and on whose word (docs/protocol.md, 6.8)."""

# [40, time_ms, previous, roots, profiles, quotas, admission]; a signed statement whose `sub` is the
# validator's id (RFC 9943, section 5.1: a transparency service states its registration policy).

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence._text import check_iss
from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import REGISTRATION_POLICY
from tallystick.evidence.limits import NAME_BYTES_MAX, POLICY_ROOTS_MAX, PROFILES_ADMITTED_MAX
from tallystick.evidence.quotarefusal import HOLDERS
from tallystick.evidence.statement import Signed
from tallystick.evidence.value import check_named

Root = list[Any]  # [name, thumbprint, digest of the peer file that brought it or None]
Quotas = dict[str, dict[str, int]]


class RegistrationPolicy(Signed):
    """As received; `previous` is the digest of the policy before it in the log."""

    def __init__(
        self,
        time_ms: int,
        previous: bytes | None,
        roots: list[Root],
        profiles: list[bytes],
        quotas: Quotas,
        admission: dict[str, Any],
    ) -> None:
        what = "registration policy"
        self.time_ms = shape.uint(time_ms, what)
        self.previous = previous
        if previous is not None:
            shape.octets(previous, shape.HASH_SIZE, what)
        self.roots = shape.array(roots, what, 0, POLICY_ROOTS_MAX)
        for row in roots:
            name, key, by = shape.row(row, 3, what)
            check_iss(name)
            shape.octets(key, shape.ID_SIZE, what)
            if by is not None:
                shape.octets(by, shape.HASH_SIZE, what)
        # One form for each content: whether a policy changed is seen from its bytes.
        shape.ascending([name.encode() for name, _, _ in roots], what)
        self.profiles = shape.hashes(profiles, PROFILES_ADMITTED_MAX, what)
        shape.ascending(profiles, what)
        self.quotas = quotas
        _check_quotas(quotas, what)
        check_named(admission)
        self.admission = admission

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [REGISTRATION_POLICY, self.time_ms, self.previous, *self._content()]

    def _content(self) -> list[Any]:
        return [self.roots, self.profiles, self.quotas, self.admission]

    def says_as(self, other: "RegistrationPolicy") -> bool:
        """Whether both admit the same."""
        return encode(self._content()) == encode(other._content())

    def verify(self, key: PublicKey, validator: bytes) -> "VerifiedRegistrationPolicy":
        """Unverified unless `key` signed it for the log of this validator."""
        if self.device != validator:
            raise Unverified("wrong-device", "the policy is another validator's")
        return self._verified(VerifiedRegistrationPolicy, key)


def _check_quotas(quotas: Any, what: str) -> None:
    if type(quotas) is not dict:
        raise Malformed("bad-type", "%s: its quotas must be a map" % what)
    for holder, limits in quotas.items():
        shape.one_of(holder, HOLDERS, what)
        if type(limits) is not dict:
            raise Malformed("bad-type", "%s: a holder's quotas must be a map" % what)
        for name, limit in limits.items():
            shape.text(name, NAME_BYTES_MAX, what)
            shape.uint(limit, what)


class VerifiedRegistrationPolicy(RegistrationPolicy):
    """`key`, the validator's, signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> RegistrationPolicy:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, REGISTRATION_POLICY)
    statement.subject_device(received)
    policy = RegistrationPolicy(*shape.row(received.values, 6, "registration policy"))
    policy.statement = received
    return policy
