"""What a device sends when it kept only hashes: the real gateway takes it, and says so."""

import os
import time
from pathlib import Path
from typing import Any

from support.realgateway import RealGateway
from tallystick.evidence import record as records
from tallystick.evidence import segment
from tallystick.evidence.cbor import head
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.kinds import DECISION
from tallystick.recorder import Recorder
from tallystick.recorder.frames import leaf_frame
from tallystick.recorder.giving import hollowed
from tallystick.recorder.ledger import Ledger


def keep_hashes(ledger: Ledger, record: bytes) -> None:
    """Record it as a full write buffer does: its leaf, and no body."""
    log = ledger.log
    frame = log.frame(record, os.urandom)
    before = frame[: len(frame) - 4 - len(head(2, len(record))) - len(record)]
    assert ledger.append(before + leaf_frame(record[1], log.leaf))
    hollowed(log, log.tree.size, log.tree.size + 1)
    log.added(record)


def settle(tally: Any, link: RealGateway) -> None:
    """Until all is in custody, or a minute has passed."""
    tally.flush()
    end_s = time.monotonic() + 60
    while tally.backlog() and time.monotonic() < end_s:
        tally.poll(1)
        link.exchange()


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
    settle(tally, link)
    assert not tally.backlog(), "what a gateway has only as hashes, because we had, is in custody"
    size = tally._ledger.log.tree.size
    assert size >= 25
    assert tally.health.as_dict()["refused"] == {}
    assert set(link.gateway.refused()) <= {"replayed"}
    assert link.gateway.tracks()[0][:2] == (0, size)
    elided = decisions = 0
    # The gateway asks for all when it hears of the device, so some come twice.
    for data in set(link.segments):
        for stretch in segment.parse(data).stretches:
            elided += stretch.elided
            whole = [item for item in stretch.items if isinstance(item, bytes)]
            decisions += [records.kind_of(item) for item in whole].count(DECISION)
    assert (elided, decisions) == (5, 20)
    # The custody goes on after the next start, and after what is whole again.
    tally.close()
    again: Any = Recorder.open(
        link.config(), uplink=link, signer=link.device.signer, background=False
    )
    for number in range(20):
        again.decision("m@1", {"n": number})
    settle(again, link)
    assert not again.backlog() and again.health.as_dict()["refused"] == {}
    again.close()


def test_a_receipt_over_hashes_frees_nothing_of_a_device_that_has_all(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    tally: Any = Recorder.open(
        link.config(), uplink=link, signer=link.device.signer, background=False
    )
    for number in range(20):
        tally.decision("m@1", {"n": number})
    tally.flush()
    for _ in range(50):
        tally.poll(1)
        link.take()
    log = tally._ledger.log
    receipt = CustodyReceipt(log.epoch, 0, log.sealed_size, log.sealed_root, False, 1)
    gateway = link.gateway.signing
    link.deliver(gateway.sign(receipt, link.device.id)[0])
    for _ in range(50):
        tally.poll(1)
    assert tally.health.as_dict()["refused"] == {"bad-value": 1}
    assert log.custody is None
    tally.close()
