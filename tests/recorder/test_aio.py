"""The recorder in asyncio programs, on both interpreters: what waits is awaited."""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.station import Fleet
from tallystick.evidence.keys import device_text
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.aio import AsyncRecorder
from tallystick.recorder.files import Files
from tallystick.tools.micropython import MicroPython

ROBOT = Path(__file__).parent / "aio_robot.py"
# Of another task: a step of a signature, of a half's verification, or a scheduler that is busy.
PAUSE_MS_MAX = 400
# Of the loop, while one sync lasts; who waited for it would turn no more.
TURNS = 20
SYNC_S_MAX = 10.0
EXPECTED = "True ('active', True, 'truncated') True True"


def prepared(tmp_path: Path) -> list[str]:
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("one")
    giver = Recorder.open(fleet.device("two"), background=False)
    own = Signer.from_uri(config["key"]).public_key().thumbprint()
    fields: dict[str, Any] = {"item": "pallet-7", "position_m": ["1.20", "3.40"]}
    half = giver.claim(
        "handover@1", "giver", "released", {"receiver": own}, task="order-4711", **fields
    )
    giver.close()
    (tmp_path / "half").write_bytes(half)
    (tmp_path / "one.json").write_text(json.dumps(config))
    return [str(tmp_path / "one.json"), device_text(giver.device), str(tmp_path / "half")]


def check(said: str) -> None:
    assert said.startswith(EXPECTED), said
    assert int(said[len(EXPECTED) :].split(maxsplit=1)[0]) < PAUSE_MS_MAX
    assert "'dropped': 0" in said
    assert "'faults': {}" in said


@pytest.mark.parametrize("how", ["thread", "loop"])
def test_on_cpython(tmp_path: Path, how: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROBOT), *prepared(tmp_path), how],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout)


@pytest.mark.parametrize("bits", [64, 32])
def test_on_micropython(
    tmp_path: Path, bits: int, device_library: Path, request: pytest.FixtureRequest
) -> None:
    interpreter: MicroPython = request.getfixturevalue(f"micropython{bits}")
    done = interpreter.run(str(ROBOT), *prepared(tmp_path), "loop", path=[device_library])
    assert done.returncode == 0, done.stderr
    check(done.stdout)


class SlowFiles(Files):
    """Each sync takes until the loop has turned some more, as a worn SD card's would."""

    loop_turns = 0
    watching = False

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.went_on: list[bool] = []

    def sync(self, handle: BinaryIO) -> None:
        wanted, end_s = self.loop_turns + TURNS, time.monotonic() + SYNC_S_MAX
        while self.watching and self.loop_turns < wanted and time.monotonic() < end_s:
            time.sleep(0.001)
        if self.watching:
            self.went_on.append(self.loop_turns >= wanted)
        super().sync(handle)


@pytest.mark.parametrize("call", ["urgent", "claim", "flush", "close"])
def test_where_a_thread_seals_the_loop_waits_for_no_flash(tmp_path: Path, call: str) -> None:
    config = Fleet(tmp_path / "fleet").device("one", checkpoint_s=0.01)

    files = SlowFiles(config["journal"])

    async def run() -> None:
        tally = await AsyncRecorder.open(config, files=files)

        async def work() -> None:
            if call == "claim":
                peers = {"receiver": bytes(32)}
                fields: dict[str, Any] = {"item": "x", "position_m": [1]}
                assert await tally.claim(
                    "handover@1", "giver", "released", peers, task="t", **fields
                )
            elif call == "urgent":
                await tally.urgent("m@1")
            else:
                tally.decision("m@1")
                await getattr(tally, call)()

        files.watching = True
        task = asyncio.create_task(work())
        while not task.done():
            tally.decision("m@1", {"n": 1})
            files.loop_turns += 1
            await asyncio.sleep(0.001)
        files.watching = False
        await task
        await tally.close()

    asyncio.run(run())
    assert files.went_on and all(files.went_on)


def test_off_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLY", "off")

    async def run() -> None:
        async with await AsyncRecorder.open() as tally:
            tally.decision("m@1")
            tally.event("app.x")
            await tally.urgent("m@1")
            assert await tally.claim("handover@1", "giver", "released", {}) == b""
            assert await tally.accept(b"") is None
            assert await tally.flush()
            tally.on_step(print)

    asyncio.run(run())
