# CPython only
"""How many records are written at once.

Each write gives other threads a turn, and may then wait 5 ms for the next one (the interpreter's
switch interval), so the further a busy program is ahead, the more goes into one write.
"""

from os import urandom
from typing import TYPE_CHECKING

from tallystick.recorder.core import RECORD_ROOM, Log

if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger

RECORDS_MIN = 64
# A frame beside its record: check and head.
FRAME_ROOM = 16


def more(ledger: "Ledger", records: list[bytes]) -> int:
    """Append to `records` what is written with the first one; the size of these, in bytes."""
    held = 0
    size = len(records[0])
    room = ledger.log.stretch_room - max(size, RECORD_ROOM)
    left = ledger.journal.limit - ledger.journal.used - size - FRAME_ROOM
    for entry in ledger.queue[1 : max(RECORDS_MIN, len(ledger.queue) >> 1)]:
        if type(entry) is not bytes:
            break
        size = len(entry)
        left -= size + FRAME_ROOM
        if room <= 0 or left < 0:
            break
        room -= max(size, RECORD_ROOM)
        records.append(entry)
        held += size
    return held


def frames(log: Log, records: list[bytes]) -> bytes:
    """Their frames in one piece; the log has them afterwards."""
    found = []
    for record in records:
        found.append(log.frame(record, urandom))
        log.added(record)
    return b"".join(found)
