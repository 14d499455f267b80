"""Opening reads one file of the journal, however many there are, and tells what it found."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from support.station import Fleet
from tallystick.evidence.tree import root_of
from tallystick.recorder import Recorder, filing
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.frames import leaf_frame
from tallystick.recorder.journal import Journal
from tallystick.recorder.ledger import NoLock
from tallystick.recorder.replay import open_journal

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"
FILE_BYTES = 4096
JOURNAL_BYTES = 64 << 20
# Of a file: what begins it, and the stretch, seal and signature that go beyond its bound.
FILE_MORE = 2048


class Counted(io.FileIO):
    """A file whose bytes are counted as they are read."""

    owner: "CountingFiles"

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.owner.bytes_read += len(data)
        return data


class CountingFiles(Files):
    """How many bytes of which files are read, and how many are written."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self.bytes_read = 0
        self.bytes_written = 0
        self.opened: list[str] = []

    def reading(self, name: str) -> BinaryIO:
        self.opened.append(name)
        handle = Counted(self.path(name), "rb")
        handle.owner = self
        return handle

    def write(self, handle: BinaryIO, data: bytes) -> None:
        self.bytes_written += len(data)
        super().write(handle, data)


def grown(folder: Path, files: int) -> tuple[Journal, Log]:
    """A journal of so many files."""
    journal = Journal(Files(str(folder)), JOURNAL_BYTES, FILE_BYTES)
    assert open_journal(journal, DEVICE) is None
    log = Log(DEVICE, EPOCH)
    filing.begin_file(journal, log)
    while len(journal.list) < files:
        for _ in range(4):
            record = b"\x84\x00" + os.urandom(120)
            journal.append(log.frame(record, os.urandom))
            log.added(record)
        journal.append(log.seal(1, None), reserved=True)
        ordinal = log.sealed()
        if journal.wants_file():
            filing.begin_file(journal, log)
        journal.append(log.signature(ordinal, bytes(64)), reserved=True)
        log.signed_one(ordinal)
        journal.sync(NoLock())
    return journal, log


def opened(folder: Path) -> tuple[CountingFiles, Journal, Log]:
    files = CountingFiles(str(folder))
    journal = Journal(files, JOURNAL_BYTES, FILE_BYTES)
    log = open_journal(journal, DEVICE)
    assert log is not None
    return files, journal, log


def test_one_file_is_read_of_few_and_of_many(tmp_path: Path) -> None:
    for count in (2, 20, 300):
        folder = tmp_path / str(count)
        journal, log = grown(folder, count)
        for _ in range(40):
            record = b"\x84\x00" + os.urandom(80)
            journal.append(log.frame(record, os.urandom))
            log.added(record)
        newest = journal.list[-1]
        filing.close(journal, NoLock())
        files, again, found = opened(folder)
        assert files.opened == [newest.name]
        # Heads are read nine bytes at a time, before their contents.
        assert newest.size <= files.bytes_read <= newest.size + 9 * 60
        assert files.bytes_read <= FILE_BYTES + FILE_MORE + 9 * 60
        assert files.bytes_written == 0
        assert found.tree.root() == log.tree.root()
        assert [(f.name, f.epoch, f.first, f.size) for f in again.list] == [
            (f.name, f.epoch, f.first, f.size) for f in journal.list
        ]
        assert again.used == journal.used and again.unreadable == 0


def test_a_torn_tail_costs_its_file_once_more(tmp_path: Path) -> None:
    journal, log = grown(tmp_path, 30)
    record = b"\x84\x00" + os.urandom(80)
    journal.append(log.frame(record, os.urandom))
    log.added(record)
    newest = journal.list[-1]
    filing.close(journal, NoLock())
    with (tmp_path / newest.name).open("ab") as file:
        file.write(b"\x01\x02\x03\x04\x59\x40\x00" + bytes(700))
    files, again, found = opened(tmp_path)
    assert again.torn_bytes == 707 and found.tree.size == log.tree.size
    assert set(files.opened) == {newest.name}
    assert files.bytes_read <= 2 * (FILE_BYTES + FILE_MORE + 9 * 60) + 2 * 707
    assert files.bytes_written == newest.size


def test_names_as_they_were_are_taken(tmp_path: Path) -> None:
    journal, log = grown(tmp_path, 5)
    filing.close(journal, NoLock())
    names = [file.name for file in journal.list]
    for file in journal.list:
        (tmp_path / file.name).rename(tmp_path / f"{file.number:08d}.tally")
    _, again, found = opened(tmp_path)
    assert [file.name for file in again.list] == names
    assert found.tree.root() == log.tree.root()
    assert sorted(path.name for path in tmp_path.glob("*.tally")) == names


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    journal, log = grown(tmp_path, 4)
    filing.close(journal, NoLock())
    second = journal.list[1]
    for name in ("new.tally", "cut.tally", "less.tally"):
        (tmp_path / name).write_bytes(b"begun")
    # The power went between the compacted file's name and the removal of the old one.
    whole = (tmp_path / second.name).read_bytes()
    (tmp_path / f"{second.number:08d}-{second.first}-1.tally").write_bytes(whole[:-10])
    _, again, found = opened(tmp_path)
    names = sorted(path.name for path in tmp_path.glob("*.tally"))
    assert names == [file.name for file in again.list]
    assert again.list[1].level == 1
    assert again.used == sum((tmp_path / name).stat().st_size for name in names)
    assert found.tree.root() == log.tree.root()


def test_strangers_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    journal, _ = grown(tmp_path, 3)
    filing.close(journal, NoLock())
    strange = ["about", "00000002-a-0.tally", "1-2.tally", "notes.txt", ".tally"]
    for name in strange:
        (tmp_path / name).write_bytes(b"?")
    _, again, _ = opened(tmp_path)
    assert len(again.list) == 3
    assert all((tmp_path / name).exists() for name in strange)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    config = fleet.device("one", journal_bytes=16384, checkpoint_records=4)
    tally = Recorder.open(config, background=False)
    for number in range(50):
        tally.decision("m@1", {"n": number, "blob": bytes(60)})
        tally.poll(5)
    tally.flush()
    tally.close()
    files = sorted(Path(config["journal"]).glob("*.tally"))
    assert len(files) > 3
    files[1].unlink()
    files[0].write_bytes(b"short")
    tally = Recorder.open(config, background=False)
    assert tally.health.faults == {"journal:unreadable": 1}
    assert tally._ledger.journal.unreadable == 2
    tally.close()


def test_headers_that_hold_what_waits_for_a_key_do_not_fill_a_journal(tmp_path: Path) -> None:
    journal = Journal(Files(str(tmp_path)), JOURNAL_BYTES, 1024)
    open_journal(journal, DEVICE)
    log = Log(DEVICE, EPOCH)
    filing.begin_file(journal, log)
    for _ in range(60):
        record = b"\x84\x00" + os.urandom(300)
        journal.append(log.frame(record, os.urandom))
        log.added(record)
        journal.append(log.seal(1, None), reserved=True)
        log.sealed()
        journal.sync(NoLock())
        if journal.wants_file():
            filing.begin_file(journal, log)
    # Sixty payloads are far longer than a file: beside them there is at least as much else.
    assert journal.begun > 3 * 1024
    assert len(journal.list) < 20


def test_leaves_alone_make_the_same_tree(tmp_path: Path) -> None:
    journal, log = grown(tmp_path, 2)
    leaves = []
    for number in range(9):
        leaf = bytes([number]) * 32
        leaves.append(leaf)
        journal.append(leaf_frame(2, leaf))
    edge = log.tree.copy()
    edge.extend(leaves)
    filing.close(journal, NoLock())
    _, _, found = opened(tmp_path)
    assert found.tree.root() == edge.root() != root_of(leaves)


@pytest.mark.parametrize("share", [1, 4])
def test_the_recorder_reads_no_more(tmp_path: Path, share: int) -> None:
    fleet = Fleet(tmp_path)
    settings: dict[str, Any] = {"journal_bytes": 65536 * share, "checkpoint_records": 8}
    config = fleet.device("one", **settings)
    tally = Recorder.open(config, background=False)
    for number in range(250 * share):
        tally.decision("m@1", {"n": number, "blob": bytes(100)})
        tally.poll(5)
    tally.close()
    files = CountingFiles(config["journal"])
    tally = Recorder.open(config, background=False, files=files)
    names = [name for name in files.opened if name.endswith(".tally")]
    assert len(set(names)) == 1 and len(tally._ledger.journal.list) > 4
    newest = max(file.size for file in tally._ledger.journal.list[-2:])
    assert files.bytes_read < newest + 9 * 300 + 1024
    tally.close()
