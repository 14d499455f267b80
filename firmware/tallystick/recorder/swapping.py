# The compacted file in place of the one before, once what it lost is noted.  Loaded where there is
# one.

from tallystick.recorder.giving import KINDS, mark_given
from tallystick.recorder.journal import LESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.recorder import Recorder
    from tallystick.recorder.rewriting import Plan


def note(ledger: "Ledger", plan: "Plan") -> bool:
    """Note what this file loses, before it does; False when that cannot be written now."""
    with ledger.lock:
        log = ledger.log
        file, level = plan[:2]
        first, to, counts = plan[5:]
        if file not in ledger.journal.list or file.epoch != log.epoch:
            return False
        if first < 0 or log.told == [file.number, level]:
            return True
        before = log.told, log.hollow, log.untold
        frame = mark_given(log, file.number, level, first, to, *counts)
        if not ledger.append(frame, reserved=True):
            log.told, log.hollow, log.untold = before
            return False
        given = ledger.health.given_up
        for kind, count in enumerate(counts):
            if count:
                given[KINDS[kind]] = given.get(KINDS[kind], 0) + count
        return True


def swap(tally: "Recorder", plan: "Plan") -> "Generator[None, None, None]":
    """Put the file that was written in place of the old one, once what it lost is noted."""
    ledger = tally._ledger
    journal = ledger.journal
    files = journal.files
    file = plan[0]
    if not note(ledger, plan):
        files.remove(LESS)
        return
    journal.sync(ledger.lock)
    while not _let_go(tally, file.number):
        yield
    with ledger.lock:
        size = files.size(LESS)
        old, before = file.name, file.level
        file.level = plan[1]
        try:
            files.rename(LESS, file.name)
        except OSError:
            file.level = before
            raise
        journal.used += size - file.size
        file.size = size
    # Kept in mind, should the flash fail now: it must not come back when the new one is freed.
    journal.leftover = old
    files.remove(old)
    journal.leftover = ""


def _let_go(tally: "Recorder", number: int) -> bool:
    # Flash file systems do not keep what an open file holds when it is removed.
    sender, downlink, link = tally._sender, tally._downlink, tally._link
    if downlink is not None and downlink.reading:
        return False
    if sender is None or link is None:
        return True
    return sender.let_go(number, link)
