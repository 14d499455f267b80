"""What the peers' validator is sent: batches of records, each signed by itself."""

import time
from dataclasses import dataclass

import cbor2
import zstandard

from tallystick.tools.bench import handovers, peer_validator
from tallystick.tools.bench.peers import checked

# As in a gateway's batch, which closes at 2 MiB.
BATCH_RECORDS = 8_192
# So many tell how fast it is.
PROBED = 64


@dataclass(frozen=True)
class PeerBatches:
    """What a peer is sent: one line of batches for each gateway."""

    records: int
    lines: list[list[bytes]]


def make(name: str, seconds: float, lines: int, claim_every: int) -> PeerBatches:
    """About as many signed records as the peer can verify in the time, as many claims as ours."""
    peer = checked(name, peer_validator.SEED)
    start = time.perf_counter()
    for made in handovers.records(0, PROBED, claim_every):
        peer.verify(peer.sign(made))
    rate = PROBED / (time.perf_counter() - start)
    batches = max(lines, round(seconds * rate / BATCH_RECORDS))
    each = min(BATCH_RECORDS, max(PROBED, round(seconds * rate / batches)))
    zstd = zstandard.ZstdCompressor(level=handovers.ZSTD_LEVEL)
    found = []
    for number in range(batches):
        bodies = handovers.records(number * each, each, claim_every)
        found.append(zstd.compress(cbor2.dumps([peer.sign(one) for one in bodies])))
    return PeerBatches(batches * each, [found[at::lines] for at in range(lines)])
