# What the proofs of misbehaviour share (docs/protocol.md, 9).

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import extract as extracts
from tallystick.evidence import verdict
from tallystick.evidence._wire import Wire
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.extract import Extract
from tallystick.evidence.kinds import MISBEHAVIOUR
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, PATH_HASHES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.proof import verify_consistency

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WHAT = "proof of misbehaviour"


def nothing(why: str) -> Unverified:
    """What is given can all be true."""
    return Unverified("no-contradiction", "%s: %s" % (WHAT, why))


class Proof(Wire):
    """One proof: `TYPE` is the second element of its array, `NAME` what people call it."""

    TYPE = -1
    NAME = ""

    def fields(self) -> "list[Any]":
        """What follows the type."""
        raise TypeError("a proof without fields()")

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [MISBEHAVIOUR, self.TYPE, *self.fields()]


class TwoHeads(Proof):
    """As a fork proof (5.4): two heads, and [root, path] in the second one's tree, or None."""

    first: "Any"
    second: "Any"
    inside: "list[Any] | None"

    def contradict(self, inside: "Any") -> None:
        """Take `inside`; refuse what can all be true."""
        first, second = self.first, self.second
        if inside is not None:
            root, path = shape.row(inside, 2, WHAT)
            shape.octets(root, shape.HASH_SIZE, WHAT)
            shape.hashes(path, 2 * PATH_HASHES_MAX, WHAT)
        self.inside = inside
        if first.size > second.size or (inside is None) != (first.size == second.size):
            raise Malformed("bad-value", WHAT + ": its sizes do not fit what it shows")
        root = second.root
        if inside is not None:
            root, path = inside
            verify_consistency(first.size, root, second.size, second.root, path)
        if root == first.root:
            raise nothing("the second head extends the first")


def checkpoint_in(data: "Any") -> Checkpoint:
    """A device's checkpoint within a proof."""
    return checkpoints.parse(shape.blob(data, CHECKPOINT_BYTES_MAX, WHAT))


def verdict_in(data: "Any") -> verdict.Verdict:
    """A verdict within a proof."""
    return verdict.parse(shape.blob(data, STATEMENT_BYTES_MAX, WHAT))


def extract_in(value: "Any") -> Extract:
    """A log extract within a proof."""
    return value if isinstance(value, Extract) else extracts.from_array(value)
