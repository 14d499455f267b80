"""One disclosed record of any kind: the bytes, their salt and path, the signed checkpoint.

It is written as a half (docs/protocol.md, sections 4.2 and 7).  The recorder's `verify_half` takes
claims only and refuses revoked keys; here every kind is shown, and a doubtful key is named.
"""

from __future__ import annotations

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import ids, keycustody
from tallystick.evidence import leaf as leaves
from tallystick.evidence import record as records
from tallystick.evidence.checkpoint import VerifiedCheckpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.credential import Credential
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.errors import Unverified
from tallystick.evidence.half import Half
from tallystick.evidence.proof import verify_inclusion
from tallystick.verify._identities import Identities
from tallystick.verify.report import Record


def verify_disclosure(half: Half, known: Identities) -> tuple[Record, VerifiedCheckpoint]:
    """The record, verified up to a key that an accepted fleet enrolled.

    CouldNotCheck when the credential is not there, Unverified("not-enrolled") when no accepted
    root vouches for it, another Unverified when something is wrong.
    """
    body = records.parse(half.record)
    checkpoint = checkpoints.parse(half.checkpoint)
    if isinstance(body, Claim):
        body.check_maker(checkpoint.device)
    if half.index >= checkpoint.size:
        raise Unverified("bad-half", "a record that its checkpoint does not cover")
    leaf = leaves.leaf(half.salt, half.record)
    verify_inclusion(leaf, half.index, checkpoint.size, half.path, checkpoint.root)
    if isinstance(half.credential, bytes):
        identity = known.keyring.find(half.credential)
    else:
        identity = known.keyring.verify(Credential(half.credential))
    identity = known.learn(identity)
    if identity.subject != SUBJECT_DEVICE:
        raise Unverified("not-enrolled", "a record of something that is not enrolled as a device")
    key = identity.own_key_of(checkpoint)
    verified = checkpoint.verify(key)
    held = keycustody.of_key(identity, key.thumbprint())
    record = Record(
        device=identity.id,
        epoch=checkpoint.epoch,
        index=half.index,
        leaf=leaf,
        reference=ids.claim_reference(identity.id, checkpoint.epoch, half.index, leaf),
        boot=checkpoint.boot,
        status=identity.status_at(verified, key),
        key=key.thumbprint(),
        held=held,
        identity=identity,
        body=body,
    )
    return record, verified
