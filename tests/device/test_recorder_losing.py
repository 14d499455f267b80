"""A sync that fails once: the journal is opened again, and nothing is lost where nothing was.

In a heap that does not hold what opens a journal nothing more is signed, health says so, and the
next boot goes on.
"""

from _boots import follow, note, noted
from _clock import Clock
from _keyfile import config
from tallystick.recorder import Recorder
from tallystick.recorder.files import Files

SETTINGS = {"checkpoint_s": 0.001, "wait_s": 3}


class Failing(Files):
    left = 0

    def sync(self, handle: "object") -> None:
        if self.left:
            self.left -= 1
            raise OSError(5)
        Files.sync(self, handle)  # type: ignore[arg-type]  # a file


def boot_whose_flash_fails(path: str) -> None:
    files = Failing(path + "/journal")
    settings = config(path, **SETTINGS)
    tally = Recorder.open(settings, clock=Clock(), background=False, files=files)
    for number in range(10):
        tally.decision("m@1", {"n": number}, output="go")
        tally.poll(20)
    # The journal has its name by now: before, all of it would be gone.
    assert tally.flush()
    note(path, "epoch", tally.epoch)
    files.left = 2
    for number in range(20):
        tally.decision("m@1", {"n": number}, output="go")
        tally.poll(20)
    health = tally.health
    if tally.flush():
        assert health.faults["flash:sync"] == 2 and health.dropped == 0, health.faults
    else:
        assert not health.flash_ok and health.last_fault == "flash:sync (MemoryError)"
    files.unlock()


def boot_again(path: str) -> None:
    tally = Recorder.open(config(path, **SETTINGS), clock=Clock(), background=False)
    assert tally.epoch == noted(path, "epoch")
    # The epoch, two boots, and at least what was signed before.
    assert tally.backlog() >= 13
    tally.decision("m@1", {"n": 1}, output="go")
    assert tally.flush() and tally.health.faults == {}
    tally.close()


def test_a_sync_that_fails_once() -> None:
    follow(boot_whose_flash_fails, boot_again)
