# A full journal that is configured to refuse.  Loaded where it is.

from tallystick.evidence.errors import TallyError
from tallystick.recorder.buffer import OWN_BYTES_MAX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger

# What a record takes beside itself: a frame's check and head, and a share of the seed's frame.
FRAME_ROOM = 24


class Refused(TallyError):
    """The journal is full, and its configuration says to refuse: nothing was recorded."""


def takes(ledger: "Ledger", record: bytes) -> bool:
    """Whether the journal has room for this, beside what waits and what is said of itself."""
    size = ledger.held + len(record) + (ledger.queued() + 1) * FRAME_ROOM
    return bool(size + OWN_BYTES_MAX <= ledger.journal.room())


def check(ledger: "Ledger", record: bytes) -> None:
    """Refused where it does not take this."""
    if not takes(ledger, record):
        ledger.fault("journal", "full")
        raise Refused("store-full", "the journal is full, and `full` says to refuse")
