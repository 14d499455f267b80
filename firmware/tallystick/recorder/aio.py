"""The recorder for asyncio programs, on CPython and on MicroPython: the same one, awaited."""

# A shell: it calls the steps that a plain loop calls, and awaits between them.

import asyncio
import sys

from tallystick.recorder.recorder import Recorder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

MICROPYTHON = sys.implementation.name == "micropython"
# Where the last step had nothing to do.
IDLE_S = 0.005


class AsyncRecorder:
    """All that a Recorder has; what waits there is awaited here. decision() and event() are calls.

    Make it with open(); `async with` polls in a task and closes at the end.
    """

    def __init__(self, tally: Recorder) -> None:
        self.tally = tally
        # A thread seals and signs: then what waits does so in other threads.
        self._threads = not MICROPYTHON and getattr(tally, "_worker", None) is not None
        self._polling: "Any" = None
        # The hot path.
        self.decision = tally.decision
        self.event = tally.event

    @classmethod
    async def open(cls, *args: "Any", **named: "Any") -> "AsyncRecorder":
        """As Recorder.open(). On CPython `background=False` does it all in the event loop."""
        if MICROPYTHON:
            return cls(Recorder.open(*args, **named))
        return cls(await _elsewhere(Recorder.open, *args, **named))

    def __getattr__(self, name: str) -> "Any":
        return getattr(self.tally, name)

    async def __aenter__(self) -> "AsyncRecorder":
        if not self._threads:
            self._polling = asyncio.create_task(self.poll_forever())
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()

    async def poll_forever(self) -> None:
        """A bounded step at a time, for ever; other tasks run between them."""
        while True:
            # Nothing to do there where a thread does it.
            worked = not self._threads and self.tally.step()
            await asyncio.sleep(0 if worked else IDLE_S)

    async def claim(self, *args: "Any", **named: "Any") -> "Any":
        """As Recorder.claim()."""
        if self._threads:
            return await _elsewhere(self.tally.claim, *args, **named)
        named["wait"] = False
        handle = self.tally.claim(*args, **named)
        if not handle.ready:
            await self._ready(handle)
        return handle.result() if handle.ready else b""

    async def accept(self, half: bytes) -> "Any":
        """As Recorder.accept()."""
        if self._threads:
            return await _elsewhere(self.tally.accept, half)
        handle = self.tally.accept(half, wait=False)
        if not handle.ready:
            await self._ready(handle)
        if handle.error is not None:
            raise handle.error
        return handle.value or None

    async def urgent(
        self,
        model: "Any",
        inputs: "Any" = None,
        constraints: "Any" = None,
        output: "Any" = None,
        context: "Any" = None,
    ) -> None:
        """As decision(urgent=True)."""
        if hasattr(self.health, "off"):
            return
        words = (model, inputs, constraints, output, context)
        if self._threads:
            await _elsewhere(self.tally.decision, *words, urgent=True)
            return
        from tallystick.recorder.handle import add_later  # noqa: PLC0415  # rarely

        await self._ready(add_later(self.tally, *words))

    async def flush(self) -> bool:
        """As Recorder.flush()."""
        if self._threads:
            done: bool = await _elsewhere(self.tally.flush)
            return done
        if hasattr(self.tally.health, "off"):
            return True
        from tallystick.recorder.waiting import flushing  # noqa: PLC0415  # rarely

        return bool(await drive(flushing(self.tally)))

    async def close(self) -> None:
        """As Recorder.close()."""
        await self.flush()
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
        if MICROPYTHON:
            self.tally.close()
        else:
            await _elsewhere(self.tally.close)

    def _ready(self, handle: "Any") -> "Any":
        # No coroutine itself: names of those are not shortened for a board (device_names.py).
        from tallystick.recorder.handle import waiting  # noqa: PLC0415  # rarely

        return drive(waiting(self.tally, handle, self.tally.step))


async def drive(work: "Generator[bool, None, Any]") -> "Any":
    """Its value; what a plain loop does with sleeps between (recorder/handle.py), with awaits."""
    while True:
        try:
            worked = next(work)
        except StopIteration as end:
            return end.value
        await asyncio.sleep(0 if worked else IDLE_S)


if not MICROPYTHON:

    async def _elsewhere(function: "Callable[..., Any]", *args: "Any", **named: "Any") -> "Any":
        return await asyncio.get_running_loop().run_in_executor(
            None, lambda: function(*args, **named)
        )
