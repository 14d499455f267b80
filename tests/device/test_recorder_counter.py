"""A flash image that is put back is found by the hardware counter at boot (A02)."""

import os
from binascii import unhexlify

from _boots import copy, follow, note, noted
from _counter import FileCounter, SteppingClock, with_counter
from _folder import remove
from tallystick.recorder import Recorder

# As in test_recorder_small.py.
KEY = (
    "857074616c6c79737469636b2d6b65792f31275820ffb0c917014d7af17badf413a98ddb243373ca"
    "d8401b24289184108c6900ebc95820d527a2eb917e9f9e6c211eeac957afc943798376d7e08b4e02"
    "6bd57e2003092348c24e3c67e91b11e0"
)
MINUTE_MS = 60000


def live(path: str) -> "tuple[bytes, int | None, dict[str, int]]":
    """One boot of an hour: epoch, counter, faults."""
    from tallystick.hw.file_key import open_signer  # after what lasts

    settings = {"fleet": "acme", "key": "file:" + path + "/key", "journal": path + "/journal"}
    signer = with_counter(open_signer(path + "/key"), FileCounter(path + "/counter"))
    del open_signer
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
    note(path, "key", unhexlify(KEY))
    if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
        os.chmod(path + "/key", 0o600)
    epoch, counter, faults = live(path)
    assert counter == 1 and faults == {}
    note(path, "epoch", epoch)
    copy(path + "/journal", path + "/image")


def boot_again(path: str) -> None:
    epoch, counter, faults = live(path)
    assert epoch == noted(path, "epoch") and counter == 2 and faults == {}


def boot_of_the_older_image(path: str) -> None:
    remove(path + "/journal")
    os.rename(path + "/image", path + "/journal")
    epoch, counter, faults = live(path)
    assert epoch != noted(path, "epoch") and faults == {"counter:rollback": 1}
    assert counter == 3


def test_an_older_image_opens_the_next_epoch() -> None:
    follow(boot_first, boot_again, boot_of_the_older_image)
