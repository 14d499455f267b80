"""An uplink needs the credential of an enrolled device."""

from _folder import within
from _keyfile import config
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink


def test_an_uplink_without_a_credential_is_refused() -> None:
    def run(path: str) -> None:
        try:
            Recorder.open(config(path), uplink=MemoryUplink(), background=False)
        except Exception as error:  # noqa: BLE001  # ours
            assert "credential" in str(error) or getattr(error, "reason", "") == "bad-config"
        else:
            raise AssertionError

    within(run)
