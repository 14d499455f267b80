# CPython only
"""The thread that polls a recorder."""

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.recorder.recorder import Recorder

IDLE_S = 0.02
JOIN_S = 10


class Background:
    """Polls until closed; a fault of ours is counted and never ends it."""

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._event = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tallystick", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            try:
                worked = self._recorder.poll()
            except Exception as error:  # noqa: BLE001 -- the thread must outlive every defect
                self._recorder.health.last_fault = f"background:{error!r}"
                worked = False
            if not worked:
                self._event.wait(IDLE_S)
                self._event.clear()

    def wake(self) -> None:
        """There is work now."""
        self._event.set()

    def close(self) -> None:
        """End the thread."""
        self._closing = True
        self._event.set()
        self._thread.join(JOIN_S)
