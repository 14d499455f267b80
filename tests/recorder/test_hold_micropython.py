"""A hold on real MicroPython, of 64 and of 32 bits: an honest gateway at the end of a cable."""

import ast
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from support.station import FLEET, Fleet, Station, read_credential
from tallystick.evidence import event
from tallystick.evidence.devicehold import DeviceHold
from tallystick.evidence.kinds import DECISION, EVENT
from tallystick.tools.device_library import device_library as library_of
from tallystick.tools.micropython import MicroPython

ROBOT = Path(__file__).parent / "held_robot.py"
DAY_MS = 86_400_000
RUN_S_MAX = 240
TURNS_MAX = 50
RESENT_MAX = 4
JOURNAL_BYTES = 32768
SETTINGS: dict[str, Any] = {
    "journal_bytes": JOURNAL_BYTES,
    "checkpoint_records": 16,
    "checkpoint_s": 0.2,
    "interval_s": 600,
    "resend_s": 60,
}
# The smallest heap, in steps of 2 KiB, in which all of it was seen to work without a fault is
# 88 KiB; without a hold 84 KiB, for the link and for gateways' signatures in Python.
HEAP_32 = "92k"
# Hardly enough for the cable, and too little for a hold.
SMALL_HEAP_32 = "82k"
FREE_BYTES_MIN = 4096


class Board:
    """One boot of the robot; what it sends, the gateway answers at once."""

    def __init__(self, site: "Site", heap: str | None, *words: str) -> None:
        self.station = site.station
        self.waiting: list[bytes] = []
        argv = site.interpreter.argv("held_robot.py", "tallystick.json", *words, heap=heap)
        self.errors = site.folder / "errors"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                argv,
                cwd=site.folder,
                env=site.interpreter.environment([Path("lib")]),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
            )
        self.timer = threading.Timer(RUN_S_MAX, self.process.kill)
        self.timer.start()

    @property
    def _ends(self) -> tuple[IO[bytes], IO[bytes]]:
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None and stdout is not None
        return stdin, stdout

    def ask(self, line: str, data: bytes = b"") -> str:
        """What it says to this, but for what it sends."""
        stdin, stdout = self._ends
        stdin.write(line.encode() + b"\n" + data)
        stdin.flush()
        said = ""
        while (found := stdout.readline()) != b"done\n":
            if not found:
                pytest.fail(f"{line}: {said}{self.errors.read_text()}", pytrace=False)
            if found.startswith(b"up "):
                self.waiting += self.station.answer(stdout.read(int(found.split()[1])))
            else:
                said += found.decode()
        return said

    def down(self, message: bytes) -> None:
        self.ask(f"down {len(message)}", message)

    def record(self, count: int) -> None:
        for _ in range(0, count, 8):
            self.ask("record 8")
            self.talk()

    def record_until(self, happened: Callable[[], bool]) -> None:
        for _ in range(TURNS_MAX):
            if happened():
                return
            self.record(8)
        pytest.fail(f"it did not happen: {self.health()}")

    def talk(self) -> None:
        """What the gateway has to say."""
        while self.waiting:
            self.down(self.waiting.pop(0))

    def until(self, happened: Callable[[], bool]) -> bool:
        """Whether it does in a while."""
        for _ in range(TURNS_MAX):
            self.ask("poll")
            self.talk()
            if happened():
                return True
        return False

    def health(self) -> dict[str, Any]:
        lines = [line.partition(" ") for line in self.ask("health").splitlines()]
        return {name: ast.literal_eval(value) for name, _, value in lines}

    def close(self) -> None:
        self.ask("close")
        assert self.process.wait() == 0
        self.stop()

    def stop(self) -> None:
        self.timer.cancel()
        self.process.kill()
        self.process.wait()
        for end in self._ends:
            end.close()


class Site:
    """A robot, its journal and its gateway."""

    def __init__(self, folder: Path, interpreter: MicroPython, **settings: Any) -> None:
        self.folder = folder
        self.interpreter = interpreter
        self.fleet = Fleet(folder / "fleet")
        config = self.fleet.device("one", **SETTINGS, **settings)
        self.journal = Path(config["journal"])
        self.station = Station(self.fleet, read_credential(config))
        (folder / "tallystick.json").write_text(json.dumps(config))
        # As on a board: /lib. MicroPython keeps each module's path in its heap.
        (folder / "lib").symlink_to(library_of(board=True, programs=[ROBOT]))
        (folder / "held_robot.py").symlink_to(ROBOT)
        self.boards: list[Board] = []

    def boot(self, heap: str | None, *words: str) -> Board:
        self.boards.append(Board(self, heap, *words))
        return self.boards[-1]

    def hold(self, serial: int, until_ms: int | None) -> bytes:
        made = DeviceHold(serial, until_ms, self.station.time_ms)
        return made.sign(self.fleet.gateway, FLEET, self.station.device)

    def first(self) -> int:
        """The oldest index in the journal."""
        return min(int(path.stem.split("-")[1]) for path in self.journal.glob("*.tally"))

    def files(self) -> int:
        return len(list(self.journal.glob("*.tally")))

    def used(self) -> int:
        return sum(path.stat().st_size for path in self.journal.glob("*.tally"))

    def known(self) -> int:
        return max((tree.size for tree in self.station.trees.values()), default=0)

    def records(self) -> list[bytes]:
        return [one for epoch in self.station.records.values() for one in epoch]

    def told(self) -> list[tuple[str, int]]:
        """(state, serial) of each `hold` event that reached the gateway."""
        events = [event.parse(one) for one in self.records() if one[1] == EVENT]
        return [
            (one.details["state"], one.details["serial"]) for one in events if one.event == "hold"
        ]

    def tells(self, board: Board, state: str, serial: int, message: bytes = b"") -> None:
        """`message` goes down until the log says so, as a gateway does it."""
        for _ in range(RESENT_MAX if message else 1):
            if message:
                board.down(message)
            if board.until(lambda: (state, serial) in self.told()):
                return
        pytest.fail(f"it never told {state}: {board.health()}")


def scenario(site: Site, heap: str | None) -> int:
    """All that a hold does; how much of the heap is free at the least."""
    free = []
    until = site.station.time_ms + DAY_MS
    # It comes, and what is in custody stays.
    board = site.boot(heap)
    board.record(8)
    site.tells(board, "begun", 1, site.hold(1, until))
    board.close()
    # Before any file's header has it.
    board = site.boot(heap)
    board.record_until(lambda: site.files() >= 3)
    assert board.until(lambda: board.health()["backlog"] == 0)
    assert site.first() == 0
    free.append(check(board))
    board.close()
    # So after a restart. One that is older than the newest is refused.
    board = site.boot(heap)
    before = site.known()
    board.record(16)
    assert board.until(lambda: site.known() > before + 16)
    assert site.first() == 0
    site.tells(board, "begun", 2, site.hold(2, until))
    board.down(site.hold(1, None))
    assert board.health()["refused"] == {"replayed": 1}
    assert site.first() == 0
    # A full journal: the oldest that is in custody goes, and it is told.
    board.record_until(lambda: site.first() > 0)
    assert site.used() <= JOURNAL_BYTES
    site.tells(board, "broken", 2)
    free.append(check(board))
    board.close()
    # Ended: all that is in custody goes, and no copy begins it anew.
    board = site.boot(heap)
    board.record(8)
    before = site.used()
    site.tells(board, "ended", 3, site.hold(3, None))
    assert site.used() < before // 2
    board.down(site.hold(2, until))
    assert board.health()["refused"] == {"replayed": 1}
    # The next one ends by the date of a receipt.
    site.tells(board, "begun", 4, site.hold(4, until))
    at = site.first()
    board.record(40)
    assert site.first() == at
    site.station.time_ms = until
    board.record(16)
    site.tells(board, "ended", 4)
    assert site.first() > at
    free.append(check(board))
    board.close()
    return min(free)


def check(board: Board) -> int:
    """Nothing was lost, given up or raised; how much of the heap is free."""
    health = board.health()
    assert health["faults"] == {} and health["dropped"] == 0 and health["given_up"] == {}, health
    return int(health["free"])


@pytest.mark.parametrize(("bits", "heap"), [(64, None), (32, HEAP_32)])
def test_a_hold_on_a_board(
    tmp_path: Path, bits: int, heap: str | None, request: pytest.FixtureRequest
) -> None:
    site = Site(tmp_path, request.getfixturevalue(f"micropython{bits}"))
    try:
        print(f"{scenario(site, heap)} bytes free of {heap}")
    finally:
        for board in site.boards:
            board.stop()


def test_files_of_an_epoch_that_was_left_are_held_too(
    tmp_path: Path, micropython32: MicroPython
) -> None:
    site = Site(tmp_path, micropython32)
    try:
        board = site.boot(HEAP_32)
        board.record(8)
        site.tells(board, "begun", 1, site.hold(1, site.station.time_ms + DAY_MS))
        board.record_until(lambda: site.files() >= 2)
        board.record(24)
        board.close()
        # Its newest file is damaged behind what says of the hold: the epoch is left.
        newest = max(site.journal.glob("*.tally"))
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
        left = set(site.journal.glob("*.tally"))
        board = site.boot(HEAP_32)
        board.record_until(lambda: not left & set(site.journal.glob("*.tally")))
        assert len(site.station.records) == 2
        site.tells(board, "broken", 1)
        assert site.told().count(("broken", 1)) == len(left)
        assert board.health()["faults"] == {"journal:damaged": 1}
        board.close()
    finally:
        for board in site.boards:
            board.stop()


def test_a_heap_that_is_too_small_is_a_fault_and_nothing_else(
    tmp_path: Path, micropython32: MicroPython
) -> None:
    site = Site(tmp_path, micropython32)
    message = site.hold(1, site.station.time_ms + DAY_MS)
    try:
        board = site.boot(SMALL_HEAP_32)
        board.record(8)
        for _ in range(RESENT_MAX):
            board.down(message)
        board.record(48)
        health = board.health()
        # It never raised: what did not fit is told, and every decision was kept, or counted.
        assert any("memory" in fault for fault in health["faults"]), health
        assert health["records"] + health["dropped"] >= 56
        # What was loaded for the hold is gone again: the program has as much as before.
        assert health["free"] > FREE_BYTES_MIN, health
        board.close()
        # With more all of it reaches the gateway, and the hold the log.
        board = site.boot(HEAP_32)
        board.record(8)
        assert board.until(lambda: board.health()["backlog"] == 0)
        site.tells(board, "begun", 1, message)
        check(board)
        board.close()
    finally:
        for board in site.boards:
            board.stop()
    assert sum(one[1] == DECISION for one in site.records()) == 64 - health["dropped"]
