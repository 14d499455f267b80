"""What a copied journal gives: after compacting, over several epochs, without signatures."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from support import devices
from support.emulated_robot import enrolled
from tallystick.evidence import cbor, segment
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.recorder import Recorder
from tallystick.recorder.config import check
from tallystick.tools.device import pulled


class Robot:
    """A recorder without a network, and its credential."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = enrolled(folder)
        (folder / "key").touch(0o600)
        (folder / "key").write_bytes(files["/key"])
        (folder / "credential.cbor").write_bytes(files["/credential.cbor"])
        self.credential: list[bytes] = cbor.decode(files["/credential.cbor"])
        self.who: Identity = verify_credential(
            Credential(self.credential), devices.Fleet("acme").roots
        )

    def open(self, **settings: Any) -> Recorder:
        config = {
            "fleet": "acme",
            "key": f"file:{self.folder / 'key'}",
            "journal": str(self.folder / "journal"),
            "credential": str(self.folder / "credential.cbor"),
            "checkpoint_records": 8,
            "checkpoint_s": 600,
            "interval_s": 600,
            **settings,
        }
        check(config, "test", "")
        return Recorder.open(config, background=False)

    def read(self) -> pulled.Pulled:
        before = {path.name: path.read_bytes() for path in (self.folder / "journal").iterdir()}
        found = pulled.read(self.folder / "journal", self.who, self.credential)
        after = {path.name: path.read_bytes() for path in (self.folder / "journal").iterdir()}
        assert before == after
        return found


@pytest.fixture
def robot(tmp_path: Path) -> Robot:
    return Robot(tmp_path)


def decide(tally: Recorder, count: int) -> None:
    for n in range(count):
        tally.decision("m@1", {"n": n, "text": "x" * 60}, {}, "go")
        while tally.step():
            pass


def spans(found: pulled.Pulled) -> list[tuple[int, int]]:
    rows = [segment.parse(data) for data in found.segments.values()]
    return [(row.first, row.to) for row in rows]


def test_what_was_given_up_is_hashes_and_all_verifies(robot: Robot) -> None:
    tally = robot.open(journal_bytes=16_384)
    decide(tally, 120)
    tally.flush()
    tally.close()
    found = robot.read()
    assert not found.broken and found.unsigned == 0 and found.elided > 30
    assert sum(found.records.values()) + found.elided == spans(found)[-1][1] > 100
    rows = spans(found)
    assert [first for first, _ in rows[1:]] == [to for _, to in rows[:-1]]


def test_records_without_a_signature_are_counted(robot: Robot) -> None:
    tally = robot.open()
    decide(tally, 20)
    tally.poll()
    copied = robot.folder / "copy"
    shutil.copytree(robot.folder / "journal", copied)
    tally.close()
    found = pulled.read(copied, robot.who, robot.credential)
    assert not found.broken and 0 < found.unsigned < 8
    assert sum(found.records.values()) == spans(found)[-1][1]


def test_each_epoch_is_read(robot: Robot) -> None:
    tally = robot.open(journal_bytes=200_000)
    decide(tally, 40)
    tally.close()
    # Damage in front of a signature ends the epoch at the next start.
    (newest,) = (robot.folder / "journal").glob("*.tally")
    data = bytearray(newest.read_bytes())
    data[-400] ^= 1
    newest.write_bytes(data)
    tally = robot.open(journal_bytes=200_000)
    decide(tally, 20)
    tally.close()
    found = robot.read()
    assert len(found.epochs) == 2 and list(found.broken) == [found.epochs[0]]
    by_epoch = [name.partition("-")[0] for name in found.segments]
    assert set(by_epoch) == set(found.epochs) and by_epoch == sorted(
        by_epoch, key=found.epochs.index
    )


def test_a_folder_without_a_journal_has_nothing(robot: Robot, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert pulled.read(empty, robot.who, robot.credential).segments == {}
