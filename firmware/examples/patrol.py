"""An asyncio program that decides: the same on CPython and on MicroPython. patrol.py [CONFIG]"""

import asyncio
import sys

from tallystick.recorder.aio import AsyncRecorder

DISTANCES_M = ("1.9", "1.2", "0.7", "0.4", "0.3", "0.9")


async def blink(beats: "list[int]") -> None:
    """Another task of the robot: it must not notice that its neighbour signs."""
    while True:
        beats.append(1)
        await asyncio.sleep(0.01)


async def main(config: "str | None") -> None:
    beats: list[int] = []
    light = asyncio.create_task(blink(beats))
    async with await AsyncRecorder.open(config) as tally:
        # For a watchdog: tally.on_step(machine.WDT(timeout=2000).feed)
        for distance in DISTANCES_M:
            stop = float(distance) < 0.5
            tally.decision(
                model="patrol@1",
                inputs={"distance_m": distance},
                constraints={"distance_m": (distance, ">=", "0.5", "m")},
                output="stop" if stop else "go",
            )
            await asyncio.sleep(0.02)
        # Signed, and on flash, before the robot goes on; others run meanwhile.
        await tally.urgent("patrol@1", {"distance_m": "0.1"}, output="emergency stop")
        signed = await tally.flush()
        print(tally.health.records, "records, signed:", signed, "others ran:", len(beats) > 5)
    light.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
