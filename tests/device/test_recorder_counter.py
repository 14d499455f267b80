"""A flash image that is put back is found by the hardware counter at boot (A02)."""

import os
import sys

from _boots import copy, follow, note, noted
from _counter import FileCounter, SteppingClock, with_counter
from tallystick.recorder import Recorder

MINUTE_MS = 60000


def live(path: str) -> "tuple[bytes, int | None, dict[str, int]]":
    """One boot of an hour: epoch, counter, faults."""
    # After what lasts.
    from _keyfile import config
    from tallystick.hw.file_key import open_signer

    settings = config(path)
    signer = with_counter(open_signer(path + "/key"), FileCounter(path + "/counter"))
    del config, open_signer, sys.modules["_keyfile"]
    clock = SteppingClock()
    tally = Recorder.open(settings, signer=signer, clock=clock, background=False)
    for number in range(6):
        tally.decision("m@1", {"n": number})
        clock.now += 10 * MINUTE_MS
        for _ in range(200):
            tally.step()
    found = tally.epoch, tally.health.counter, tally.health.faults
    # As a power cut ends it.
    tally._ledger.journal.files.unlock()
    return found


def boot_first(path: str) -> None:
    epoch, counter, faults = live(path)
    assert counter == 1 and faults == {}, (counter, faults)
    note(path, "epoch", epoch)
    copy(path + "/journal", path + "/image")


def boot_again(path: str) -> None:
    epoch, counter, faults = live(path)
    assert epoch == noted(path, "epoch") and counter == 2 and faults == {}, faults


def boot_of_the_older_image(path: str) -> None:
    from _folder import remove  # as little as possible lies in the heap of the others

    remove(path + "/journal")
    os.rename(path + "/image", path + "/journal")
    epoch, counter, faults = live(path)
    assert epoch != noted(path, "epoch") and faults == {"counter:rollback": 1}, faults
    assert counter == 3


def test_an_older_image_opens_the_next_epoch() -> None:
    follow(boot_first, boot_again, boot_of_the_older_image)
