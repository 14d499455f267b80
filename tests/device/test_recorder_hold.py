"""A hold on flash: nothing is freed over a restart, and a full journal frees what is in custody."""

import sys

from _boots import follow
from _clock import Clock
from _keyfile import config
from tallystick.recorder import Recorder, freeing
from tallystick.recorder.files import forget
from tallystick.recorder.frames import control

BYTES = 16384
RETRY_MS = 61000
SETTINGS = {"journal_bytes": BYTES, "checkpoint_records": 16, "checkpoint_s": 100000, "wait_s": 1}
KID = b"gateway1"
CUSTODY_FRAME = 4  # recorder/frames.py; a lean library has no names of constants


def opened(path: str) -> "tuple[Recorder, Clock]":
    clock = Clock()
    return Recorder.open(config(path, **SETTINGS), clock=clock, background=False), clock


def fill(tally: Recorder, clock: Clock, count: int) -> None:
    for number in range(count):
        tally.decision("m@1", {"n": number, "blob": b"." * 60}, output="go")
        while tally.poll(1):
            pass
        said = tally.health.last_fault
        # As in test_recorder_compacting.py: in 64 KiB it is close.
        assert not tally.health.faults or "memory" in said.lower(), said
        if tally.health.faults:
            clock.now += RETRY_MS


def custody(tally: Recorder) -> None:
    """As if all that is sealed were receipted."""
    ledger = tally._ledger
    log = ledger.log
    log.custody = (log.sealed_size, b"d" * 32, b"receipt", 1790000000000)
    assert ledger.append_control(control([CUSTODY_FRAME] + list(log.custody)))


def boot_and_begin(path: str) -> None:
    tally, clock = opened(path)
    from tallystick.recorder.held import note

    ledger = tally._ledger
    assert note(ledger, KID, 3, 1790000009000) and note(ledger, KID, 4, 1790000009000)
    forget(("recorder.held",))
    fill(tally, clock, 20)
    custody(tally)
    tally.close()


def boot_and_keep(path: str) -> None:
    tally, clock = opened(path)
    ledger = tally._ledger
    from tallystick.recorder.held import in_force, keeps

    assert in_force(ledger.log) == [[KID, 4, 1790000009000]]
    assert len(in_force(ledger.log)) == 1 and keeps(ledger, 1790000000000)
    forget(("recorder.held",))
    # On 32 bits a full journal is test_recorder_compacting.py's: beside a test's own code 64 KiB do
    # not always hold what makes room.
    large = sys.maxsize > 1 << 32
    for _ in range(6 if large else 2):
        fill(tally, clock, 20)
        custody(tally)
    assert (ledger.journal.list[0].first > 0) == large
    if large:
        # The journal is full: what is in custody went first, and nothing else.
        assert tally.health.given_up == {}, tally.health.given_up
        assert ledger.fault_events["broken"] > 0
    tally.close()


def boot_and_end(path: str) -> None:
    tally, _clock = opened(path)
    ledger = tally._ledger
    from tallystick.recorder.held import in_force, keeps

    assert not keeps(ledger, 1790000009000) and in_force(ledger.log) == []
    forget(("recorder.held",))
    before = len(ledger.journal.list)
    known = ledger.log.custody
    assert known is not None
    freeing.release(ledger.journal, ledger.log.epoch, known[0], 1000000)
    assert len(ledger.journal.list) < before or before == 1
    assert ledger.log.holds[-1] == [KID, 4, 0]
    tally.close()


def test_a_hold_lasts_over_restarts_and_gives_way() -> None:
    follow(boot_and_begin, boot_and_keep, boot_and_end)
