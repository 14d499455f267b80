"""The bound: the 2.5 SHA-256 a record that the format needs, in one Python thread.

Half a hash for the salt (one digest salts two records), one for the leaf, one for the node. Nothing
that keeps the format can be faster in Python than this loop, so every rate is shown beside it.
"""

# This file is device code: it runs on MicroPython too, whose hashes are its own bound.

import time
from hashlib import sha256

SALT_INPUT_BYTES = 40
NODE_INPUT_BYTES = 65
LEAF_PREFIX_BYTES = 17
BOUND_S = 1.0
PAIRS_A_ROUND = 200
US_PER_S = 1_000_000
# MicroPython's ticks wrap; on 32 bits a difference is right up to 536 s.
SECONDS_MAX = 300

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A point in time that only since_us() understands.
now: "Callable[[], float]" = time.ticks_us if hasattr(time, "ticks_us") else time.perf_counter


def since_us(start: float) -> float:
    """Microseconds since now() was `start`."""
    if hasattr(time, "ticks_diff"):
        passed: int = time.ticks_diff(now(), start)
        return passed
    return (now() - start) * US_PER_S


def hashes_per_record(record: bytes, pairs: int) -> None:
    """Do the 2.5 hashes of each of 2 x `pairs` records, and nothing else."""
    salt_input = bytes(SALT_INPUT_BYTES)
    node_input = bytes(NODE_INPUT_BYTES)
    leaf_input = bytes(LEAF_PREFIX_BYTES) + record
    for _ in range(pairs):
        sha256(salt_input).digest()
        sha256(leaf_input).digest()
        sha256(leaf_input).digest()
        sha256(node_input).digest()
        sha256(node_input).digest()


def bound_per_s(record: bytes, seconds: float = BOUND_S) -> float:
    """Records a second that the hashes alone would allow for a record of this size.

    The best of several rounds: another process on the machine can only make a round slower.
    """
    best_us = 0.0
    begin = now()
    while not best_us or since_us(begin) < seconds * US_PER_S:
        start = now()
        hashes_per_record(record, PAIRS_A_ROUND)
        taken = since_us(start)
        if not best_us or taken < best_us:
            best_us = taken
    return 2 * PAIRS_A_ROUND * US_PER_S / best_us
