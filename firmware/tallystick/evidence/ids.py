"""Identifiers that are digests (docs/protocol.md, sections 1.3 and 2.1)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence.cbor import encode
from tallystick.evidence.digest import sha256
from tallystick.evidence.limits import NAME_BYTES_MAX, TEXT_BYTES_MAX

INTERACTION_SIZE = 16


def claim_reference(device: bytes, epoch: bytes, index: int, leaf: bytes) -> bytes:
    """32 bytes: SHA-256 over [device id, epoch, index, leaf hash]."""
    return sha256(encode([device, epoch, index, leaf]))


def interaction_id(profile: bytes, namespace: str, interaction: str | bytes) -> bytes:
    """16 bytes: those of a random id, else the begin of SHA-256 over [profile, namespace, task]."""
    if type(interaction) is bytes:
        return shape.octets(interaction, INTERACTION_SIZE, "interaction id")
    shape.octets(profile, shape.HASH_SIZE, "profile digest")
    shape.text(namespace, NAME_BYTES_MAX, "namespace")
    shape.text(interaction, TEXT_BYTES_MAX, "task")
    return sha256(encode([profile, namespace, interaction]))[:INTERACTION_SIZE]


def party_set(parties: dict[str, list[bytes]]) -> bytes:
    """32 bytes: SHA-256 over the map from role to device ids."""
    return sha256(encode({role: list(ids) for role, ids in parties.items()}))
