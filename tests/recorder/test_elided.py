"""What a device sends when it kept only hashes: the real gateway takes it, and says so."""

from pathlib import Path
from typing import Any

from support.realgateway import RealGateway
from tallystick.evidence import record as records
from tallystick.evidence import segment
from tallystick.evidence.kinds import DECISION
from tallystick.recorder import Recorder
from tallystick.recorder.ledger import Ledger


def keep_hashes(ledger: Ledger, record: bytes) -> None:
    """Record it as a full write buffer does: its leaf, and no body."""
    log = ledger.log
    log.frame(record, bytes)
    assert ledger.append(log.elided(record))
    log.added(record)


def test_hashes_among_records_reach_the_gateway(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    tally: Any = Recorder.open(
        link.config(), uplink=link, signer=link.device.signer, background=False
    )
    for number in range(20):
        tally.decision("m@1", {"n": number})
        if number % 4 == 0:
            ledger = tally._ledger
            keep_hashes(ledger, tally._encode(number, "m@1", {"n": -number}, {}, {}, None))
    tally.flush()
    for _ in range(200):
        tally.poll(1)
        link.exchange()
    size = tally._ledger.log.tree.size
    assert size >= 25
    assert set(link.gateway.refused()) <= {"replayed"}
    assert link.gateway.tracks()[0][:2] == (0, size)
    elided = decisions = 0
    # Without a receipt some are sent again.
    for data in set(link.segments):
        for stretch in segment.parse(data).stretches:
            elided += stretch.elided
            whole = [item for item in stretch.items if isinstance(item, bytes)]
            decisions += [records.kind_of(item) for item in whole].count(DECISION)
    assert (elided, decisions) == (5, 20)
    tally.close()
