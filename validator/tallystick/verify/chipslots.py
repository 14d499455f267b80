"""Which slot of which ATECC608 a key's evidence names: a slot holds one key, so it is one id's."""

from __future__ import annotations

from typing import Any

from tallystick.evidence import custody_atecc608
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError

Slot = tuple[bytes, int]


def slot_of(evidence: list[Any]) -> Slot | None:
    """(serial number, slot), None where the evidence names none; as told, and not verified."""
    for kind, data in evidence:
        if kind == custody_atecc608.TYPE:
            try:
                told = custody_atecc608.parse(data)
            except TallyError:
                return None
            return told.serial, told.slot
    return None


def slots_of(identity: Identity) -> set[Slot]:
    """Those of its keys that nobody ended: a slot may make a new key when the old one is lost."""
    found = set()
    for period in identity.keys:
        slot = slot_of(period.evidence)
        if slot is not None and not period.ended and period.reason is None:
            found.add(slot)
    return found


def named(slot: Slot) -> str:
    """The slot as people read it on the chip's own listing."""
    serial, number = slot
    return f"slot {number} of the ATECC608 {serial.hex().upper()}"
