"""Awaits a claim and a counterpart's half, on CPython and MicroPython. CONFIG OTHER HALF HOW

Prints whether the half came, what accept() said, and the longest pause that another task saw.
"""

import asyncio
import sys
import time

from tallystick.evidence.errors import TallyError
from tallystick.recorder.aio import AsyncRecorder

MICROPYTHON = sys.implementation.name == "micropython"


def now_ms() -> int:
    if MICROPYTHON:
        return time.ticks_ms()  # type: ignore[attr-defined, no-any-return, unused-ignore]
    return time.monotonic_ns() // 1_000_000


async def watch(pauses: "list[int]") -> None:
    last = now_ms()
    while True:
        await asyncio.sleep(0)
        now = now_ms()
        pauses[0] = max(pauses[0], now - last)
        last = now


async def main(config: str, other: str, path: str, how: str) -> None:
    with open(path, "rb") as file:  # noqa: PTH123, ASYNC230 -- MicroPython has no pathlib
        half = file.read()
    pauses = [0]
    settings = {"background": False} if how == "loop" else {}
    async with await AsyncRecorder.open(config, **settings) as tally:
        task = asyncio.create_task(watch(pauses))
        for number in range(20):
            tally.decision("m@1", {"n": number})
        made = await tally.claim(
            "handover@1",
            "receiver",
            "acquired",
            {"giver": other},
            task="order-4711",
            item="pallet-7",
            position_m=["1.21", "3.40"],
        )
        accepted = await tally.accept(half)
        wrong = ""
        try:
            await tally.accept(half[:-1])
        except TallyError as error:
            wrong = error.reason
        await tally.urgent("m@1", {"n": 20}, output="stop")
        signed = await tally.flush()
        task.cancel()
        tally.event("app.ends", reason="test")
    health = tally.health
    kept = accepted.status, accepted.kept, wrong
    print(len(made) > 500, kept, signed, tally.backlog() == health.records, pauses[0], health)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4]))
