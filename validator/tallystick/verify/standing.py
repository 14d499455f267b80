"""The status of a signed head under a key that may have ended (docs/protocol.md, section 5.2).

Validators and relying parties share it; a device judges by `Identity.status_at`, which knows no
log and no other epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tallystick.evidence import event
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey

# Epochs that are followed back from the one that a key change names.
EPOCHS_FOLLOWED_MAX = 64
HEAD_SUSPECT, HEAD_COMPROMISED = "suspect", "compromised"

Left = Mapping[bytes, tuple[int, bytes]]  # epoch -> size and root at which its device left it


def status_of(
    identity: Identity, head: Checkpoint, key: PublicKey, left: Left, *, before: bool
) -> str:
    """The status of `head`, which `key` signed.

    `left` are the heads of the epochs that the named head's epoch descends from (`left_before`);
    `before`: it was logged before the revocation that says `compromised`.
    """
    period = identity.period(key.thumbprint())
    if not period.ended:
        return "active"
    trusted = period.end is not None and _within(period.end, left, head)
    if period.reason == HEAD_COMPROMISED:
        return "prior" if trusted and before else HEAD_COMPROMISED
    return (period.reason or "rotated") if trusted else HEAD_SUSPECT


def _within(end: list[Any], left: Left, head: Checkpoint) -> bool:
    epoch, size, root = end
    if epoch != head.epoch:
        if head.epoch not in left:
            return False
        size, root = left[head.epoch]
    return bool(head.size < size or (head.size == size and head.root == root))


def proves_nothing(identity: Identity, head: Checkpoint) -> bool:
    """Whether a head's key is revoked as compromised: then whoever took it may have signed.

    Such a head contradicts nobody (docs/protocol.md, 5.4).
    """
    period = identity.period(identity.own_key_of(head).thumbprint())
    return period.reason == HEAD_COMPROMISED


def left_before(epoch: bytes, first_record: Callable[[bytes], bytes | None]) -> Left:
    """The heads that an epoch descends from, by the first record of each epoch, where known."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for _ in range(EPOCHS_FOLLOWED_MAX):
        record = first_record(epoch)
        previous = None if record is None else previous_of(record)
        if previous is None or previous[0] in found:
            break
        epoch, size, root = previous
        found[epoch] = (size, root)
    return found


def previous_of(record: bytes) -> tuple[bytes, int, bytes] | None:
    """The head that an epoch's first record names; None when it names none."""
    try:
        made = event.parse(record)
    except Malformed:
        return None
    previous = made.details.get("previous")
    if made.event != "epoch" or not isinstance(previous, list) or len(previous) != 3:
        return None
    epoch, size, root = previous
    if type(epoch) is not bytes or type(size) is not int or type(root) is not bytes:
        return None
    return (epoch, size, root) if len(epoch) == 8 and 0 <= size < 1 << 63 else None
