# The first start under a new key: noted in the journal, once; then forgotten again.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.frames import KEY, control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.rekeying import RekeyedForms


def begin(ledger: "Ledger", forms: "RekeyedForms", key: "tuple[int, bytes]") -> bool:
    """Note in the journal where the current key begins, once; whether it begins now."""
    log = ledger.log
    begins = False
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
        begins = True
    forms.marks = log.keys
    return begins
