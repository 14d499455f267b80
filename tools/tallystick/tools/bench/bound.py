"""The bound: the 2.5 SHA-256 a record that the format needs, in one Python thread.

Half a hash for the salt (one digest salts two records), one for the leaf, one for the node. Nothing
that keeps the format can be faster in Python than this loop, so every rate is shown beside it.
"""

import hashlib
import time

SALT_INPUT_BYTES = 40
NODE_INPUT_BYTES = 65
LEAF_PREFIX_BYTES = 17
BOUND_S = 1.0


def hashes_per_record(record: bytes, pairs: int) -> None:
    """Do the 2.5 hashes of each of 2 x `pairs` records, and nothing else."""
    sha256 = hashlib.sha256
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
    pairs = 2_000
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        hashes_per_record(record, pairs)
        best = max(best, 2 * pairs / (time.perf_counter() - start))
    return best
