"""Checkpoint: [4, epoch, size, root, claims, boot, uptime_ms, wall, counter, custody], signed."""

# docs/protocol.md, 3.1.  A signed tree head of a device's own log (RFC 9162, section 2.1), as a
# signed statement (RFC 9943).

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence._fields import checkpoint_fields
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX
from tallystick.evidence.statement import Signed
from tallystick.evidence.steps import Steps

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Checkpoint(Signed):
    """wall: (time_ms, uncertainty_ms) or None; custody: digest of a receipt or None."""

    def __init__(
        self,
        epoch: bytes,
        size: int,
        root: bytes,
        claims: int,
        boot: int,
        uptime_ms: int,
        wall: "list[int] | tuple[int, int] | None" = None,
        counter: int | None = None,
        custody: bytes | None = None,
    ) -> None:
        if type(wall) is tuple:
            wall = list(wall)
        checkpoint_fields(epoch, size, root, claims, boot, uptime_ms, wall, counter, custody)
        self.epoch = epoch
        self.size = size
        self.root = root
        self.claims = claims
        self.boot = boot
        self.uptime_ms = uptime_ms
        self.wall = wall
        self.counter = counter
        self.custody = custody

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            CHECKPOINT,
            self.epoch,
            self.size,
            self.root,
            self.claims,
            self.boot,
            self.uptime_ms,
            self.wall,
            self.counter,
            self.custody,
        ]

    def verify(self, key: PublicKey) -> "VerifiedCheckpoint":
        """Unverified unless this key signed; blocks."""
        return self._verified(VerifiedCheckpoint, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps; the result is a VerifiedCheckpoint."""
        return self._verifier(VerifiedCheckpoint, key)


class VerifiedCheckpoint(Checkpoint):
    """`key` signed it; made by verify() only."""

    key: PublicKey


def parse(data: bytes) -> Checkpoint:
    """As received; Malformed with a reason of section 1.7."""
    received = statement.parse(data, CHECKPOINT, CHECKPOINT_BYTES_MAX)
    statement.subject_device(received)
    checkpoint = Checkpoint(*shape.row(received.values, 9, "checkpoint"))
    checkpoint.statement = received
    return checkpoint


def follows(previous: Checkpoint, following: Checkpoint) -> None:
    """Unverified unless `following` may come after `previous` in one log (section 3.1)."""
    if previous.epoch != following.epoch or previous.sub != following.sub:
        raise Unverified("wrong-device", "two checkpoints of different logs have no order")
    if previous.size == following.size and previous.root != following.root:
        raise Unverified("fork", "two checkpoints of one size have different roots")
    grown = following.size - previous.size
    # Also refuses a size that falls: then nothing lies between 0 and `grown`.
    if not 0 <= following.claims - previous.claims <= grown:
        raise Unverified("bad-value", "a checkpoint's size or claims fall, or grow apart")
    if following.boot < previous.boot:
        raise Unverified("bad-value", "a checkpoint's boot count falls")
    counters = (previous.counter, following.counter)
    # No hardware counts back (docs/protocol.md, section 3.1).
    if None not in counters and counters[1] < counters[0]:  # type: ignore[operator]  # as tested
        raise Unverified("bad-value", "a checkpoint's hardware counter falls")
    if following.boot == previous.boot and following.uptime_ms < previous.uptime_ms:
        raise Unverified("bad-value", "a checkpoint's uptime falls within a boot")
