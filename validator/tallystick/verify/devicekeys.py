"""Which keys logs bind to a device's id, and whether one of them signed a checkpoint.

No fleet root is needed: an id is the thumbprint of the first key, and each key after it follows
from the one before by that one's own signature (docs/protocol.md, 5.2). What a log holds besides is
its validator's word and no device's: nothing is held against a device that its keys did not sign.
"""

from __future__ import annotations

from collections.abc import Iterable

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence.digest import sha256
from tallystick.evidence.enrolment import SUBJECT_DEVICE, Enrolment, check_possession
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keychange import Rotation
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.steps import finish

# As many as a credential may have: an enrolment and fifteen changes (protocol, 5.3).
KEYS_PER_DEVICE_MAX = 16
DeviceKeys = dict[bytes, list[PublicKey]]  # by device, first the key that is its id


def rotated_key(change: Rotation, old: PublicKey) -> PublicKey:
    """The key that `old` rotated to; Unverified unless both signed (the root is a policy's)."""
    old.verify(change.old_signature, change.old_message(old.alg))
    finish(check_possession(change.key, change.id, change.iss, change.possession))
    return change.key


def enrol(known: DeviceKeys, made: Enrolment) -> None:
    """Add a device's first key; an enrolment of another key than its id binds nothing."""
    if made.subject == SUBJECT_DEVICE and made.key.thumbprint() == made.id:
        known.setdefault(made.id, [made.key])


def rotate(known: DeviceKeys, change: Rotation) -> None:
    """Add the key of a rotation; one that the device's own keys did not sign binds nothing."""
    keys = known.get(change.id, [])
    if len(keys) >= KEYS_PER_DEVICE_MAX or change.key in keys:
        return
    for old in keys:
        if old.thumbprint() == change.old:
            try:
                # The list is not changed in place: others may go on from an earlier state.
                known[change.id] = [*keys, rotated_key(change, old)]
            except Unverified:
                return
            return


class Signatures:
    """Whether devices signed their checkpoints; what is known is not computed again."""

    def __init__(self) -> None:
        self._known: dict[bytes, bool] = {}

    def signed(self, data: bytes, keys: Iterable[PublicKey]) -> bool | None:
        """Whether one of a device's keys signed this checkpoint; None: by a key that is not there.

        Told apart by the key id that the checkpoint names: without that key nothing is known.
        """
        head = checkpoints.parse(data)
        named = [key for key in keys if key.kid() == head.received().kid]
        if not named:
            return None
        # Not by the statement's digest: that leaves the signature out.
        name = sha256(data)
        if name not in self._known:
            self._known[name] = any(_verifies(head, key) for key in named)
        return self._known[name]


def _verifies(head: checkpoints.Checkpoint, key: PublicKey) -> bool:
    try:
        head.verify(key)
    except Unverified:
        return False
    return True
