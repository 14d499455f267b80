"""F11, F21: fills a gateway's store while no validator answers, drains it, and says what it took.

python backlog.py FOLDER SEGMENTS [DATA_MB]      DATA_MB: RLIMIT_DATA while it runs

Every CLAIM_EVERYth segment of each device is urgent, so every other batch of the drain is one that
goes ahead (overtaking.py). The real intake, store, custody receipts and batches; only the broker
and the validator's HTTP are left out, since neither keeps anything.
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
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.segment import Segment, Stretch
from tallystick.evidence.tree import Tree
from tallystick.gateway.batching import Builder
from tallystick.gateway.overtaking import Overtaking
from tallystick.gateway.peers import Peer
from tallystick.gateway.quotas import Holding
from tallystick.gateway.validatorconfig import ValidatorConfig

DEVICES = 20
AT_ONCE = 50
CLAIM_EVERY = 1_000


def segments(device: Device, begin: int) -> Iterator[bytes]:
    """Segments of one record each, for ever, without keeping any; claims shifted by `begin`."""
    tree = Tree()
    claims = 0
    parties = {"giver": [device.id], "receiver": [device.id]}
    while True:
        at = tree.size
        if (begin + at) % CLAIM_EVERY == CLAIM_EVERY - 1:
            profile = sha256(b"profile")
            record = Claim(
                at, "dock-3", f"order-{at}", profile, "giver", "released", {}, {}, parties, None, []
            ).encode()
            claims += 1
        elif at:
            record = decisionwriter.encode_decision(at, "net@1", {}, {}, {}, {"action": "grip"})
        else:
            record = eventwriter.encode_event(0, "epoch", {"previous": None, "reason": "new"})
        seed = sha256(device.id + at.to_bytes(8, "big"))
        tree.extend(leaf.leaves(seed, at, [record]))
        head = Checkpoint(device.epoch, at + 1, tree.root(), claims, 1, at, None, None, None)
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
    ways = [(one, segments(one, CLAIM_EVERY // DEVICES * n)) for n, one in enumerate(devices)]
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


def drain(gate: MemoryGateway) -> tuple[float, int, int]:
    """Processor seconds to make and pack all batches for a validator, segments, batches ahead."""
    builder = Builder("away", "full", gate.signing, tuple(gate.credential))
    reader, at, ahead = gate.store.reader(), 0, 0
    config = ValidatorConfig(name="away", url="http://127.0.0.1:1", key=("away", gate.key))
    holding = Holding(Peer(config, "away", gate.key), gate.signing.gateway, gate.store)
    overtaking = Overtaking("away", reader, builder, holding, gate.worker.urgent)
    began_s = time.process_time()
    hurried = False
    while True:
        urgent = None if hurried else overtaking.build(reader, at, 256)
        built = urgent or builder.build(reader, at, 256)
        if built is None:
            break
        assert not built.damaged
        hurried = urgent is not None
        if hurried:
            ahead += 1
        else:
            at = built.to
        overtaking.answered(built, set(built.heads))
        overtaking.passed(at)
    reader.close()
    return time.process_time() - began_s, at, ahead


def main() -> None:
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    if len(sys.argv) > 3:
        most = int(sys.argv[3]) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    gate = MemoryGateway(folder, Fleet("acme"))
    filled_s, peaks = fill(gate, count)
    drained_s, drained, ahead = drain(gate)
    used = gate.store.usage().used
    gate.store.close()
    shutil.rmtree(folder, ignore_errors=True)
    print(
        json.dumps(
            {
                "segments": drained,
                "ahead": ahead,
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
