# The check of half.py (docs/protocol.md, 4.2), apart because it loads what verifies credentials.

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import claim as claims
from tallystick.evidence import ids
from tallystick.evidence import leaf as leaves
from tallystick.evidence._inclusion import root_from_inclusion
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.credential import Credential, Keyring, digests_of
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.errors import Unverified
from tallystick.evidence.half import Half, VerifiedHalf
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.record import kind_of

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator


def checking(
    half: Half, keyring: Keyring, *, revoked_too: bool
) -> "Generator[None, None, VerifiedHalf]":
    """As verify_half, as a generator."""
    # What costs no signature comes first.
    if kind_of(half.record) != CLAIM:
        raise Unverified("bad-half", "a half whose record is no claim")
    claim = claims.parse(half.record)
    checkpoint = checkpoints.parse(half.checkpoint)
    claim.check_maker(checkpoint.device)
    if half.index >= checkpoint.size:
        raise Unverified("bad-half", "a half whose checkpoint does not cover its record")
    leaf = leaves.leaf(half.salt, half.record)
    if root_from_inclusion(leaf, half.index, checkpoint.size, half.path) != checkpoint.root:
        raise Unverified("bad-inclusion-proof", "a half whose record is not under its checkpoint")
    yield
    if isinstance(half.credential, bytes):
        identity = keyring.find(half.credential)
        key = identity.key_at(half.credential)
    else:
        credential = Credential(half.credential)
        identity = yield from keyring.verifying(credential)
        key = identity.key_at(digests_of(credential)[-1])
    if identity.subject != SUBJECT_DEVICE:
        raise Unverified("not-enrolled", "a half of something that is not enrolled as a device")
    # By this identity and in its fleet's name; then by the key that was its newest one then.
    identity.own_key_of(checkpoint)
    yield from checkpoint.received().verifying(key)
    verified = checkpoint._as(VerifiedCheckpoint, key)
    status = identity.status_at(verified, key)
    if status in ("suspect", "compromised") and not revoked_too:
        raise Unverified("revoked", "the key of the half was revoked before its checkpoint")
    reference = ids.claim_reference(identity.id, verified.epoch, half.index, leaf)
    return VerifiedHalf(half, claim, leaf, reference, verified, identity, status)
