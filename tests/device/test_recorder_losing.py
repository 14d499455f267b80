"""A sync that fails once: the journal is opened again, and nothing is lost where nothing was."""

from binascii import unhexlify

from _folder import within

# As in test_recorder_small.py.
KEY = (
    "857074616c6c79737469636b2d6b65792f31275820ffb0c917014d7af17badf413a98ddb243373ca"
    "d8401b24289184108c6900ebc95820d527a2eb917e9f9e6c211eeac957afc943798376d7e08b4e02"
    "6bd57e2003092348c24e3c67e91b11e0"
)
# It works in 80 KiB of 32 bits with the library for boards; in less nothing is signed any more.
RUNS_ON = ("cpython", "micropython64")
RUNS_ON_BECAUSE = "what reads a journal takes 12 KiB beside all that a running recorder holds"


def test_a_sync_that_fails_once() -> None:
    def run(path: str) -> None:
        import os

        from tallystick.recorder import Recorder
        from tallystick.recorder.files import Files

        class Failing(Files):
            left = 0

            def sync(self, handle: "object") -> None:
                if self.left:
                    self.left -= 1
                    raise OSError(5)
                Files.sync(self, handle)  # type: ignore[arg-type]  # a file

        with open(path + "/key", "wb") as file:
            file.write(unhexlify(KEY))
        if hasattr(os, "chmod"):  # CPython's; a key that others may read is refused there
            os.chmod(path + "/key", 0o600)
        settings = {
            "fleet": "acme",
            "key": "file:" + path + "/key",
            "journal": path + "/journal",
            "checkpoint_s": 0.001,
        }
        files = Failing(path + "/journal")
        tally = Recorder.open(settings, background=False, files=files)
        for number in range(30):
            if number == 10:
                # The journal has its name by now: before, all of it would be gone.
                assert tally.flush()
                files.left = 2
            tally.decision("m@1", {"n": number}, output="go")
            tally.poll(20)
        assert tally.flush(), tally.health.as_dict()
        assert tally.health.faults["flash:sync"] == 2, tally.health.faults
        assert tally.health.dropped == 0
        tally.close()

    within(run)
