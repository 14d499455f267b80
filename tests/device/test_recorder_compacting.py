"""A journal of the least size gives bodies up and goes on; in 64 KiB on 32 bits, where it can."""

import sys

from _boots import follow
from _clock import Clock
from _keyfile import config
from tallystick.recorder import Recorder

BYTES = 16384
# More than until anything is tried again.
RETRY_MS = 61000
SETTINGS = {"journal_bytes": BYTES, "checkpoint_records": 16, "checkpoint_s": 100000, "wait_s": 1}


def opened(path: str) -> "tuple[Recorder, Clock]":
    clock = Clock()
    return Recorder.open(config(path, **SETTINGS), clock=clock, background=False), clock


def fill(tally: Recorder, clock: Clock, count: int) -> None:
    journal = tally._ledger.journal
    for number in range(count):
        tally.decision("m@1", {"n": number, "blob": b"." * 60}, output="go")
        while tally.poll(1):
            pass
        assert journal.used <= BYTES
        faults = tally.health.faults
        said = tally.health.last_fault
        # Whatever is tried, the heap may be too small for it: then that is what health says.
        assert not faults or said == "journal:full" or "memory" in said.lower(), said
        if faults:
            # It is tried again, as anything is that failed.
            clock.now += RETRY_MS
    faults = tally.health.faults
    if sys.maxsize > 1 << 32:
        assert faults == {} and tally.health.dropped == tally.health.elided == 0, faults
    # In 64 KiB it is close: the collector keeps a little of whatever ran before, at some starts
    # too much.  Then what finds no room is counted, and nothing else happens.
    assert faults or tally.health.given_up["decisions"] > 10


def boot_until_full(path: str) -> None:
    tally, clock = opened(path)
    fill(tally, clock, 110)
    levels = [file.level for file in tally._ledger.journal.list]
    assert levels[-1] == 0 and (max(levels) > 0 or tally.health.faults)
    tally.close()


def boot_and_go_on(path: str) -> None:
    tally, clock = opened(path)
    assert tally.backlog() > 70 and tally._ledger.journal.damage == ""
    # More is given up for these.
    fill(tally, clock, 60)
    tally.close()


def test_a_full_journal_gives_up_and_opens_again() -> None:
    follow(boot_until_full, boot_and_go_on)
