"""Proofs of misbehaviour (docs/protocol.md, 9): what somebody signed cannot all be true."""

# CPython only
# Made or parsed, a proof holds by itself; what is left to check is who signed (verify).

from tallystick.evidence import _shape as shape
from tallystick.evidence._proofs import WHAT, Proof
from tallystick.evidence.cbor import decode
from tallystick.evidence.deviceproofs import Disorder, Missed, Revived
from tallystick.evidence.errors import Malformed
from tallystick.evidence.headproofs import Equivocation, TwoStories
from tallystick.evidence.kinds import MISBEHAVIOUR
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX, EVIDENCE_CBOR_ITEMS_MAX
from tallystick.evidence.verdictproofs import (
    Baseless,
    Disagreement,
    FalseVerdict,
    Ignored,
    Premature,
    Unlogged,
)

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# By the second element: what is made, and of how many fields.
_MADE: "dict[int, tuple[Callable[..., Any], int]]" = {
    Disorder.TYPE: (Disorder, 2),
    Revived.TYPE: (Revived, 3),
    TwoStories.TYPE: (TwoStories, 3),
    Missed.TYPE: (Missed, 2),
    Equivocation.TYPE: (Equivocation, 3),
    FalseVerdict.TYPE: (FalseVerdict, 2),
    Unlogged.TYPE: (Unlogged, 3),
    Ignored.TYPE: (Ignored, 3),
    Baseless.TYPE: (Baseless, 3),
    Disagreement.TYPE: (Disagreement, 2),
    Premature.TYPE: (Premature, 2),
}


def parse(data: bytes) -> Proof:
    """Malformed with a reason of section 1.7, Unverified where nothing contradicts anything."""
    shape.blob(data, EVIDENCE_BYTES_MAX, WHAT)
    shape.bounded(data, EVIDENCE_CBOR_ITEMS_MAX, WHAT)
    values = shape.array(decode(data), WHAT, 2)
    if type(values[0]) is not int or values[0] != MISBEHAVIOUR:
        raise Malformed(
            "unknown-kind", "%s: the first element is not kind %d" % (WHAT, MISBEHAVIOUR)
        )
    if type(values[1]) is not int or values[1] not in _MADE:
        raise Malformed("bad-value", WHAT + ": a type that is not known")
    made, count = _MADE[values[1]]
    proof: Proof = made(*shape.row(values[2:], count, WHAT))
    proof._data = data
    return proof
