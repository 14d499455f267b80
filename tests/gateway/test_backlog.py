"""F11, F21: a long backlog costs disk and no memory, and drains faster than it came.

`make backlog` does the same with a million segments under 128 MB.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SEGMENTS = 8_000
GROWTH_KB_MAX = 3_000  # from a quarter to the end; a row kept in memory would take ten times that
MEMORY_MB = 128


def test_memory_is_flat_and_it_drains_faster(tmp_path: Path) -> None:
    folders = os.pathsep.join(["firmware", "gateway", "hw", "validator", "tools", "tests"])
    ran = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("backlog.py"))),
            *(str(tmp_path / "store"), str(SEGMENTS), str(MEMORY_MB)),
        ],
        env=os.environ | {"PYTHONPATH": folders},
        capture_output=True,
        check=True,
        timeout=300,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["segments"] == SEGMENTS
    first, *_, last = found["peaks_kb"]
    assert last - first < GROWTH_KB_MAX
    assert found["peak_kb"] < MEMORY_MB * 1024
    # Processor time of the gateway itself; some ten times on an idle machine.
    assert 5 * found["drain_s"] < found["fill_s"]
