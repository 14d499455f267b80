"""A journal of the least size gives bodies up and goes on; in 64 KiB on 32 bits, where it can."""

import sys
import time

from _boots import follow
from _keyfile import config
from tallystick.recorder import Recorder

BYTES = 16384
# Of what records may take, where it is late to give something up.
ROOM = 1024
SETTINGS = {"journal_bytes": BYTES, "checkpoint_records": 16, "checkpoint_s": 1000}


def fill(tally: Recorder, count: int) -> None:
    journal = tally._ledger.journal
    for number in range(count):
        tally.decision("m@1", {"n": number, "blob": b"." * 60}, output="go")
        while tally.poll(1):
            pass
        assert journal.used <= BYTES
        if journal.room() < ROOM:
            # The heap was too small for it once: it is tried again, as anything is that failed.
            time.sleep(1.1)
    faults = tally.health.faults
    if sys.maxsize > 1 << 32:
        assert faults == {} and tally.health.dropped == tally.health.elided == 0, faults
    for fault in faults:
        assert fault in ("journal:compact", "journal:full") or "memory" in fault, fault
    # In 64 KiB it is close: the collector keeps a little of whatever ran before, at some starts
    # too much.  Then what finds no room is counted, and nothing else happens.
    assert faults or tally.health.given_up["decisions"] > 10


def boot_until_full(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    fill(tally, 110)
    levels = [file.level for file in tally._ledger.journal.list]
    assert levels[-1] == 0 and (max(levels) > 0 or tally.health.faults)
    tally.close()


def boot_and_go_on(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    assert tally.backlog() > 70 and tally._ledger.journal.damage == ""
    # More is given up for these.
    fill(tally, 60)
    tally.close()


def test_a_full_journal_gives_up_and_opens_again() -> None:
    follow(boot_until_full, boot_and_go_on)
