"""Reads the maps of MicroPython's heap that allocating.py prints.

A map (micropython.mem_info(1)) has a character for each block of four machine words: `.` is free,
`=` goes on with what begins before it, anything else begins one allocation. With the collector off,
what decisions allocated is the difference between two maps; only what was given back at once, when
something grew or shrank in place, is not seen.
"""

import re

from tallystick.tools.bench.recording import VARIANTS

_ROW = re.compile(r"^[0-9a-f]{8}: (.+)$")

_BEGIN = "GC memory layout"


def per_decision(text: str, block_bytes: int) -> tuple[float, float]:
    """(allocations, bytes) of one decision, from the text with both maps."""
    before, after = (_counted(part) for part in text.split(_BEGIN)[1:3])
    begun, blocks = (late - early for early, late in zip(before, after, strict=True))
    return round(begun / VARIANTS, 1), round(blocks * block_bytes / VARIANTS, 1)


def _counted(text: str) -> tuple[int, int]:
    """(allocations, blocks in use) of one map."""
    begun = used = 0
    for line in text.splitlines():
        row = _ROW.match(line)
        if row is not None:
            begun += sum(1 for block in row[1] if block not in ".=")
            used += sum(1 for block in row[1] if block != ".")
    return begun, used
