"""A fork proof (docs/protocol.md, 5.4): two signed heads of one log that contradict each other."""

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence._wire import Wire
from tallystick.evidence.checkpoint import Checkpoint, VerifiedCheckpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.kinds import FORK_PROOF
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, PATH_HASHES_MAX
from tallystick.evidence.proof import verify_consistency

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Two checkpoints, and a path of at most twice the hashes of an inclusion path.
FORK_PROOF_BYTES_MAX = 2 * CHECKPOINT_BYTES_MAX + 2 * PATH_HASHES_MAX * 34 + 64


class ForkProof(Wire):
    """[30, first, second, inside]; `inside` is [root, path] in the second one's tree, or None.

    Made or parsed, the proof holds: what is left to check is who signed.
    """

    def __init__(self, first: bytes, second: bytes, inside: "list[Any] | None") -> None:
        what = "fork proof"
        self.first = _head(first)
        self.second = _head(second)
        if inside is not None:
            root, path = shape.row(inside, 2, what)
            shape.octets(root, shape.HASH_SIZE, what)
            shape.hashes(path, 2 * PATH_HASHES_MAX, what)
        self.inside = inside
        self._check()

    @property
    def device(self) -> bytes:
        """Whose log it is."""
        return self.first.device

    @property
    def epoch(self) -> bytes:
        """Which of its logs."""
        return self.first.epoch

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [FORK_PROOF, self.first.encode(), self.second.encode(), self.inside]

    def _check(self) -> None:
        first, second = self.first, self.second
        if (first.device, first.epoch) != (second.device, second.epoch):
            raise Malformed("bad-value", "fork proof: two heads of different logs")
        if first.size > second.size or (self.inside is None) != (first.size == second.size):
            raise Malformed("bad-value", "fork proof: its sizes do not fit what it shows")
        root = second.root
        if self.inside is not None:
            root, path = self.inside
            verify_consistency(first.size, root, second.size, second.root, path)
        if root == first.root:
            raise Unverified("bad-consistency-proof", "fork proof: the heads do not contradict")

    def verify(self, identity: Identity) -> tuple[VerifiedCheckpoint, VerifiedCheckpoint]:
        """Both heads, signed by keys of this identity; Unverified when they are not.  Blocks."""
        first = self.first.verify(identity.own_key_of(self.first))
        return first, self.second.verify(identity.own_key_of(self.second))


def between(one: Checkpoint, other: Checkpoint, inside: "list[Any] | None") -> ForkProof:
    """The proof of two heads in any order."""
    first, second = (one, other) if one.size <= other.size else (other, one)
    return ForkProof(first.encode(), second.encode(), inside)


def parse(data: bytes) -> ForkProof:
    """Malformed with a reason of section 1.7, Unverified when the two heads can both be true."""
    proof = ForkProof(*shape.fields(data, FORK_PROOF, 3, FORK_PROOF_BYTES_MAX, "fork proof"))
    proof._data = data
    return proof


def _head(data: bytes) -> Checkpoint:
    shape.blob(data, CHECKPOINT_BYTES_MAX, "fork proof")
    return checkpoints.parse(data)
