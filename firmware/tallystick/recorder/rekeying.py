# A device whose key was rotated: which key signed which payload of its journal.  Loaded only then,
# and early, while a small heap is still whole.

from tallystick.recorder.core import Forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
