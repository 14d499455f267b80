"""The first entry of a validator's log (docs/protocol.md, 6.3): who it is and how it signs."""

from tallystick.evidence import _shape as shape
from tallystick.evidence import statement
from tallystick.evidence.keys import PublicKey, from_cose_key
from tallystick.evidence.kinds import GENESIS
from tallystick.evidence.limits import NAME_BYTES_MAX, TEXT_BYTES_MAX
from tallystick.evidence.note import NoteKey, parse_key
from tallystick.evidence.steps import Steps
from tallystick.evidence.value import check_named

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Genesis(statement.Signed):
    """As received: names, the key of receipts, the key of log checkpoints, the policy."""

    def __init__(
        self,
        name: str,
        origin: str,
        receipt_key: PublicKey,
        note_key: NoteKey,
        policy: "dict[str, Any]",
        time_ms: int,
    ) -> None:
        what = "genesis"
        self.name = shape.text(name, NAME_BYTES_MAX, what)
        self.origin = shape.text(origin, TEXT_BYTES_MAX, what)
        self.receipt_key = receipt_key
        self.note_key = note_key
        check_named(policy)
        self.policy = policy
        self.time_ms = shape.uint(time_ms, what)

    def values(self) -> "list[Any]":
        """The array of the CDDL, kind first."""
        return [
            GENESIS,
            self.name,
            self.origin,
            self.receipt_key.cose_key(),
            self.note_key.text(),
            self.policy,
            self.time_ms,
        ]

    def verify(self, key: PublicKey) -> "VerifiedGenesis":
        """Unverified unless `key`, the validator's, signed."""
        return self._verified(VerifiedGenesis, key)

    def verifier(self, key: PublicKey) -> Steps:
        """As verify, in bounded steps."""
        return self._verifier(VerifiedGenesis, key)


class VerifiedGenesis(Genesis):
    """A genesis that `key` signed."""

    key: PublicKey


def parse(data: bytes) -> Genesis:
    """A genesis as received; Malformed with a reason of docs/protocol.md, 1.7."""
    received = statement.parse(data, GENESIS)
    name, origin, receipt_key, note_key, policy, time_ms = shape.row(received.values, 6, "genesis")
    genesis = Genesis(
        name, origin, from_cose_key(receipt_key), parse_key(note_key), policy, time_ms
    )
    statement.subject_device(received)
    genesis.statement = received
    return genesis
