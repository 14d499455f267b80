"""What a recorder's program does wrongly raises, at the call."""

from _folder import within
from _keyfile import config
from tallystick.recorder import Recorder


def test_a_wrong_argument_raises() -> None:
    def run(path: str) -> None:
        tally = Recorder.open(config(path), background=False)
        for wrong in (7, "", "@", ("a", "b")):
            try:
                tally.decision(wrong)
            except ValueError:
                pass
            except Exception as error:  # noqa: BLE001  # ours
                assert getattr(error, "reason", "")
            else:
                raise AssertionError(wrong)
        tally.close()

    within(run)
