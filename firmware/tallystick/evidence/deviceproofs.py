"""Proofs about devices (docs/protocol.md, 9.2): rollback, a revived epoch, a missed interval."""

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import custody, event, half, keychange
from tallystick.evidence._proofs import WHAT, Proof, checkpoint_in, extract_in, nothing
from tallystick.evidence.checkpoint import Checkpoint, follows
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import CHECKPOINT, KEY_CHANGE
from tallystick.evidence.leaf import leaf
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, HALF_BYTES_MAX, LINEAGE_MAX
from tallystick.evidence.proof import verify_inclusion

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Disorder(Proof):
    """Two heads of one device's log of which neither may follow the other."""

    TYPE, NAME = 0, "rollback"

    def __init__(self, first: bytes, second: bytes) -> None:
        self.first, self.second = checkpoint_in(first), checkpoint_in(second)
        one, other = self.first, self.second
        if (one.device, one.epoch) != (other.device, other.epoch):
            raise nothing("two heads of different logs have no order")
        if one.size > other.size:
            raise Malformed("bad-value", WHAT + ": the larger head stands first")
        if one.size == other.size and one.root != other.root:
            raise Malformed("bad-value", WHAT + ": two roots of one size are a fork (section 5.4)")
        if _may_follow(one, other) or _may_follow(other, one):
            raise nothing("one head may follow the other")

    def fields(self) -> "list[Any]":
        return [self.first.encode(), self.second.encode()]

    @property
    def heads(self) -> list[Checkpoint]:
        """What the device signed."""
        return [self.first, self.second]

    @property
    def only_counter(self) -> bool:
        """Whether nothing but the hardware counter falls: that of another key may."""
        one, other = self.first, self.second
        pairs = [(one, other)] if one.size < other.size else [(one, other), (other, one)]
        return any(_may_follow(_without_counter(a), _without_counter(b)) for a, b in pairs)

    @property
    def device(self) -> bytes:
        """Whose log it is."""
        return self.first.device


def _may_follow(previous: Checkpoint, following: Checkpoint) -> bool:
    try:
        follows(previous, following)
    except Unverified:
        return False
    return True


def _without_counter(head: Checkpoint) -> Checkpoint:
    twin = Checkpoint(
        head.epoch,
        head.size,
        head.root,
        head.claims,
        head.boot,
        head.uptime_ms,
        head.wall,
        None,
        head.custody,
    )
    twin.statement = head.statement
    return twin


class Revived(Proof):
    """A head of an epoch that its device had left when it signed it."""

    TYPE, NAME = 1, "revived epoch"

    def __init__(self, head: bytes, lineage: list[bytes], receipt_: bytes | None) -> None:
        self.head = checkpoint_in(head)
        shape.array(lineage, WHAT, 1, LINEAGE_MAX)
        self.lineage = [half.parse(shape.blob(one, HALF_BYTES_MAX, WHAT)) for one in lineage]
        self.opened = [checkpoints.parse(one.checkpoint) for one in self.lineage]
        epoch = self.head.epoch
        for one, opened in zip(self.lineage, self.opened, strict=True):
            epoch = _next_epoch(self.head.device, epoch, one, opened)
        self.receipt = None
        if receipt_ is None:
            counters = self.head.counter, self.opened[-1].counter
            if counters[0] is None or counters[1] is None or counters[0] <= counters[1]:
                raise nothing("the hardware counter does not show that it was signed later")
            return
        made = custody.parse(shape.blob(receipt_, CHECKPOINT_BYTES_MAX, WHAT))
        if (made.device, made.epoch) != (self.head.device, epoch):
            raise nothing("the custody receipt is not over the later epoch")
        if self.head.custody != made.digest:
            raise nothing("the head does not name the custody receipt")
        self.receipt = made

    def fields(self) -> "list[Any]":
        last = None if self.receipt is None else self.receipt.encode()
        return [self.head.encode(), [one.encode() for one in self.lineage], last]

    @property
    def heads(self) -> list[Checkpoint]:
        """What the device signed."""
        return [self.head, *self.opened]

    @property
    def device(self) -> bytes:
        """Whose log it is."""
        return self.head.device


def _next_epoch(device: bytes, left: bytes, one: "half.Half", opened: Checkpoint) -> bytes:
    # The epoch whose first record says that it follows the one that was left.
    made = event.parse(one.record)
    previous = made.details.get("previous")
    if made.event != "epoch" or one.index or opened.device != device:
        raise nothing("no first record of an epoch of this device")
    if type(previous) is not list or not previous or previous[0] != left:
        raise nothing("the first record names another epoch as the one before it")
    if opened.epoch == left:
        raise nothing("an epoch does not follow itself")
    verify_inclusion(leaf(one.salt, one.record), 0, opened.size, one.path, opened.root)
    return opened.epoch


# How long a head may be on its way before an interval counts as missed.
ON_ITS_WAY_MS_MAX = 60000


class Missed(Proof):
    """A validator's log that shows no head of a device for some time.

    `head` is the last one before, `begin_ms` and `end_ms` are log times, `pause_ms` is the longest
    time in between for which the log has no time entry.
    """

    TYPE, NAME = 3, "missed interval"

    def __init__(self, device: bytes, extract: "Any") -> None:
        self.device = shape.octets(device, shape.ID_SIZE, WHAT)
        self.extract = extract_in(extract)
        now_ms: int | None = None
        head: Checkpoint | None = None
        self.begin_ms = self.end_ms = self.pause_ms = 0
        for at, one in self.extract.run():
            if isinstance(one, TimeEntry):
                if now_ms is not None and one.time_ms < now_ms:
                    raise nothing("log times that fall")
                if head is not None:
                    self.pause_ms = max(self.pause_ms, one.time_ms - self.end_ms)
                    self.end_ms = one.time_ms
                now_ms = one.time_ms
                continue
            kind = None if isinstance(one, (LoggedClaim, Closing)) else _kind_about(one, device)
            if kind == "changed":
                raise nothing("the device's key changed in the meantime")
            if kind != "head":
                continue
            if head is not None:
                break
            if now_ms is None:
                raise nothing("no log time stands before the head")
            head = checkpoints.parse(self.extract.entries[at])
            self.begin_ms = self.end_ms = now_ms
        if head is None or self.end_ms == self.begin_ms:
            raise nothing("no head of the device and a later log time")
        self.head = head

    def fields(self) -> "list[Any]":
        return [self.device, self.extract.array()]


def _kind_about(one: "Any", device: bytes) -> "str | None":
    payload = getattr(one, "payload", None)
    if payload is None:
        return None
    kind = payload[1]
    if kind == CHECKPOINT and one.device == device:
        return "head"
    if kind == KEY_CHANGE:
        change = keychange.parse(one.encode())
        if device in (change.id, getattr(change, "replaces", None)):
            return "changed"
    return None
