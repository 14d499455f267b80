"""One slot of one ATECC608 is one member's: the fleet root vouches for it once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tallystick.evidence.errors import Unverified
from tallystick.verify.chipslots import named, slot_of, slots_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tallystick.tools.fleetdir import Member


def check_free(members: Iterable[Member], evidence: list[Any]) -> None:
    """Unverified("already-enrolled") where another member's key is in the slot of this evidence."""
    slot = slot_of(evidence)
    if slot is None:
        return
    for member in members:
        if slot in slots_of(member.identity):
            raise Unverified(
                "already-enrolled",
                f"{named(slot)} is enrolled already, as {member.label}; if it made a new key there "
                f"and the old one is gone, say so first: `tally fleet revoke` for {member.label}",
            )
