# A device whose key was rotated: which key signed which payload of its journal.  Loaded only then,
# and early, while a small heap is still whole.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.core import Forms
from tallystick.recorder.frames import KEY, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger


class RekeyedForms(Forms):
    """Forms by key."""

    # (hint, forms) of the keys before the current one, in order; and as in the log: [number of the
    # first payload, hint].
    before: "list[tuple[bytes, Forms]]" = []
    marks: "list[Any]" = []

    def checkpoint(self, payload: bytes, signature: bytes, ordinal: int = 0) -> bytes:
        """As Forms."""
        kid = self.before[0][0] if ordinal else b""
        for first, hint in self.marks:
            if first <= ordinal:
                kid = hint
        for hint, forms in self.before:
            if hint == kid:
                return forms.checkpoint(payload, signature)
        return Forms.checkpoint(self, payload, signature)


def begin(ledger: "Ledger", forms: RekeyedForms, key: "tuple[int, bytes, bytes]") -> None:
    """Note in the journal where the current key begins, and record it, once."""
    log = ledger.log
    # A journal that names none was signed by the first key.
    if (log.keys[-1][1] if log.keys else forms.before[0][0]) != key[1]:
        # What waits for a signature gets the new key's.
        mark = [log.signed + 1, key[1]]
        # Without it nobody could tell later which key signed: nothing may be signed before.
        if not ledger.append_control(control([KEY] + mark)):
            raise TallyError("no-journal", "the journal takes no note of the new key")
        log.keys.append(mark)
        # Another chip counts otherwise: what was known of the old one says nothing of it.
        log.intent = None
        ledger.event("key", {"thumbprint": key[2]})
    forms.marks = log.keys
