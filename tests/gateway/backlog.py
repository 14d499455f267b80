"""F11, F21: fills a gateway's store while no validator answers, drains it, and says what it took.

python backlog.py FOLDER SEGMENTS [DATA_MB]      DATA_MB: RLIMIT_DATA while it runs

The real intake, store, custody receipts and batches; only the broker and the validator's HTTP are
left out, since neither keeps anything.
"""

import json
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from tallystick.evidence import decisionwriter, eventwriter, leaf
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.digest import sha256
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import Tree
from tallystick.gateway.batching import Builder, compress

DEVICES = 20
AT_ONCE = 50


def segments(device: Device) -> Iterator[bytes]:
    """Segments of one record each, for ever, without keeping any."""
    tree = Tree()
    while True:
        at = tree.size
        if at:
            record = decisionwriter.encode_decision(at, "net@1", {}, {}, {}, {"action": "grip"})
        else:
            record = eventwriter.encode_event(0, "epoch", {"previous": None, "reason": "new"})
        seed = sha256(device.id + at.to_bytes(8, "big"))
        tree.extend(leaf.leaves(seed, at, [record]))
        head = Checkpoint(device.epoch, at + 1, tree.root(), 0, 1, at, None, None, None)
        signed = head.sign(device.signer, device.fleet.name, device.id)
        yield Segment(device.id, device.epoch, at, None, [Stretch([record], seed, signed)]).encode()


def peak_kb() -> int:
    """The most memory that was ever resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])


def fill(gate: MemoryGateway, count: int) -> tuple[float, list[int]]:
    """Processor seconds of the gateway's own work, and the peak after each quarter."""
    fleet = Fleet("acme")
    devices = [fleet.device(f"robot-{n}") for n in range(DEVICES)]
    gate.know(*devices)
    ways = [(device, segments(device)) for device in devices]
    took_s, peaks, done = 0.0, [], 0
    for quarter in range(1, 5):
        while done < count * quarter // 4:
            for device, way in ways:
                made = list(islice(way, AT_ONCE))
                began_s = time.process_time()
                gate.give(device, *made)
                took_s += time.process_time() - began_s
                done += len(made)
                gate.link.down.clear()
                gate.link.acked.clear()
        peaks.append(peak_kb())
    return took_s, peaks


def drain(gate: MemoryGateway) -> tuple[float, int]:
    """Processor seconds to make and pack all batches for a validator, and how many segments."""
    builder = Builder("away", "full", gate.signing, tuple(gate.credential))
    reader, at = gate.store.reader(), 0
    began_s = time.process_time()
    while True:
        built = builder.build(reader, at, 256)
        if built is None:
            break
        assert not built.damaged
        compress(built.data)
        at = built.to
    reader.close()
    return time.process_time() - began_s, at


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        most = int(sys.argv[3]) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    gate = MemoryGateway(folder, Fleet("acme"))
    filled_s, peaks = fill(gate, count)
    drained_s, drained = drain(gate)
    used = gate.store.usage().used
    gate.store.close()
    shutil.rmtree(folder, ignore_errors=True)
    print(
        json.dumps(
            {
                "segments": drained,
                "store_bytes": used,
                "fill_s": round(filled_s, 3),
                "drain_s": round(drained_s, 3),
                "peaks_kb": peaks,
                "peak_kb": peak_kb(),
            }
        )
    )


if __name__ == "__main__":
    main()
