"""The recorder alone, with a software key, on 32 bits: how little heap it needs."""

import json
from pathlib import Path

from support.station import Fleet
from tallystick.tools.micropython import MicroPython

# Code and names of the .mpy files take 50 KiB of it.
HEAP = "64k"
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
    tmp_path: Path, micropython32: MicroPython, device_library: Path
) -> None:
    config = Fleet(tmp_path / "fleet").device(
        "one", journal_bytes=1 << 22, checkpoint_records=64, checkpoint_s=5
    )
    del config["credential"]
    (tmp_path / "tallystick.json").write_text(json.dumps(config))
    (tmp_path / "record.py").write_text(SCRIPT)
    # As on a board: /lib. MicroPython keeps each module's path in its heap.
    (tmp_path / "lib").symlink_to(device_library)
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
