"""The recorder alone, with a software key, on 32 bits: how little heap it needs."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.station import Fleet
from tallystick.evidence.keys import device_text
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools.device_library import device_library as library_of
from tallystick.tools.micropython import MicroPython

# Code and names of the .mpy files take most of it.
HEAP = "64k"


@pytest.fixture(scope="module")
def board_library() -> Path:
    """What lies on a board."""
    return library_of(board=True)


SCRIPT = """
import gc, sys
from tallystick.recorder import Recorder
tally = Recorder.open(sys.argv[1])
for number in range(10000):
    tally.decision(
        model="grasp-net@3f2a91",
        inputs={"camera": b"x" * 32, "n": number},
        constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
        output={"action": "grip", "x": 0.125, "y": -1.5},
    )
    tally.poll(1)
    if number == 1000:
        tally.poll(1000)
        gc.collect()
        early = gc.mem_free()
tally.poll(1000)
gc.collect()
print(early, gc.mem_free(), tally.health.records, tally.health.dropped)
"""


def test_ten_thousand_decisions_without_growing(
    tmp_path: Path, micropython32: MicroPython, board_library: Path
) -> None:
    config = Fleet(tmp_path / "fleet").device(
        "one", journal_bytes=1 << 22, checkpoint_records=64, checkpoint_s=5
    )
    del config["credential"]
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    (tmp_path / "record.py").write_text(SCRIPT)
    # As on a board: /lib. MicroPython keeps each module's path in its heap.
    (tmp_path / "lib").symlink_to(board_library)
    done = micropython32.run(
        "record.py", "tallystick.json", heap=HEAP, path=[Path("lib")], cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    early, late, records, dropped = (int(word) for word in done.stdout.split())
    print(f"{late} bytes free of {HEAP}")
    assert (records, dropped) == (10002, 0)
    # Nobody takes custody here, so the list of the journal's files grows, and nothing else.
    assert late > early - 32 * 64
    assert late > 4096


# The smallest heaps, in steps of 2 KiB, in which these were seen to work are 76 and 78 KiB.
CLAIM_HEAP = "78k"
BOTH_HEAP = "80k"
HANDOVER = """
import gc, sys
gc.threshold(4096)
from tallystick.recorder import Recorder
tally = Recorder.open("tallystick.json")
other = open("other").read()
half = open("half", "rb").read()
def decide():
    for number in range(30):
        tally.decision("grasp-net@3f2a91", {"n": number}, output={"action": "grip"})
        tally.poll(1)
    gc.collect()
free = []
for _ in range(4):
    decide()
    made = tally.claim("handover@1", "receiver", "acquired", {"giver": other},
        task="order-4711", item="pallet-7", position_m=["1.21", "3.40"])
    decide()
    accepted = tally.accept(half) if "accept" in sys.argv else None
    print(len(made), accepted.status if accepted else accepted)
    accepted = made = None
    decide()
    free.append(gc.mem_free())
print(tally.health.records, tally.health.dropped, tally.health.last_fault or "none", min(free))
tally.close()
"""


def handover(
    tmp_path: Path,
    micropython: MicroPython,
    library: Path,
    heap: str,
    *words: str,
    script: str = HANDOVER,
) -> tuple[list[list[str]], list[str]]:
    """What each turn gave, and the last line."""
    fleet = Fleet(tmp_path / "fleet")
    config = fleet.device("one", journal_bytes=1 << 22, checkpoint_records=64, checkpoint_s=5)
    giver = Recorder.open(fleet.device("two"), background=False)
    own = Signer.from_uri(config["key"]).public_key().thumbprint()
    fields: dict[str, Any] = {"item": "pallet-7", "position_m": ["1.20", "3.40"]}
    half = giver.claim(
        "handover@1", "giver", "released", {"receiver": own}, task="order-4711", **fields
    )
    giver.close()
    (tmp_path / "half").write_bytes(half)
    (tmp_path / "other").write_text(device_text(giver.device))
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    (tmp_path / "record.py").write_text(script)
    (tmp_path / "lib").symlink_to(library)
    done = micropython.run("record.py", *words, heap=heap, path=[Path("lib")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *turns, last = [line.split() for line in done.stdout.splitlines()]
    # Whatever happened: what is on flash opens again, without a fault.
    again = Recorder.open(config, background=False)
    assert again.health.faults == {}
    again.close()
    return turns, last


def test_claims_in_a_small_heap(
    tmp_path: Path, micropython32: MicroPython, board_library: Path
) -> None:
    turns, last = handover(tmp_path, micropython32, board_library, CLAIM_HEAP)
    assert all(int(size) > 500 for size, _ in turns)
    assert last[1:3] == ["0", "none"]


def test_claims_and_halves_in_a_small_heap(
    tmp_path: Path, micropython32: MicroPython, board_library: Path
) -> None:
    turns, last = handover(tmp_path, micropython32, board_library, BOTH_HEAP, "accept")
    assert all(int(size) > 500 and status == "active" for size, status in turns)
    assert last[1:3] == ["0", "none"]


def test_a_heap_that_is_too_small_is_a_fault_and_raises_nothing(
    tmp_path: Path, micropython32: MicroPython, board_library: Path
) -> None:
    turns, last = handover(tmp_path, micropython32, board_library, HEAP, "accept")
    assert "active" not in [status for _, status in turns]
    assert "memory" in last[2]
    # Every decision was kept, or counted.
    assert int(last[0]) + int(last[1]) >= 4 * 90


LATER = """
import gc, sys
gc.threshold(4096)
other = open("other").read()
half = open("half", "rb").read()
from tallystick.recorder import Recorder
tally = Recorder.open("tallystick.json")
for _ in range(4):
    made = tally.claim("handover@1", "receiver", "acquired", {"giver": other},
        wait=False, task="order-4711", item="pallet-7", position_m=["1.21", "3.40"])
    accepted = tally.accept(half, wait=False)
    for handle in (made, accepted):
        for _ in range(2000):
            if not handle.ready:
                tally.poll(10)
        assert handle.ready and handle.error is None
        print(handle.kept, handle.fault, len(handle.result() and b"."))
    made = accepted = handle = None
print(tally.health.last_fault or "none")
tally.close()
"""


def test_a_handle_says_that_the_heap_was_too_small(
    tmp_path: Path, micropython32: MicroPython, board_library: Path
) -> None:
    turns, last = handover(tmp_path, micropython32, board_library, HEAP, script=LATER)
    assert turns == [["False", "memory", "0"]] * 8
    assert "memory" in last[0]


# As they stand: in what is compiled for a board, names are others.
SOURCES = ("firmware/tallystick/evidence", "firmware/tallystick/recorder", "hw/tallystick/hw")


def _sources(folder: Path) -> None:
    (folder / "lib" / "tallystick").mkdir(parents=True)
    for source in SOURCES:
        made = folder / "lib" / "tallystick" / Path(source).name
        made.symlink_to(Path(__file__).parents[2] / source)


FORGOTTEN = """
import gc, sys
from tallystick.recorder import files
name = "evidence.number"
__import__("tallystick." + name)
hog = [None] * 9000
at = 0
def fill():
    global at
    for size in (4096, 512, 64, 16):
        try:
            while True:
                hog[at] = bytes(size)
                at += 1
        except MemoryError as error:
            # Kept, or it would be the room that is looked for.
            hog[at] = error
            at += 1
for _ in range(4):
    fill()
files.forget((name,))
for at in range(len(hog)):
    hog[at] = None
files.forget((name,))
print("tallystick." + name in sys.modules, hasattr(sys.modules["tallystick.evidence"], "number"))
"""


def test_forgetting_in_a_full_heap_raises_nothing(
    tmp_path: Path, micropython32: MicroPython
) -> None:
    (tmp_path / "forget.py").write_text(FORGOTTEN)
    _sources(tmp_path)
    done = micropython32.run("forget.py", heap="512k", path=[Path("lib")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "False"]


FULL = """
import gc, sys
from tallystick.recorder import Recorder
tally = Recorder.open("tallystick.json")
tally.decision("m@1", {"n": 0}, urgent=True)
ledger = tally._ledger
hog = [None] * 9000
honest = ledger.log.added
def full(record):
    # The record is in the tree, and now the rest of the heap goes to the robot's program.
    unsealed = honest(record)
    at = 0
    for size in (4096, 512, 64):
        try:
            while True:
                hog[at] = bytes(size)
                at += 1
        except MemoryError:
            pass
    while True:
        hog[at] = bytes(16)
        at += 1
size = ledger.log.tree.size
ledger.log.added = full
tally.decision("m@1", {"n": 1})
tally.poll(1)
for at in range(len(hog)):
    hog[at] = None
gc.collect()
short = ledger.log.tree.size == size
ledger.log.added = honest
said = tally.health.last_fault
for number in (2, 3):
    tally.decision("m@1", {"n": number})
print(short, tally.flush(), tally.health.dropped, said.split()[0])
tally.close()
"""


def test_a_record_that_the_heap_has_no_room_for_waits_until_it_has(
    tmp_path: Path, micropython32: MicroPython
) -> None:
    config = Fleet(tmp_path / "fleet").device("one", journal_bytes=1 << 22)
    del config["credential"]
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    (tmp_path / "record.py").write_text(FULL)
    _sources(tmp_path)
    done = micropython32.run("record.py", heap="512k", path=[Path("lib")], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    short, signed, dropped, said = done.stdout.split()
    # The tree is as it was before, or the log would contradict its journal.
    assert (short, signed, dropped) == ("True", "True", "0")
    assert "memory" in said
    again = Recorder.open(config, background=False)
    assert again.health.faults == {}
    assert again._ledger.log.tree.size >= 8
    again.close()
