"""Many threads record while flash and key hang: none of them waits, and nothing is lost."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.station import Fleet
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder, epochs, told
from tallystick.recorder.files import Files
from tallystick.recorder.frames import RECORD_MAJOR
from tallystick.recorder.walking import Walker

THREADS = 8
EACH = 250
# A loop of 200 Hz.
PAUSE_S = 0.005
# decision() takes 10 us here. A thread that has Python's lock keeps it for 5 ms at most, a machine
# that is busy with other tests longer; what hangs below hangs for 300 ms, again and again, and who
# waited for it would do little else.
MEDIAN_S_MAX = 0.03
P90_S_MAX = 0.15
HANG_S = 0.3
# Of the decisions below.
RECORD_BYTES_MIN = 50


class Hanging:
    """Sleeps in the calls that are named, as a dying disk or a bus does."""

    def __init__(self) -> None:
        self.where = ""
        self.hung = 0

    def may(self, call: str) -> None:
        if self.where == call:
            self.hung += 1
            time.sleep(HANG_S)


class HangingFiles(Files):
    """A real folder whose writes and syncs may hang."""

    def __init__(self, folder: str, hanging: Hanging) -> None:
        super().__init__(folder)
        self.hanging = hanging

    def write(self, handle: BinaryIO, data: bytes) -> None:
        self.hanging.may("write")
        super().write(handle, data)

    def sync(self, handle: BinaryIO) -> None:
        self.hanging.may("sync")
        super().sync(handle)


class HangingKey:
    """A real key whose driver may block in its calls."""

    def __init__(self, uri: str, hanging: Hanging) -> None:
        self.key = Signer.from_uri(uri)
        self.hanging = hanging

    def begin(self, message: bytes) -> None:
        self.hanging.may("begin")
        self.key.begin(message)

    def poll(self) -> bool:
        self.hanging.may("poll")
        return bool(self.key.poll())

    def __getattr__(self, name: str) -> Any:
        return getattr(self.key, name)


def numbers(files: Files) -> list[list[int]]:
    """Of each thread, in the order of the log."""
    found: list[list[int]] = [[] for _ in range(THREADS)]
    for name in files.names():
        if not name.endswith(".tally"):
            continue
        walker = Walker(files, name)
        while (frame := walker.next()) is not None:
            if frame.major == RECORD_MAJOR:
                one = record.parse(walker.content(frame))
                if isinstance(one, Decision):
                    found[one.inputs["thread"]].append(one.inputs["n"])
        walker.close()
    return found


@pytest.mark.parametrize("where", ["write", "sync", "begin", "poll"])
def test_nobody_waits_and_nothing_is_lost(tmp_path: Path, where: str) -> None:
    config = Fleet(tmp_path / "fleet").device("one", checkpoint_records=16, checkpoint_s=0.05)
    hanging = Hanging()
    files = HangingFiles(config["journal"], hanging)
    tally = Recorder.open(config, files=files, signer=HangingKey(config["key"], hanging))
    took: list[float] = []
    together = threading.Barrier(THREADS)

    def loop(thread: int) -> None:
        together.wait()
        for number in range(EACH):
            began = time.monotonic()
            tally.decision("m@1", {"thread": thread, "n": number})
            took.append(time.monotonic() - began)
            time.sleep(PAUSE_S)

    hanging.where = where
    threads = [threading.Thread(target=loop, args=(at,)) for at in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hanging.where = ""
    assert hanging.hung >= 2
    assert tally.flush()
    tally.close()
    took.sort()
    median, p90 = took[len(took) // 2], took[len(took) * 90 // 100]
    print(f"{where}: median {median * 1e6:.0f} us, p90 {p90 * 1e6:.0f} us, {took[-1] * 1e6:.0f} us")
    assert median < MEDIAN_S_MAX
    assert p90 < P90_S_MAX
    assert numbers(files) == [list(range(EACH))] * THREADS
    health = tally.health
    assert (health.dropped, health.elided, health.faults) == (0, 0, {})


def test_no_lock_is_held_where_flash_and_key_hang(tmp_path: Path) -> None:
    # Without a clock: while a call hangs, the gate that decision() takes is free.
    config = Fleet(tmp_path / "fleet").device("one", checkpoint_s=0.01)
    tally: Any = None
    free: dict[str, bool] = {}

    class Looking(Hanging):
        def may(self, call: str) -> None:
            if tally is not None:
                other = threading.Thread(target=tally.decision, args=("m@1",))
                other.start()
                other.join(5)
                free[call] = not other.is_alive() and free.get(call, True)

    looking = Looking()
    files = HangingFiles(config["journal"], looking)
    key = HangingKey(config["key"], looking)
    tally = Recorder.open(config, files=files, signer=key, background=False)
    tally.decision("m@1")
    for _ in range(20):
        tally.poll(1)
        time.sleep(0.001)
    assert free == {"write": True, "sync": True, "begin": True, "poll": True}


LEAVES = """
import sys
from tallystick.recorder import Recorder, epochs, told
tally = Recorder.open(sys.argv[1])
for number in range(300):
    tally.decision("m@1", {"thread": 0, "n": number})
"""


def test_a_program_that_ends_without_close_loses_nothing(tmp_path: Path) -> None:
    config = Fleet(tmp_path / "fleet").device("one", checkpoint_s=100, checkpoint_records=1000)
    (tmp_path / "one.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, str(tmp_path / "one.json")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    again = Recorder.open(config, background=False)
    assert again._ledger.journal.torn_bytes == 0
    again.close()
    assert numbers(Files(config["journal"]))[0] == list(range(300))


def test_bursts_are_kept_whole(tmp_path: Path) -> None:
    # More than the buffer holds, as fast as Python can; the thread gets its turn each 5 ms only.
    config = Fleet(tmp_path / "fleet").device("one", journal_bytes=1 << 28)
    tally = Recorder.open(config)
    made = 0
    while made < 2 * tally._ledger.held_max // RECORD_BYTES_MIN:
        for number in range(4000):
            tally.decision("grasp-net@1", {"n": number, "speed_m_s": "0.4"}, output="go")
        made += 4000
        time.sleep(0.15)
    assert tally.flush()
    assert (tally.health.elided, tally.health.dropped) == (0, 0)
    tally.close()


def test_everything_at_once(tmp_path: Path) -> None:
    # Decisions beyond what the buffer holds, urgent ones, claims, a service's, and new epochs.
    config = Fleet(tmp_path / "fleet").device(
        "one", checkpoint_s=0.01, buffer_bytes=2000, checkpoint_records=8, journal_bytes=1 << 26
    )
    tally = Recorder.open(config)
    ledger = tally._ledger
    begun = time.monotonic()
    faults: set[str] = set()
    # A new epoch counts from nothing.
    elided = [0]

    def goes_on() -> bool:
        """For 1.2 s, and on a slow disk until all of it happened."""
        seen = max(elided) > 0 and "" in faults
        return time.monotonic() - begun < (1.2 if seen else 60)

    def decide() -> None:
        for number in range(40):
            tally.decision("m@1", {"n": number}, output="x" * 40)
        elided.append(tally.health.elided)
        time.sleep(0.002)

    def claim() -> None:
        words = ("handover@1", "giver", "released", {"receiver": bytes(32)})
        fields: dict[str, Any] = {"item": "x", "position_m": [1]}
        tally.claim(*words, wait=False, task=str(time.time_ns()), **fields)
        time.sleep(0.01)

    def leave() -> None:
        time.sleep(0.2)
        epochs.begin(ledger, "rollback", epochs.head_of(ledger.log))

    calls = (
        *(decide, decide, claim, leave),
        lambda: tally.decision("m@1", urgent=True),
        lambda: faults.add(told.decision(tally, "m@1", {"n": 1}).fault),
    )
    raised: list[BaseException] = []

    def loop(call: Any) -> None:
        try:
            while goes_on():
                call()
        except BaseException as error:
            raised.append(error)
            raise

    threads = [threading.Thread(target=loop, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert raised == []
    assert tally.flush()
    assert max(elided) > 0
    assert "" in faults
    assert faults <= {"", "store-full", "flash-late"}
    assert (ledger.queue, ledger.held, ledger.extra) == ([], 0, 0)
    assert (ledger.leaves, ledger.handles, ledger.run) == (0, 0, None)
    tally.close()
    again = Recorder.open(config, background=False)
    assert (again.epoch, again._ledger.journal.damage) == (tally.epoch, "")
    again.close()
