"""F02: a reboot between signing and sending; the same bytes again, one leaf.

An ATECC608 draws its signatures at random, so a payload that is signed a second time shows.
"""

from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from _counter import SteppingClock
from support.chips608 import key_on, our_chip
from support.powercut import CutFiles, CutUplink, Power, PowerCutError
from support.station import TIME_MS, Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.cbor import decode
from tallystick.evidence.decision import Decision
from tallystick.evidence.keys import EDDSA
from tallystick.evidence.welcome import Welcome
from tallystick.hw import atecc608_chip
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder, replay
from tallystick.recorder.frames import SIGNATURE

SEGMENT, HELLO = 13, 15
REBOOTS = 4


@pytest.fixture(autouse=True)
def driver_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver's time passes with each look at it."""
    ticks = count()
    monkeypatch.setattr(atecc608_chip, "ticks_ms", lambda: next(ticks))
    monkeypatch.setattr(atecc608_chip, "sleep_ms", lambda ms: [next(ticks) for _ in range(ms)])


class LastUplink(CutUplink):
    """The power goes at the first segment: before it left, or after."""

    def __init__(self, files: CutFiles, *, leaves: bool) -> None:
        super().__init__(files)
        self.leaves = leaves

    def publish_pieces(self, size: int, pieces: Iterable[bytes]) -> bool:
        done = super().publish_pieces(size, pieces)
        if self.up[-1][1] == SEGMENT:
            if not self.leaves:
                self.up.pop()
            self.power.off = True
            raise PowerCutError
        return done


class Robot:
    """A device through reboots, and what its key was asked to sign."""

    def __init__(self, folder: Path, *, chip: bool) -> None:
        fleet = Fleet(folder)
        self.chip = our_chip() if chip else None
        key = key_on(self.chip) if self.chip else None
        self.config: dict[str, Any] = fleet.device("one", alg=EDDSA, signer=key, wait_s=5)
        self.station = Station(fleet, read_credential(self.config))
        self.signed: list[bytes] = []
        self.number = 0

    def key(self) -> Any:
        key: Any = key_on(self.chip) if self.chip else Signer.from_uri(self.config["key"])
        begin = key.begin

        def watched(message: bytes) -> None:
            self.signed.append(message)
            begin(message)

        key.begin = watched
        return key

    def boot(self, *, cut: bool, leaves: bool) -> None:
        files = CutFiles(self.config["journal"], Power(None, 0))
        link = LastUplink(files, leaves=leaves) if cut else CutUplink(files)
        tally = Recorder.open(
            self.config,
            uplink=link,
            signer=self.key(),
            clock=SteppingClock(),
            background=False,
            files=files,
        )
        self.number += 1
        tally.decision("m@1", {"n": self.number}, urgent=True)
        try:
            for _ in range(400):
                tally.step()
                self.deliver(link)
        except PowerCutError:
            assert cut
            self.deliver(link)
            files.lose()
            return
        assert not cut and not tally.backlog()
        tally.close()

    def deliver(self, link: CutUplink) -> None:
        for message in link.take():
            if self.station.silent and message[1] == HELLO:
                # Who says nothing of what came is sent it again.
                link.deliver(Welcome(TIME_MS, None, None).encode())
                continue
            for answer in self.station.answer(message):
                link.deliver(answer)

    def check(self) -> None:
        assert len(self.signed) == len(set(self.signed)), "a payload was signed a second time"
        statements: dict[bytes, bytes] = {}
        for head in self.station.heads:
            data = head.encode()
            _, _, payload, _ = decode(data[1:])
            assert statements.setdefault(payload, data) == data, "other bytes than the first time"
        (records,) = self.station.records.values()
        found = [record.parse(one) for one in records]
        numbers = [one.inputs["n"] for one in found if isinstance(one, Decision)]
        assert numbers == list(range(1, self.number + 1)), "not one leaf each"


def life(folder: Path, *, chip: bool, leaves: bool) -> Robot:
    """Reboots, each between the signature and what the gateway has of it; then all arrives."""
    robot = Robot(folder, chip=chip)
    robot.station.silent = True  # no receipt, so that it is sent again
    for _ in range(REBOOTS):
        robot.boot(cut=True, leaves=leaves)
    robot.station.silent = False
    robot.boot(cut=False, leaves=True)
    return robot


@pytest.mark.parametrize("leaves", [False, True])
@pytest.mark.parametrize("chip", [False, True])
def test_f02_the_same_bytes_again_and_one_leaf(tmp_path: Path, *, chip: bool, leaves: bool) -> None:
    robot = life(tmp_path, chip=chip, leaves=leaves)
    robot.check()
    assert len(robot.signed) > REBOOTS
    if leaves:
        assert robot.station.repeated


@pytest.mark.parametrize("leaves", [False, True])
def test_f02_the_guard_bites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, leaves: bool
) -> None:
    """A recorder that forgets at boot what was signed signs it again."""
    honest = replay.replay_control

    def forgetful(log: Any, values: list[Any]) -> None:
        if values[0] != SIGNATURE:
            honest(log, values)

    monkeypatch.setattr(replay, "replay_control", forgetful)
    robot = life(tmp_path, chip=True, leaves=leaves)
    with pytest.raises(AssertionError, match="a second time"):
        robot.check()
