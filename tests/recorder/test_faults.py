"""Faults of key, flash and clock: seen in `health`, recorded, never raised (F03 to F05)."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.station import Fleet
from tallystick.evidence import record
from tallystick.evidence.errors import KeyDriverError, Malformed, TallyError
from tallystick.evidence.event import Event
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.buffer import LEAVES_MAX
from tallystick.recorder.files import Files
from tallystick.recorder.frames import RECORD_MAJOR
from tallystick.recorder.walking import Walker


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


class Clock:
    """The test's own time."""

    def __init__(self) -> None:
        self.now = 0
        self.wall_ms: int | None = None

    def uptime_ms(self) -> int:
        self.now += 1
        return self.now

    def wall(self) -> tuple[int, int] | None:
        return None if self.wall_ms is None else (self.wall_ms + self.now, 100)


class MoodyKey:
    """A real key that may be slow, busy or broken, as a chip is."""

    def __init__(self, uri: str) -> None:
        self.key = Signer.from_uri(uri)
        self.slow_polls = 0
        self.broken = ""
        self.polls = 0

    def begin(self, message: bytes) -> None:
        if self.broken == "begin":
            raise KeyDriverError("busy", "the chip does not answer")
        self.polls = 0
        self.key.begin(message)

    def poll(self) -> bool:
        if self.broken == "poll":
            raise OSError(5, "the bus")
        self.polls += 1
        return self.polls > self.slow_polls and self.key.poll()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.key, name)


class MoodyFiles(Files):
    """A real folder whose writes and syncs can fail, after a part of the write."""

    def __init__(self, folder: str) -> None:
        self.broken = ""
        super().__init__(folder)

    def write(self, handle: BinaryIO, data: bytes) -> None:
        if self.broken == "write":
            super().write(handle, data[: len(data) // 2])
            raise OSError(28, "no space")
        super().write(handle, data)

    def sync(self, handle: BinaryIO) -> None:
        if self.broken == "sync":
            raise OSError(5, "input/output error")
        super().sync(handle)


def opened(fleet: Fleet, **settings: Any) -> tuple[Recorder, MoodyKey, MoodyFiles, Clock]:
    config = fleet.device("one", wait_s=0.05, **settings)
    key = MoodyKey(config["key"])
    files = MoodyFiles(config["journal"])
    clock = Clock()
    tally = Recorder.open(config, signer=key, files=files, clock=clock, background=False)
    return tally, key, files, clock


def records_of(files: Files) -> list[Any]:
    found = []
    for name in (name for name in files.names() if name.endswith(".tally")):
        walker = Walker(files, name)
        while True:
            frame = walker.next()
            if frame is None:
                break
            if frame.major == RECORD_MAJOR:
                found.append(record.parse(walker.content(frame)))
        walker.close()
    return found


def events(files: Files, name: str) -> list[dict[str, Any]]:
    found = [one for one in records_of(files) if isinstance(one, Event)]
    return [one.details for one in found if one.event == name]


def decisions(files: Files) -> list[Any]:
    return [one for one in records_of(files) if not isinstance(one, Event)]


def decide(tally: Recorder, count: int, **more: Any) -> None:
    for number in range(count):
        tally.decision("m@1", {"n": number}, **more)


def claim(tally: Recorder, **more: Any) -> Any:
    return tally.claim(
        "handover@1",
        task="t",
        role="giver",
        claim="released",
        peers={"receiver": bytes(32)},
        item="x",
        position_m=[1],
        **more,
    )


@pytest.mark.parametrize("how", ["begin", "poll"])
def test_a_broken_key_stops_nothing_but_signatures(fleet: Fleet, how: str) -> None:
    tally, key, files, clock = opened(fleet)
    tally.flush()
    key.broken = how
    decide(tally, 50)
    decide(tally, 1, urgent=True)
    assert claim(tally) == b""
    handle = claim(tally, wait=False)
    for _ in range(20):
        tally.poll(1)
    assert not handle.ready
    assert not tally.health.key_ok
    assert tally.health.dropped == 0
    assert tally.health.faults["key:busy" if how == "begin" else "key:io"] >= 1
    key.broken = ""
    clock.now += 120_000
    for _ in range(100):
        clock.now += 1000
        tally.poll(1)
    assert handle.ready
    assert handle.result()
    assert tally.health.key_ok
    assert tally.flush()
    faults = events(files, "fault")
    assert {"part": "key", "reason": "busy" if how == "begin" else "io"} in faults
    assert {"part": "key", "reason": "late"} in faults


def test_recording_goes_on_while_a_slow_key_signs(fleet: Fleet) -> None:
    tally, key, _files, _clock = opened(fleet, checkpoint_records=4)
    key.slow_polls = 40
    checkpoints = tally.health.checkpoints
    for _ in range(60):
        decide(tally, 4)
        tally.poll(1)
    # One signature at a time: what waits meanwhile is covered by the next one.
    assert 2 <= tally.health.checkpoints - checkpoints < 60
    assert tally.health.dropped == 0
    key.slow_polls = 0
    assert tally.flush()


def test_a_stretch_never_outgrows_a_segment(fleet: Fleet) -> None:
    tally, key, _files, _clock = opened(fleet, journal_bytes=1 << 24)
    key.broken = "begin"
    for number in range(9000):
        tally.decision("m@1", {"n": number})
    while tally._ledger.write():
        pass
    assert tally.health.dropped == 0 and tally.health.elided == 0
    log = tally._ledger.log
    assert log.unsealed <= 4096
    sizes = [0, *[record_size(payload) for _, payload in log.pending]]
    assert max(b - a for a, b in pairwise(sizes)) <= 4096


def record_size(payload: bytes) -> int:
    from tallystick.evidence.cbor import decode

    size: int = decode(payload)[2]
    return size


def test_too_many_claims_for_a_dead_key_fail_visibly(fleet: Fleet) -> None:
    tally, key, _files, _clock = opened(fleet)
    key.broken = "begin"
    handles = [claim(tally, wait=False) for _ in range(80)]
    assert not any(handle.ready for handle in handles)
    while tally._ledger.write():
        pass
    failed = [handle for handle in handles if handle.ready]
    assert failed
    assert failed[0].result() == b""
    assert failed[0].fault == "key-behind"
    assert not failed[0].kept
    assert tally.health.faults["key:key-behind"] == len(failed)
    assert tally.health.dropped == 0


@pytest.mark.parametrize("how", ["write", "sync"])
def test_a_failing_flash_is_counted_and_recorded(fleet: Fleet, how: str) -> None:
    tally, _key, files, clock = opened(fleet)
    decide(tally, 5)
    assert tally.flush()
    files.broken = how
    decide(tally, 10)
    decide(tally, 1, urgent=True)
    assert claim(tally) == b""
    tally.poll(5)
    assert not tally.health.flash_ok
    assert tally.health.faults[f"flash:{how}"] >= 1
    # What nobody waits for stays in memory until the flash takes it.
    assert tally.health.dropped == (2 if how == "write" else 0)
    files.broken = ""
    clock.now += 5000
    decide(tally, 5)
    assert tally.flush()
    assert tally.health.flash_ok
    assert len(decisions(files)) == 20 + (2 if how == "sync" else 0)
    gaps = events(files, "gap")
    assert sum(gap["dropped"] for gap in gaps) == tally.health.dropped
    assert {gap["reason"] for gap in gaps} == ({"flash"} if how == "write" else set())
    tally.close()


def test_a_failed_write_leaves_no_torn_frame(fleet: Fleet) -> None:
    tally, _key, files, clock = opened(fleet)
    for _ in range(5):
        files.broken = "write"
        decide(tally, 3)
        files.broken = ""
        clock.now += 5000
        decide(tally, 3, urgent=True)
    tally.close()
    again = Recorder.open(
        config_of(fleet),
        background=False,
    )
    assert again._ledger.journal.torn_bytes == 0
    assert again.epoch == tally.epoch


def config_of(fleet: Fleet) -> dict[str, Any]:
    folder = fleet.folder / "one"
    return {
        "fleet": "acme",
        "key": f"file:{folder / 'key'}",
        "journal": str(folder / "journal"),
        "credential": str(folder / "credential.cbor"),
    }


def test_a_full_journal_drops_and_says_so(fleet: Fleet) -> None:
    tally, _key, files, _clock = opened(fleet, journal_bytes=16384, buffer_bytes=4096)
    for number in range(1500):
        tally.decision("m@1", {"n": number}, output="x" * 60)
        tally.poll(1)
    assert tally.health.dropped > 100
    assert tally.health.elided == LEAVES_MAX
    assert tally.health.faults["journal:full"] >= 1
    # What is there can still be sealed and signed: the reserve is for that.
    assert not tally.flush()
    assert tally._ledger.log.unsealed == 0 and not tally._ledger.log.pending
    assert sum(files.size(name) for name in files.names()) <= 16384
    before = tally.health.dropped
    decide(tally, 1, urgent=True)
    assert tally.health.dropped == before + 1


def test_custody_makes_room_again(fleet: Fleet) -> None:
    from support.station import Station, read_credential
    from tallystick.recorder.memory_uplink import MemoryUplink

    config = fleet.device("one", journal_bytes=32768)
    station = Station(fleet, read_credential(config))
    link = MemoryUplink()
    tally = Recorder.open(config, uplink=link, background=False, clock=Clock())
    files = Files(config["journal"])
    for number in range(3000):
        tally.decision("m@1", {"n": number}, output="x" * 60)
        tally.poll(2)
        for message in link.take():
            for answer in station.answer(message):
                link.deliver(answer)
        assert sum(files.size(name) for name in files.names()) <= 32768
    assert tally.health.dropped == 0
    assert len(station.records[tally.epoch]) > 2500
    # A gateway that joins now gets what is still here, with the edge before it.
    late = Station(fleet, read_credential(config))
    link.pull()
    link.plug()
    link.take()
    for _ in range(4000):
        tally.poll(1)
        for message in link.take():
            for answer in late.answer(message):
                link.deliver(answer)
        if late.segments:
            break
    assert late.segments[0].began == late.segments[0].first > 0
    tally.close()


def test_a_clock_that_is_set_is_an_event(fleet: Fleet) -> None:
    tally, _key, files, clock = opened(fleet, checkpoint_records=1)

    def seal() -> None:
        decide(tally, 1)
        for _ in range(5):
            tally.poll(1)

    seal()
    clock.wall_ms = 1_790_000_000_000
    seal()
    seal()
    assert events(files, "clock") == []
    clock.wall_ms = 0
    seal()
    # At most one in ten seconds; the next one says where the clock stands then.
    for step in range(5):
        clock.wall_ms = 1_890_000_000_000 + 1_000_000 * step
        seal()
    assert len(events(files, "clock")) == 1
    clock.now += 10_000
    seal()
    steps = events(files, "clock")
    assert len(steps) == 2
    assert abs(steps[1]["after_ms"] - 1_890_004_000_000) < 20_000 > steps[1]["before_ms"]
    # The test's clock ticks at each question.
    assert abs(steps[0]["before_ms"] - steps[0]["after_ms"] - 1_790_000_000_000) < 10
    uptimes = [one.uptime_ms for one in records_of(files)]
    assert uptimes == sorted(uptimes)


def test_no_key_is_a_clear_error(fleet: Fleet) -> None:
    config = fleet.device("one")
    Path(config["key"][5:]).unlink()
    with pytest.raises(KeyDriverError, match="cannot be read"):
        Recorder.open(config, background=False)


def test_the_journal_of_another_device_is_refused(fleet: Fleet) -> None:
    one, two = fleet.device("one"), fleet.device("two")
    Recorder.open(one, background=False).close()
    with pytest.raises(KeyDriverError, match="belongs to another device"):
        Recorder.open({**two, "journal": one["journal"]}, background=False)
    with pytest.raises(KeyDriverError, match="another key"):
        Recorder.open({**two, "credential": one["credential"]}, background=False)


def test_an_unusable_folder_is_a_clear_error(fleet: Fleet, tmp_path: Path) -> None:
    config = fleet.device("one")
    (tmp_path / "file").write_text("")
    with pytest.raises(TallyError, match="journal"):
        Recorder.open({**config, "journal": str(tmp_path / "file" / "x")}, background=False)


# Configuration.


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"checkpont_s": 1}, "there is no setting 'checkpont_s'"),
        ({"fleet": None}, "fleet is missing"),
        ({"checkpoint_s": "1"}, "wrong type"),
        ({"checkpoint_s": True}, "wrong type"),
        ({"checkpoint_records": 0}, "must be 1 to"),
        ({"checkpoint_records": 5000}, "must be 1 to"),
        ({"uplink": "http://x"}, "uplink must be mqtt"),
        ({"uplink": "mqtt://host:0"}, "uplink must be mqtt"),
        ({"uplink": "mqtt://host: 1"}, "uplink must be mqtt"),
        ({"uplink": "mqtts://host"}, "needs tls"),
        ({"tls": {"ca": "x"}}, "tls is for"),
        ({"uplink": "mqtts://host", "tls": {"cert": "x"}}, "ca, cert and key"),
        ({"release": "never"}, "release"),
        ({"firmware": "abc"}, "64 hexadecimal"),
        ({"gateways": [{"id": "x"}]}, "gateway"),
        ({"journal_bytes": 5}, "must be"),
    ],
)
def test_a_wrong_configuration_says_what(fleet: Fleet, change: dict[str, Any], said: str) -> None:
    config = {**fleet.device("one"), **change}
    with pytest.raises(Malformed, match=said):
        Recorder.open(config, background=False)


def test_paths_are_relative_to_the_file(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.device("one")
    folder = fleet.folder / "one"
    config = {"fleet": "acme", "key": "file:key", "journal": "j", "credential": "credential.cbor"}
    (folder / "tallystick.json").write_text(json.dumps(config))
    tally = Recorder.open(str(folder / "tallystick.json"), background=False)
    tally.close()
    assert (folder / "j").is_dir()
    monkeypatch.setenv("TALLYSTICK_CONFIG", str(folder / "tallystick.json"))
    again = Recorder.open(background=False)
    assert again.epoch == tally.epoch
    again.close()
    monkeypatch.delenv("TALLYSTICK_CONFIG")
    monkeypatch.chdir(folder)
    third = Recorder.open(background=False)
    assert third.epoch == tally.epoch
    third.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Malformed, match="TALLYSTICK_CONFIG"):
        Recorder.open(background=False)
    (folder / "bad.json").write_text("{")
    with pytest.raises(Malformed, match="no JSON"):
        Recorder.open(str(folder / "bad.json"), background=False)
    shutil.rmtree(folder / "j")
