"""A journal of the least size, in 64 KiB on 32 bits: it gives bodies up, says so, and goes on."""

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
    assert tally.health.dropped == tally.health.elided == 0, tally.health.faults
    for fault in tally.health.faults:
        assert fault in ("journal:compact", "memory:step"), fault


def boot_until_full(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    fill(tally, 110)
    assert tally.health.given_up["decisions"] > 20
    levels = [file.level for file in tally._ledger.journal.list]
    assert max(levels) > 0 and levels[-1] == 0
    tally.close()


def boot_and_go_on(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), background=False)
    assert tally.backlog() > 110
    fill(tally, 40)
    # More is given up for these, and all of it is told by now.
    assert tally.health.given_up["decisions"] > 10
    assert tally._ledger.log.untold == []
    tally.close()


def test_a_full_journal_gives_up_and_opens_again() -> None:
    follow(boot_until_full, boot_and_go_on)
