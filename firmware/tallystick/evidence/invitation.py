# CPython only
"""Invitation: a fleet root lets holders of a code ask to join (docs/protocol.md, 5.5)."""

# [31, code, door, uses, validity]; a signed statement whose `sub` is the code's name.

from typing import Any

from tallystick.evidence import _shape as shape
from tallystick.evidence import joincode, statement
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, b64u, from_b64u
from tallystick.evidence.kinds import INVITATION
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, INVITATION_USES_MAX
from tallystick.evidence.statement import Signed


class Invitation(Signed):
    """code: its name, 16 bytes; door: the gateway's key; uses: 0 withdraws it; validity in s."""

    _signed_by = "root"

    def __init__(
        self, code: bytes, door: bytes, uses: int, validity: list[int] | tuple[int, int]
    ) -> None:
        what = "invitation"
        self.code = shape.octets(code, joincode.NAME_SIZE, what)
        self.door = shape.octets(door, 32, what)
        self.uses = shape.uint(uses, what)
        if uses > INVITATION_USES_MAX:
            raise Malformed("too-large", f"invitation: over {INVITATION_USES_MAX} uses")
        self.validity = shape.row(list(validity), 2, what)
        if shape.uint(validity[0], what) > shape.uint(validity[1], what):
            raise Malformed("bad-value", "invitation: its validity ends before it begins")

    def values(self) -> list[Any]:
        """The array of the CDDL, kind first."""
        return [INVITATION, self.code, self.door, self.uses, self.validity]

    def check_time(self, at_s: int) -> None:
        """Unverified("expired") outside the validity."""
        if not self.validity[0] <= at_s <= self.validity[1]:
            raise Unverified("expired", "the code is not valid at this time; ask for a new one")

    def verify(self, root: PublicKey) -> "VerifiedInvitation":
        """Unverified unless the root signed it."""
        if self.sub != b64u(self.code):
            raise Unverified("wrong-key", "the invitation's subject is not the name of its code")
        return self._verified(VerifiedInvitation, root)


class VerifiedInvitation(Invitation):
    """`root` signed it; made by verify() only."""

    root: PublicKey


def parse(data: bytes) -> Invitation:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, INVITATION, CHECKPOINT_BYTES_MAX)
    try:
        from_b64u(received.sub, joincode.NAME_SIZE)
    except Malformed:
        raise Malformed("bad-header", "an invitation's sub must be the name of a code") from None
    code, door, uses, validity = shape.row(received.values, 4, "invitation")
    shape.array(validity, "invitation")
    shape.row(validity, 2, "invitation")
    made = Invitation(code, door, uses, validity)
    made.statement = received
    return made
