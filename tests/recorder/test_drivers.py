"""Whatever a driver of key, flash or link raises: in `health`, recorded once, never raised."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from recorder.test_faults import Clock, MoodyKey, claim, decide, events, opened
from support.station import Fleet
from tallystick.evidence import segment
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.welcome import Welcome
from tallystick.recorder import Recorder, freeing
from tallystick.recorder.files import Files
from tallystick.recorder.memory_uplink import MemoryUplink

FOREIGN = [ValueError, RuntimeError, MemoryError, KeyError, OSError]
REASONS = {MemoryError: "memory", OSError: "io"}


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


def reason_of(kind: type[Exception]) -> str:
    return REASONS.get(kind, "driver")


class RaisingKey(MoodyKey):
    """A real key behind a driver with a defect."""

    raises: type[BaseException] | None = None
    where = ""

    def _maybe(self, where: str) -> None:
        if self.raises is not None and where == self.where:
            raise self.raises("a driver's own words, maybe a secret")

    def begin(self, message: bytes) -> None:
        self._maybe("begin")
        super().begin(message)

    def poll(self) -> bool:
        self._maybe("poll")
        return super().poll()

    def signature(self) -> bytes:
        self._maybe("signature")
        if self.where == "nothing":
            return None  # type: ignore[return-value]  # as a broken driver does
        return self.key.signature()

    def close(self) -> None:
        self._maybe("close")


class RaisingFiles(Files):
    """A real folder behind a file system with a defect."""

    raises: type[BaseException] | None = None
    where = ""

    def _maybe(self, where: str) -> None:
        if self.raises is not None and where == self.where:
            raise self.raises("a driver's own words")

    def appending(self, name: str) -> BinaryIO:
        self._maybe("appending")
        return super().appending(name)

    def reading(self, name: str) -> BinaryIO:
        self._maybe("reading")
        return super().reading(name)

    def write(self, handle: BinaryIO, data: bytes) -> None:
        if self.where == "write" and self.raises is not None:
            super().write(handle, data[: len(data) // 2])
        self._maybe("write")
        super().write(handle, data)

    def sync(self, handle: BinaryIO) -> None:
        self._maybe("sync")
        super().sync(handle)


class RaisingUplink(MemoryUplink):
    """A real link in memory behind a driver with a defect."""

    raises: type[BaseException] | None = None
    where = ""

    def _maybe(self, where: str) -> None:
        if self.raises is not None and where == self.where:
            raise self.raises("a driver's own words")

    def connect(self) -> None:
        self._maybe("connect")
        super().connect()

    def step(self) -> bool:
        self._maybe("step")
        return super().step()

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        self._maybe("publish_pieces")
        return super().publish_pieces(size, pieces)

    def receive(self) -> bytes | None:
        self._maybe("receive")
        return super().receive()

    def close(self) -> None:
        self._maybe("close")


def made(
    fleet: Fleet, **settings: Any
) -> tuple[Recorder, RaisingKey, RaisingFiles, RaisingUplink, Clock]:
    config = fleet.device("one", wait_s=0.05, **settings)
    key, clock, link = RaisingKey(config["key"]), Clock(), RaisingUplink()
    files = RaisingFiles(config["journal"])
    tally = Recorder.open(
        config, uplink=link, signer=key, files=files, clock=clock, background=False
    )
    return tally, key, files, link, clock


def polls(tally: Recorder, clock: Clock, seconds: int) -> None:
    for _ in range(seconds):
        clock.now += 1000
        tally.poll(1)


def faults(files: Files, part: str) -> list[str]:
    return [one["reason"] for one in events(files, "fault") if one["part"] == part]


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("where", ["begin", "poll", "signature"])
def test_a_keys_driver_may_raise_anything(fleet: Fleet, kind: type[Exception], where: str) -> None:
    tally, key, files, _link, clock = made(fleet)
    tally.flush()
    key.raises, key.where = kind, where
    decide(tally, 5)
    polls(tally, clock, 600)
    decide(tally, 1, urgent=True)
    assert claim(tally) == b""
    assert not tally.flush()
    assert not tally.health.key_ok
    name = "key:" + reason_of(kind)
    assert tally.health.faults[name] >= 1
    # After one that was cut off a real key says that it is busy.
    assert sum(tally.health.faults.values()) > 5
    assert "secret" not in repr(tally.health) or kind is OSError
    key.raises = None
    polls(tally, clock, 100)
    assert tally.flush()
    assert tally.health.key_ok
    # One fault that went on for ten minutes is one event, however often it was tried.
    assert faults(files, "key").count(reason_of(kind)) == 1
    key.raises = kind
    decide(tally, 5)
    polls(tally, clock, 200)
    key.raises = None
    polls(tally, clock, 100)
    assert tally.flush()
    assert faults(files, "key").count(reason_of(kind)) == 2


def test_a_flapping_key_is_recorded_once_a_minute(fleet: Fleet) -> None:
    tally, key, files, _link, clock = made(fleet, checkpoint_s=0.01)
    for _ in range(120):
        key.raises, key.where = ValueError, "begin"
        decide(tally, 1)
        polls(tally, clock, 1)
        key.raises = None
        decide(tally, 1)
        polls(tally, clock, 1)
    tally.flush()
    assert tally.health.faults["key:driver"] > 20
    assert 2 <= len(faults(files, "key")) <= 5


def test_a_key_that_gives_no_signature(fleet: Fleet) -> None:
    tally, key, files, _link, clock = made(fleet)
    key.where = "nothing"
    decide(tally, 5)
    polls(tally, clock, 10)
    assert tally.health.faults["key:bad-signature"] >= 1
    key.where = ""
    polls(tally, clock, 100)
    assert tally.flush()
    assert faults(files, "key") == ["bad-signature"]


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("where", ["write", "sync", "appending"])
def test_a_flashs_driver_may_raise_anything(
    fleet: Fleet, kind: type[Exception], where: str
) -> None:
    tally, _key, files, link, clock = made(fleet, journal_bytes=131072)
    tally.flush()
    files.raises, files.where = kind, where
    for _ in range(60):
        decide(tally, 3, output="x" * 60)
        polls(tally, clock, 10)
    decide(tally, 1, urgent=True)
    claim(tally)
    if where == "write":
        assert not tally.health.flash_ok
        assert claim(tally) == b""
        handle = claim(tally, wait=False)
        polls(tally, clock, 1)
        assert handle.ready
        assert handle.result() == b""
        assert (handle.fault, handle.kept) == ("store-full", False)
    files.raises = None
    link.take()
    polls(tally, clock, 5)
    decide(tally, 1)
    assert tally.flush()
    assert tally.health.flash_ok
    reason = {"write": "write", "sync": "sync", "appending": "rotate"}[where]
    assert faults(files, "flash") == [reason]
    tally.close()
    again = Recorder.open(
        {**fleet_config(fleet), "journal_bytes": 131072}, background=False, clock=Clock()
    )
    assert again._ledger.journal.torn_bytes == 0
    assert again.epoch == tally.epoch
    again.close()


class EndingMemory(list[Any]):
    """A list that finds no memory to grow while `ends` is set."""

    ends = True

    def append(self, one: object) -> None:
        if self.ends:
            raise MemoryError
        super().append(one)


def test_a_file_that_memory_ends_in_takes_the_place_of_no_other(fleet: Fleet) -> None:
    tally, _key, files, _link, clock = made(fleet, journal_bytes=131072)
    journal = tally._ledger.journal
    names = journal.list = EndingMemory(journal.list)
    while "flash:rotate" not in tally.health.faults:
        decide(tally, 3, output="x" * 60)
        polls(tally, clock, 10)
    assert tally.flush()
    assert (len(names), journal.unnamed, journal.left) == (1, False, None)
    assert journal.handle is not None
    names.ends = False
    polls(tally, clock, 100)
    decide(tally, 3, output="x" * 60)
    assert tally.flush()
    assert len(names) == 2
    assert faults(files, "flash") == ["rotate"]
    kept = tally._ledger.log.tree.size
    tally.close()
    again = Recorder.open(
        {**fleet_config(fleet), "journal_bytes": 131072}, background=False, clock=Clock()
    )
    assert again.epoch == tally.epoch
    assert again._ledger.log.tree.size >= kept
    assert [file.number for file in again._ledger.journal.list] == [1, 2]
    again.close()


def fleet_config(fleet: Fleet) -> dict[str, Any]:
    folder = fleet.folder / "one"
    return {
        "fleet": "acme",
        "key": f"file:{folder / 'key'}",
        "journal": str(folder / "journal"),
        "credential": str(folder / "credential.cbor"),
    }


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("where", ["connect", "step", "publish_pieces", "receive"])
def test_a_links_driver_may_raise_anything(fleet: Fleet, kind: type[Exception], where: str) -> None:
    tally, _key, files, link, clock = made(fleet)
    link.raises, link.where = kind, where
    decide(tally, 5)
    polls(tally, clock, 600)
    name = "uplink:" + reason_of(kind)
    assert tally.health.faults[name] > 2
    link.raises = None
    polls(tally, clock, 100)
    assert tally.health.connected
    assert tally.flush()
    # There is no gateway, which is told too.
    told = [one for one in faults(files, "uplink") if one != "no-welcome"]
    assert told == [reason_of(kind)] if where == "connect" else True
    assert 1 <= len(told) <= 600 // 60 + 1


def test_what_stops_a_program_still_stops_it(fleet: Fleet) -> None:
    tally, key, files, link, clock = made(fleet)
    for kind in (KeyboardInterrupt, SystemExit):
        key.raises, key.where = kind, "begin"
        with pytest.raises(kind):
            polls(tally, clock, 50)
        key.raises = None
        link.raises, link.where = kind, "receive"
        with pytest.raises(kind):
            polls(tally, clock, 50)
        link.raises = None
        files.raises, files.where = kind, "write"
        decide(tally, 1)
        with pytest.raises(kind):
            polls(tally, clock, 50)
        files.raises = None
    decide(tally, 3)
    assert tally.flush()
    tally.close()
    again = Recorder.open(fleet_config(fleet), background=False, clock=Clock())
    assert again._ledger.journal.torn_bytes == 0
    assert again.epoch == tally.epoch


def test_close_gives_everything_back_whatever_raises(fleet: Fleet) -> None:
    tally, key, files, link, _clock = made(fleet)
    key.raises = link.raises = RuntimeError
    key.where = link.where = "close"
    files.raises, files.where = RuntimeError, "sync"
    tally.close()
    assert {"flash:close", "uplink:close", "key:close"} <= set(tally.health.faults)
    Recorder.open(fleet_config(fleet), background=False, clock=Clock()).close()


def test_a_broker_that_was_never_reached_is_recorded(fleet: Fleet) -> None:
    tally, _key, files, link, clock = made(fleet)
    link.plugged = False
    polls(tally, clock, 600)
    tally.flush()
    assert [one["state"] for one in events(files, "uplink")] == ["down"]
    assert faults(files, "uplink") == ["no-link"]
    link.plug()
    polls(tally, clock, 100)
    tally.flush()
    assert [one["state"] for one in events(files, "uplink")] == ["down", "up"]


def test_a_flapping_link_is_told_as_it_ends(fleet: Fleet) -> None:
    tally, _key, files, link, clock = made(fleet)
    for _ in range(40):
        polls(tally, clock, 2)
        link.pull()
        polls(tally, clock, 1)
        link.plug()
    link.pull()
    polls(tally, clock, 20)
    tally.flush()
    states = [one["state"] for one in events(files, "uplink")]
    assert states[0] == "up"
    assert states[-1] == "down"
    assert len(states) <= 2 + 140 // 10


def test_a_journal_that_cannot_be_read_back(fleet: Fleet) -> None:
    tally, _key, files, link, clock = made(fleet)
    polls(tally, clock, 3)
    link.deliver(Welcome(1, None, None).encode())
    polls(tally, clock, 3)
    assert tally.health.sent
    files.raises, files.where = RuntimeError, "reading"
    for _ in range(20):
        decide(tally, 20)
        polls(tally, clock, 20)
    assert tally.health.faults["journal:driver"] > 5
    files.raises = None
    link.take()
    polls(tally, clock, 100)
    tally.flush()
    assert link.take()
    assert faults(files, "journal") == ["driver"]


class SlowUplink(RaisingUplink):
    """Takes a segment and hands it over when it is told to."""

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        if self.where != "slow" or size < 500:
            return super().publish_pieces(size, pieces)
        self.held = iter(pieces)
        self.busy = True
        return True

    def finish(self) -> bytes:
        self.busy = False
        return b"".join(self.held)


def test_a_file_is_not_freed_while_it_is_handed_over(fleet: Fleet) -> None:
    config = fleet.device("one", journal_bytes=32768)
    link, clock = SlowUplink(), Clock()
    tally = Recorder.open(config, uplink=link, clock=clock, background=False)
    decide(tally, 100, output="x" * 60)
    assert tally.flush()
    polls(tally, clock, 3)
    link.where = "slow"
    link.deliver(Welcome(1, None, None).encode())
    polls(tally, clock, 30)
    assert link.busy
    ledger, sender = tally._ledger, tally._sender
    assert sender is not None
    size = ledger.log.sealed_size
    journal, oldest = ledger.journal, ledger.journal.list[0].number
    # A resend request moves the cursor on, and custody covers all.
    sender.rewind(size)
    assert sender.position[0] > oldest
    assert not freeing.release(journal, ledger.log.epoch, size, sender.reading)
    segment.parse(link.finish())
    polls(tally, clock, 1)
    assert freeing.release(journal, ledger.log.epoch, size, sender.reading)


# Profiles and roots.


def test_a_profile_is_missing_or_unreadable(fleet: Fleet) -> None:
    tally, _key, files, _clock = opened(fleet)
    path = Path(tally._config["profiles"]) / "handover@1.cbor"
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(Malformed, match="not provisioned"):
        claim(tally)
    assert tally.health.dropped == 0

    def damaged() -> None:
        path.write_bytes(data[:-3])

    def unreadable() -> None:
        path.unlink()
        path.mkdir()

    breakings: list[Callable[[], Any]] = [damaged, unreadable]
    for count, spoil in enumerate(breakings, 1):
        spoil()
        assert claim(tally) == b""
        handle = claim(tally, wait=False)
        assert (handle.ready, handle.result(), handle.kept) == (True, b"", False)
        assert handle.fault == "flash"
        assert tally.health.dropped == 2 * count
        assert tally.health.faults == {"flash:profile": 2 * count}
    assert "profile" in tally.health.last_fault
    path.rmdir()
    path.write_bytes(data)
    assert claim(tally)
    assert tally.flush()
    assert events(files, "gap") == [{"dropped": 4, "reason": "flash"}]
    assert faults(files, "flash") == ["profile"]


@pytest.mark.parametrize("line", [7, "acme", "acme+AAAA", "a+b+c", "acme+" + "A" * 54])
def test_a_malformed_root_raises_at_open(fleet: Fleet, line: Any) -> None:
    config = fleet.device("one")
    with pytest.raises(Malformed, match="roots"):
        Recorder.open({**config, "roots": [*config["roots"], line]}, background=False)
    # And the journal is free for a right configuration.
    Recorder.open(config, background=False).close()


def test_a_failed_open_gives_the_journal_back(fleet: Fleet) -> None:
    config = fleet.device("one")
    Recorder.open(config, background=False).close()
    newest = max(Path(config["journal"]).glob("*.tally"))
    newest.chmod(0o600)
    kept = newest.read_bytes()
    newest.unlink()
    newest.mkdir()
    with pytest.raises(TallyError, match="journal"):
        Recorder.open(config, background=False)
    newest.rmdir()
    newest.write_bytes(kept)
    Recorder.open(config, background=False).close()


# Halves that were not kept.


def half_for(fleet: Fleet, tally: Recorder, number: int) -> bytes:
    other = Recorder.open(fleet.device(f"other-{number}"), background=False)
    half = other.claim(
        "handover@1",
        task=f"t-{number}",
        role="giver",
        claim="released",
        peers={"receiver": tally.device},
        item="x",
        position_m=[1],
    )
    other.close()
    assert isinstance(half, bytes)
    return half


def test_an_accepted_half_says_whether_it_was_kept(fleet: Fleet) -> None:
    tally, key, files, clock = opened(fleet)
    verified = tally.accept(half_for(fleet, tally, 1))
    assert verified.kept
    files.broken = "write"
    lost = tally.accept(half_for(fleet, tally, 2))
    assert not lost.kept
    assert tally.health.dropped == 1
    handle = tally.accept(half_for(fleet, tally, 3), wait=False)
    while not handle.ready:
        tally.poll()
    assert (handle.kept, handle.fault, handle.result().kept) == (False, "store-full", False)
    assert tally.health.dropped == 2
    files.broken = ""
    clock.now += 5000
    # A late key: the half is in the journal, and is kept when the signature comes.
    key.broken = "begin"
    late = tally.accept(half_for(fleet, tally, 4))
    assert not late.kept
    assert tally.health.faults["key:late"] == 1
    key.broken = ""
    for _ in range(100):
        clock.now += 1000
        tally.poll(1)
    assert late.kept
    with pytest.raises(TallyError):
        tally.accept(b"rubbish")
    wrong = tally.accept(b"rubbish", wait=False)
    while not wrong.ready:
        tally.poll()
    with pytest.raises(TallyError):
        wrong.result()
    assert not wrong.kept
