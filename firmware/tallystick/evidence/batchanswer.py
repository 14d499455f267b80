"""A validator's answer to a batch (docs/protocol.md, 6.2)."""

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.kinds import BATCH_ANSWER
from tallystick.evidence.limits import (
    ANSWER_CBOR_ITEMS_MAX,
    BATCH_BYTES_MAX,
    NAME_BYTES_MAX,
    STATEMENT_BYTES_MAX,
)

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _listed(row: "Any") -> "Any":
    return list(row) if isinstance(row, tuple) else row


class BatchAnswer(Wire):
    """Size of the gateway log it has; [statement digest, receipt]; refused [index, reason]."""

    def __init__(
        self,
        size: int,
        receipts: "list[tuple[bytes, bytes]]",
        refused: "list[tuple[int, str]]",
    ) -> None:
        what = "batch answer"
        self.size = shape.uint(size, what)
        self.receipts = []
        for row in shape.array(receipts, what):
            digest, receipt = shape.row(_listed(row), 2, what)
            shape.octets(digest, shape.HASH_SIZE, what)
            self.receipts.append((digest, shape.blob(receipt, STATEMENT_BYTES_MAX, what)))
        self.refused = []
        for row in shape.array(refused, what):
            index, reason = shape.row(_listed(row), 2, what)
            shape.uint(index, what)
            self.refused.append((index, shape.text(reason, NAME_BYTES_MAX, what)))

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            BATCH_ANSWER,
            self.size,
            [list(row) for row in self.receipts],
            [list(row) for row in self.refused],
        ]


def parse(data: bytes) -> BatchAnswer:
    """The answer of one encoding; Malformed with a reason of docs/protocol.md, 1.7."""
    what = "batch answer"
    shape.blob(data, BATCH_BYTES_MAX, what)
    shape.bounded(data, ANSWER_CBOR_ITEMS_MAX, what)
    answer = BatchAnswer(*shape.fields(data, BATCH_ANSWER, 3, BATCH_BYTES_MAX, what))
    answer._data = data
    return answer
