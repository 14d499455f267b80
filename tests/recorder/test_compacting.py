"""A full journal gives bodies up, says so, and still proves every index (docs/recorder.md)."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from support.realgateway import RealGateway, given_up
from tallystick.evidence import event, segment
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Malformed
from tallystick.recorder import Recorder
from tallystick.recorder.frames import LEAF, RECORD_MAJOR, SUBTREE
from tallystick.recorder.refusing import Refused
from tallystick.recorder.walking import Walker

PEER = bytes(range(32))


def opened(link: RealGateway, **settings: Any) -> Any:
    return Recorder.open(
        link.config(**settings), uplink=link, signer=link.device.signer, background=False
    )


def work(tally: Any, rounds: int = 60) -> None:
    for _ in range(rounds):
        if not tally.poll(1):
            return


def settle(tally: Any, link: RealGateway) -> None:
    """Until all is in custody, or 10 s have passed."""
    tally.flush()
    end_s = time.monotonic() + 60
    while tally.backlog() and time.monotonic() < end_s:
        tally.poll(1)
        link.exchange()


class Arrived:
    """What the real gateway has of a log: a place for each index, None where it is elided."""

    def __init__(self, link: RealGateway) -> None:
        self.records: dict[int, bytes] = {}
        self.elided: set[int] = set()
        for data in link.segments:
            received = segment.parse(data)
            for stretch in received.stretches:
                at = stretch.first
                for item in stretch.items:
                    if isinstance(item, bytes):
                        self.records[at] = item
                        at += 1
                    else:
                        self.elided |= set(range(at, at + (1 << item[0])))
                        at += 1 << item[0]
        self.elided -= set(self.records)

    def gaps(self) -> list[dict[str, Any]]:
        events = [event.parse(one) for one in self.records.values() if one[1] == 2]
        return [dict(one.details) for one in events if one.event == "gap"]


def held(tally: Any) -> dict[str, int]:
    """Of all files of this epoch: records, leaves without one, subtrees, and indexes."""
    found = {"records": 0, "leaves": 0, "subtrees": 0, "indexes": 0}
    journal = tally._ledger.journal
    for file in journal.list:
        walker = Walker(journal.files, file.name)
        while (frame := walker.next()) is not None:
            if frame.major == RECORD_MAJOR:
                found["records"] += 1
                found["indexes"] += 1
                continue
            values = walker.values(frame)
            if values[0] == LEAF:
                found["leaves"] += 1
                found["indexes"] += 1
            elif values[0] == SUBTREE:
                found["subtrees"] += 1
                found["indexes"] += 1 << values[1]
        walker.close()
    return found


def test_a_full_journal_gives_decisions_up_and_all_is_proven(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    link.plugged = False
    tally = opened(link, journal_bytes=24576, checkpoint_records=16, wait_s=0.2)
    for number in range(320):
        tally.decision("grasp@1", {"n": number, "blob": bytes(60)})
        if number % 10 == 0:
            tally.event("app.docked", bay=number)
        work(tally)
        assert tally._ledger.journal.used <= 24576
    assert tally.health.dropped == 0
    given = dict(tally.health.given_up)
    assert given["decisions"] > 200 and "claims" not in given
    found = held(tally)
    assert found["indexes"] == tally._ledger.log.tree.size
    assert found["subtrees"] and found["records"] < 200
    assert tally.health.journal_percent > 30
    link.plug()
    settle(tally, link)
    assert not tally.backlog()
    assert tally.health.refused == {}
    arrived = Arrived(link)
    size = tally._ledger.log.custody[0]
    assert set(arrived.records) | arrived.elided >= set(range(size))
    gaps = arrived.gaps()
    assert {one["reason"] for one in gaps} == {"full"}
    # Some more were given up before the receipt for them came.
    given = tally.health.given_up
    assert sum(map(given_up, gaps)) == sum(given.values()) >= len(arrived.elided)
    for kind, count in given.items():
        assert sum(one.get(kind, 0) for one in gaps) == count
    told = {index for one in gaps for index in range(one["first"], one["to"])}
    assert arrived.elided <= told
    tally.close()


def test_it_opens_again_and_goes_on(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    link.plugged = False
    settings = {"journal_bytes": 24576, "checkpoint_records": 16}
    for turn in range(5):
        tally = opened(link, **settings)
        assert tally.health.faults.get("journal:unreadable") is None
        for number in range(60):
            tally.decision("grasp@1", {"n": 60 * turn + number, "blob": bytes(60)})
            work(tally)
        tally.close()
    tally = opened(link, **settings)
    link.plug()
    settle(tally, link)
    assert not tally.backlog() and tally.health.refused == {}
    arrived = Arrived(link)
    size = tally._ledger.log.custody[0]
    assert set(arrived.records) | arrived.elided >= set(range(size))
    assert sum(map(given_up, arrived.gaps())) >= len(arrived.elided) > 0
    # And what is in custody is freed.
    assert tally._ledger.journal.used < 12000
    tally.close()


def test_refusing_drops_nothing(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    link.plugged = False
    tally = opened(link, journal_bytes=16384, full="refuse")
    taken = 0
    reason = ""
    while not reason:
        try:
            tally.decision("grasp@1", {"n": taken, "blob": bytes(60)})
            taken += 1
        except Refused as error:
            reason = error.reason
        work(tally)
    assert reason == "store-full"
    assert 20 < taken < 400
    with pytest.raises(Refused):
        tally.decision("grasp@1", {"blob": bytes(100)}, urgent=True)
    with pytest.raises(Refused):
        tally.event("app.docked", blob=bytes(100))
    assert tally.health.faults["journal:full"] == 3
    work(tally)
    link.plug()
    settle(tally, link)
    assert not tally.backlog()
    assert tally.health.dropped == 0 and tally.health.given_up == {}
    arrived = Arrived(link)
    assert not arrived.elided and not arrived.gaps()
    decisions = [one for one in arrived.records.values() if one[1] == 0]
    assert len(decisions) == taken
    tally.decision("grasp@1", {"n": taken})
    tally.close()


def test_what_was_sent_is_not_sent_again_because_its_file_is_another(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    tally = opened(link, journal_bytes=16384, resend_s=1000, wait_s=0.1)
    while not link.segments:
        tally.poll(1)
        link.exchange()
    sent = []
    for number in range(130):
        tally.decision("grasp@1", {"n": number, "blob": bytes(60)})
        for _ in range(60):
            if not tally.poll(1):
                break
            # No receipt comes.
            sent += [segment.parse(message) for message in link.take()]
    assert tally.health.given_up["decisions"] > 10
    firsts = [one.first for one in sent if one.to > one.first]
    assert len(firsts) > 8 and firsts == sorted(set(firsts))
    tally.close()


def test_a_claim_is_refused_and_a_half_is_not_kept(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    link.plugged = False
    tally = opened(link, journal_bytes=16384, full="refuse", wait_s=0.2)
    blob = bytes(60)
    handover = {
        "role": "giver",
        "claim": "released",
        "peers": {"receiver": PEER},
        "item": "pallet",
        "position_m": ["1.5", 2],
    }
    half = tally.claim("handover@1", task="order-1", **handover)
    assert half
    with pytest.raises(Refused):
        fill(tally, blob)
    for wait in (True, False):
        with pytest.raises(Refused):
            tally.claim("handover@1", task="order-2", wait=wait, **handover)
    size = tally._ledger.log.tree.size
    # Functions that decide, and logs, never raise.
    decided = tally.decides("grip@1", inputs=("force_n",))(lambda force_n: f"grip {force_n}")
    assert decided("4.5" * 100) == "grip " + "4.5" * 100
    assert tally.health.faults["decides:store-full"] == 1
    assert tally._ledger.log.tree.size == size
    tally.close()


def fill(tally: Any, blob: bytes) -> None:
    for number in range(400):
        tally.decision("grasp@1", {"n": number, "blob": blob})
        work(tally)


def test_a_thread_compacts_while_others_record(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    link.plugged = False
    config = link.config(journal_bytes=65536, checkpoint_records=32, buffer_bytes=262144)
    tally: Any = Recorder.open(config, uplink=link, signer=link.device.signer)

    def record(part: int) -> None:
        for number in range(400):
            tally.decision(f"part-{part}@1", {"n": number, "blob": bytes(60)})
            if number % 8 == 0:
                time.sleep(0.002)

    threads = [threading.Thread(target=record, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.flush()
    given = tally.health.given_up["decisions"]
    assert given > 300 and tally.health.dropped == 0 and tally.health.elided == 0
    assert set(tally.health.faults) <= {"uplink:no-link", "journal:full"}
    assert tally._ledger.journal.used <= 65536
    link.plug()
    end_s = time.monotonic() + 60
    while tally.backlog() and time.monotonic() < end_s:
        link.exchange()
        time.sleep(0.002)
    assert not tally.backlog() and tally.health.refused == {}
    arrived = Arrived(link)
    size = tally._ledger.log.custody[0]
    assert set(arrived.records) | arrived.elided >= set(range(size))
    for part in range(3):
        model = [f"part-{part}", "1", None]
        decisions = [decode(one) for one in map(arrived.records.get, sorted(arrived.records))
                     if one is not None and one[1] == 0]  # fmt: skip
        numbers = [one[3]["n"] for one in decisions if one[2] == model]
        assert numbers == sorted(numbers)
    tally.close()


def test_a_wrong_word_is_refused(tmp_path: Path) -> None:
    link = RealGateway(tmp_path)
    with pytest.raises(Malformed, match="drop"):
        opened(link, full="overwrite")
