# CPython only
"""The thread that polls a recorder."""

import atexit
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tallystick.recorder.recorder import Recorder

IDLE_S = 0.02
MS_PER_S = 1000
JOIN_S = 10


class Background:
    """Polls until closed; a fault of ours is counted and never ends it."""

    def __init__(self, recorder: "Recorder") -> None:
        self._recorder = recorder
        self._event = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tallystick", daemon=True)
        recorder._ledger.alarm = self.wake
        # A program that ends without close() loses nothing that it recorded.
        atexit.register(self._leave)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            pause_s = IDLE_S
            try:
                if self._recorder.poll():
                    continue
                pause_s = self._pause_s()
            except Exception as error:  # noqa: BLE001 -- the thread must outlive every defect
                self._recorder.health.last_fault = f"background:{error!r}"
            self._event.wait(pause_s)
            self._event.clear()

    def _pause_s(self) -> float:
        # While hardware signs its driver knows when to look again: IDLE_S at each of a chip's steps
        # would be a third of its signature, and looking in a circle would take Python's lock from
        # the control loop.
        ledger = self._recorder._ledger
        if ledger._signing is None:
            return IDLE_S
        waits_ms = getattr(ledger.signer, "waits", 0)
        return min(waits_ms / MS_PER_S, IDLE_S) if waits_ms else IDLE_S

    def wake(self) -> None:
        """There is work now."""
        self._event.set()

    def _leave(self) -> None:
        self.close()
        try:
            ledger = self._recorder._ledger
            while ledger.write():
                pass
            # A new file of the journal has its name from its first sync on.
            ledger.journal.sync(ledger.lock)
        except Exception as error:  # noqa: BLE001 -- the program ends, and nobody else can say it
            self._recorder.health.last_fault = f"background:{error!r}"

    def close(self) -> None:
        """End the thread."""
        atexit.unregister(self._leave)
        self._closing = True
        self._event.set()
        self._thread.join(JOIN_S)
