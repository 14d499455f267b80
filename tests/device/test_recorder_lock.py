"""One recorder a journal: a second one is refused while the first is open."""

import os
from binascii import unhexlify

from _folder import within
from tallystick.evidence.errors import TallyError
from tallystick.recorder.files import Files

# As in test_recorder_small.py.
KEY = (
    "857074616c6c79737469636b2d6b65792f31275820ffb0c917014d7af17badf413a98ddb243373ca"
    "d8401b24289184108c6900ebc95820d527a2eb917e9f9e6c211eeac957afc943798376d7e08b4e02"
    "6bd57e2003092348c24e3c67e91b11e0"
)


def refused(path: str) -> bool:
    try:
        Files(path).lock()
    except OSError as error:
        return "another recorder" in str(error)
    return False


def test_a_folder_is_locked_until_it_is_given_back() -> None:
    def run(path: str) -> None:
        first = Files(path + "/journal")
        first.lock()
        assert refused(path + "/journal")
        assert refused(path + "/journal/")
        other = Files(path + "/other")
        other.lock()
        other.unlock()
        first.unlock()
        first.unlock()
        again = Files(path + "/journal")
        again.lock()
        again.unlock()

    within(run)


def test_a_relative_name_is_the_same_folder() -> None:
    def run(path: str) -> None:
        before = os.getcwd()
        os.chdir(path)
        try:
            first = Files("journal")
            first.lock()
            assert refused(path + "/journal")
            first.unlock()
        finally:
            os.chdir(before)

    within(run)


def test_an_open_that_fails_gives_the_folder_back() -> None:
    def run(path: str) -> None:
        from tallystick.recorder import Recorder

        with open(path + "/key", "wb") as file:
            file.write(unhexlify(KEY))
        if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
            os.chmod(path + "/key", 0o600)
        os.mkdir(path + "/journal")
        # A folder where a file should be: the flash does not give it.
        os.mkdir(path + "/journal/00000001.tally")
        settings = {"fleet": "acme", "key": "file:" + path + "/key", "journal": path + "/journal"}
        reason = ""
        try:
            Recorder.open(settings, background=False)
        except TallyError as error:
            reason = error.reason
        assert reason == "no-journal"
        assert not refused(path + "/journal")

    within(run)
