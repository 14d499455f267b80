"""The peers' side of `tally bench record`: each record encoded, signed and appended to a file.

    python -m tallystick.tools.bench.peer_recorder NAME FOLDER SECONDS

The same records, the same encoder and the same fsync every 64 records as ours; only the evidence
differs. Prints one JSON object.
"""

import json
import os
import sys
from pathlib import Path

from tallystick.evidence.decisionwriter import encode_decision
from tallystick.tools.bench.bound import US_PER_S, now, since_us
from tallystick.tools.bench.peers import Peer, checked
from tallystick.tools.bench.recording import CHECKPOINT_RECORDS, MODEL, TURNS, VARIANTS, arguments

SEED = bytes(range(32))


def run(peer: Peer, folder: Path, seconds: float) -> dict[str, float]:
    """Records a second of one peer."""
    given = [arguments(number) for number in range(VARIANTS)]
    count = size = 0
    with (folder / f"{peer.name}.signed").open("ab", 0) as file:
        start = now()
        while not count or since_us(start) < seconds * US_PER_S:
            for turn in range(TURNS):
                for inputs, constraints, output in given:
                    record = encode_decision(count + turn, MODEL, inputs, constraints, {}, output)
                    size += file.write(peer.sign(record)) - len(record)
            os.fsync(file.fileno())
            count += CHECKPOINT_RECORDS
        taken_us = since_us(start)
    return {"records": count, "per_s": count * US_PER_S / taken_us, "added_bytes": size / count}


def main(name: str, folder: str, seconds: str) -> None:
    """Run one peer and print its JSON object."""
    print(json.dumps(run(checked(name, SEED), Path(folder), float(seconds))))  # noqa: T201 - its output


if __name__ == "__main__":
    main(*sys.argv[1:4])
