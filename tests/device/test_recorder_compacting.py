"""A journal of the least size, in 64 KiB on 32 bits: it gives bodies up, says so, and goes on."""

from _folder import within
from _keyfile import config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BYTES = 16384
# What a test holds beside the recorder has to fit in the same heap.
RECORDS = 150


def settings(path: str) -> "dict[str, Any]":
    return config(path, journal_bytes=BYTES, checkpoint_records=16, checkpoint_s=1000)


def given_up(tally: "Any") -> int:
    return sum(tally.health.given_up.values())


def test_a_full_journal_gives_up_and_opens_again() -> None:
    def run(path: str) -> None:
        from tallystick.recorder import Recorder

        tally: "Any" = Recorder.open(settings(path), background=False)
        for number in range(RECORDS):
            tally.decision("m@1", {"n": number, "blob": b"." * 60}, output="go")
            while tally.poll(1):
                pass
            assert tally._ledger.journal.used <= BYTES
        assert tally.health.dropped == 0
        faults = tally.health.faults
        assert faults == {}, faults
        assert given_up(tally) > 60
        # All of it is told, or will be.
        log = tally._ledger.log
        assert len(log.untold) in (0, 6)
        levels = [file.level for file in tally._ledger.journal.list]
        assert max(levels) > 0 and levels[-1] == 0
        root, size = log.tree.root(), log.tree.size
        tally.close()
        del tally
        again: "Any" = Recorder.open(settings(path), background=False)
        assert again._ledger.log.tree.size > size
        assert again.health.faults == {}
        assert root
        again.close()

    within(run)
