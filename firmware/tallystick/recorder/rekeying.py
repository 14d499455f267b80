# A device whose key was rotated: which key signed which payload of its journal.  Loaded only then.

from tallystick.evidence.errors import TallyError
from tallystick.recorder import identity
from tallystick.recorder.core import Forms
from tallystick.recorder.frames import KEY, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.ledger import Ledger


class RekeyedForms(Forms):
    """The current key's forms, and those of the keys before it for payloads that they signed."""

    # (number of the first payload, forms), in order.
    before: "list[tuple[int, Forms]]" = []

    def checkpoint(self, payload: bytes, signature: bytes, ordinal: int = 0) -> bytes:
        """The signed checkpoint, with the hint of the key that signed this payload."""
        chosen = None
        if ordinal:
            for first, forms in self.before:
                if first <= ordinal:
                    chosen = forms
        if chosen is None:
            return super().checkpoint(payload, signature)
        return chosen.checkpoint(payload, signature)


def begin(ledger: "Ledger", config: "dict[str, Any]") -> None:
    """Note in the journal where the current key begins, and record it, once."""
    keys = config["keys"]
    log = ledger.log
    _, kid, thumbprint = keys[-1]
    # A journal that names none was signed by the first key.
    if (log.keys[-1][1] if log.keys else keys[0][1]) != kid:
        # What waits for a signature gets the new key's.
        mark = [log.signed + 1, kid]
        # Without it nobody could tell later which key signed: nothing may be signed before.
        if not ledger.append_control(control([KEY] + mark)):
            raise TallyError("no-journal", "the journal takes no note of the new key")
        log.keys.append(mark)
        # Another chip counts otherwise: what was known of the old one says nothing of it.
        log.intent = None
        ledger.event("key", {"thumbprint": thumbprint})
    iss, sub = config["fleet"], config["device"]
    forms = identity.form(RekeyedForms, keys[-1][0], kid, iss, sub)
    by_kid = {one[1]: identity.form(Forms, one[0], one[1], iss, sub) for one in keys}
    forms.before = [(0, by_kid[keys[0][1]])]  # type: ignore[attr-defined]  # it is rekeyed
    for first, hint in log.keys:
        if hint in by_kid:
            forms.before.append((first, by_kid[hint]))  # type: ignore[attr-defined]  # as above
    ledger.forms = forms
