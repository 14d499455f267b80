# The first start under a new key: noted in the journal and recorded, once; then forgotten again.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.frames import KEY, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.rekeying import RekeyedForms


def begin(ledger: "Ledger", forms: "RekeyedForms", key: "tuple[int, bytes, bytes]") -> None:
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
