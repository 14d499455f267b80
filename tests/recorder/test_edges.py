"""A gateway without history gets the edge of the oldest index, whatever stands at the file's begin.

The simulation found it (tests/simulation, seed 1077): a robot whose oldest file begins with a
repeated head sent its records without their edge, and the next gateway asked for them for ever.
"""

from pathlib import Path

from support.devices import key
from support.station import Fleet, Station, read_credential
from tallystick.evidence import segment
from tallystick.recorder import Recorder
from tallystick.recorder.memory_uplink import MemoryUplink

INTERVAL_MS = 600_000


class Clock:
    """Uptime that a test moves."""

    now_ms = 0

    def uptime_ms(self) -> int:
        return self.now_ms

    def wall(self) -> None:
        return None


def work(tally: Recorder, link: MemoryUplink, station: Station) -> list[bytes]:
    """Until nothing is to be done; what the device sent."""
    sent: list[bytes] = []
    while tally.step() or link.up:
        for message in link.take():
            sent.append(message)
            for answer in station.answer(message):
                link.deliver(answer)
    return sent


def test_a_repeated_head_at_the_begin_of_the_oldest_file_hides_no_edge(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    config = fleet.device(
        "one",
        signer=key("a robot's"),
        promised_s=900,
        journal_bytes=16_384,
        checkpoint_records=1,
        interval_s=INTERVAL_MS // 1000,
    )
    first, second = (Station(fleet, read_credential(config)) for _ in range(2))
    clock, link = Clock(), MemoryUplink()
    tally = Recorder.open(
        config, uplink=link, signer=key("a robot's"), clock=clock, background=False
    )
    journal, log = tally._ledger.journal, tally._ledger.log
    # Until a file begins.
    work(tally, link, first)
    while not (journal.list[-1].first == log.tree.size and len(journal.list) > 1):
        tally.decision("m@1", {"n": log.tree.size}, output="go")
        work(tally, link, first)
    begin = log.tree.size
    clock.now_ms += INTERVAL_MS
    head = [segment.parse(message) for message in work(tally, link, first)]
    assert [(one.first, one.to) for one in head] == [(begin, begin)]
    # All before it is in custody and freed.
    assert journal.list[0].first == begin
    tally.decision("m@1", {"n": begin}, output="go")
    # The other gateway knows nothing of it.
    link.pull()
    link.plug()
    clock.now_ms += 1_000
    work(tally, link, second)
    clock.now_ms += 1_000
    work(tally, link, second)
    assert second.trees[log.epoch].size == log.tree.size > begin
    assert not tally.backlog()
    tally.close()
