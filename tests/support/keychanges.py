"""What a fleet root signs about a device's key, and the device under its new one."""

from typing import Any

from support.devices import WALL_MS, Device, Fleet
from tallystick.evidence import keychange
from tallystick.evidence.credential import Credential, digests_of
from tallystick.evidence.keychange import Replacement, Revocation
from tallystick.hw.signer import Signer

Head = list[Any] | None


def last_change(statements: list[bytes]) -> bytes | None:
    """The digest of the newest key change of a credential."""
    return digests_of(Credential(statements))[-1] if len(statements) > 1 else None


def head_of(device: Device) -> Head:
    """Its newest sealed head."""
    return [device.epoch, device.size, device.root] if device.size else None


def revoke(
    device: Device, reason: int, head: Head, *, time_ms: int = WALL_MS, key: bytes | None = None
) -> list[bytes]:
    """The device's credential, longer by a revocation of its current key (or of `key`)."""
    fleet = device.fleet
    thumbprint = key or device.signer.public_key().thumbprint()
    made = Revocation(device.id, thumbprint, head, reason, time_ms, last_change(device.credential))
    return [*device.credential, made.sign(fleet.root, fleet.name, device.id)]


def rotate(device: Device, new: Signer, head: Head = None) -> "Rotated":
    """The device under its new key; what it records from now on continues its log."""
    fleet = device.fleet
    named = head_of(device) if head is None else head
    previous = last_change(device.credential)
    made = keychange.rotate(
        device.signer, new, fleet.name, device.id, 0, [], named, WALL_MS, previous
    )
    signed = made.sign(fleet.root, fleet.name, device.id)
    return Rotated(device, new, [*device.credential, signed])


def replaced(old: Device, new: Device) -> list[bytes]:
    """The new device's credential, which says that it stands in for the old one."""
    fleet: Fleet = new.fleet
    made = Replacement(new.id, old.id, head_of(old), WALL_MS, last_change(new.credential))
    return [*new.credential, made.sign(fleet.root, fleet.name, new.id)]


class Rotated(Device):
    """The same device under its new key: the id stays."""

    def __init__(self, before: Device, signer: Signer, credential: list[bytes]) -> None:
        self._id = before.id
        super().__init__(
            before.fleet,
            signer,  # type: ignore[arg-type]  # any signer
            credential,
            before.epoch,
            before.boot,
            before.uptime_ms,
            before.custody,
            list(before.stretches),
            [],
            list(before.leaves),
            before.claims,
            before.previous,
        )

    @property
    def id(self) -> bytes:
        return self._id
