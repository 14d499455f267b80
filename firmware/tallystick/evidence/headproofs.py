"""Proofs of two heads (docs/protocol.md, 9.3): a gateway's two stories, a validator's two logs."""

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import gatewayhead
from tallystick.evidence import note as notes
from tallystick.evidence._proofs import WHAT, TwoHeads, nothing
from tallystick.evidence.gatewayhead import GatewayHead
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.note import Note

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _gateway_head(data: "Any") -> GatewayHead:
    return gatewayhead.parse(shape.blob(data, STATEMENT_BYTES_MAX, WHAT))


def _note_in(text: "Any") -> Note:
    return notes.parse(shape.text(text, LOG_CHECKPOINT_BYTES_MAX, WHAT))


class TwoStories(TwoHeads):
    """Two signed heads of one gateway's log that contradict each other."""

    TYPE, NAME = 2, "gateway with two stories"

    def __init__(self, first: bytes, second: bytes, inside: "list[Any] | None") -> None:
        self.first, self.second = _gateway_head(first), _gateway_head(second)
        if self.first.device != self.second.device:
            raise nothing("two gateways' heads have nothing to do with each other")
        self.contradict(inside)

    def fields(self) -> "list[Any]":
        return [self.first.encode(), self.second.encode(), self.inside]


class Equivocation(TwoHeads):
    """Two checkpoints of one validator's log that contradict each other."""

    TYPE, NAME = 4, "validator with two logs"

    def __init__(self, first: str, second: str, inside: "list[Any] | None") -> None:
        self.first, self.second = _note_in(first), _note_in(second)
        if self.first.origin != self.second.origin:
            raise nothing("two logs' checkpoints have nothing to do with each other")
        self.contradict(inside)

    def fields(self) -> "list[Any]":
        return [self.first.text(), self.second.text(), self.inside]
