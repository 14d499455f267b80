"""The journal on flash: what was synced is there again, whatever stands behind it."""

from _folder import within
from tallystick.recorder import filing
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import Full, Journal
from tallystick.recorder.ledger import NoLock
from tallystick.recorder.replay import open_journal

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"


def record(number: int, size: int = 40) -> bytes:
    return b"\x84\x02" + bytes([number & 255]) * (size - 2)


def new(path: str, bytes_max: int = 1 << 20, file_bytes: int = 1 << 16) -> "tuple[Journal, Log]":
    journal = Journal(Files(path), bytes_max, file_bytes)
    assert open_journal(journal, DEVICE) is None
    log = Log(DEVICE, EPOCH)
    filing.begin_file(journal, log)
    journal.sync(NoLock())
    return journal, log


def again(path: str) -> "tuple[Journal, Log]":
    journal = Journal(Files(path), 1 << 20, 1 << 16)
    log = open_journal(journal, DEVICE)
    assert log is not None
    return journal, log


def write(journal: Journal, log: Log, count: int) -> None:
    for number in range(count):
        journal.append(log.frame(record(number), lambda size: b"s" * size))
        log.added(record(number))


def seal(journal: Journal, log: Log) -> int:
    journal.append(log.seal(5, None), reserved=True)
    return log.sealed()


def sign(journal: Journal, log: Log, ordinal: int) -> None:
    journal.append(log.signature(ordinal, bytes([ordinal]) * 64), reserved=True)
    log.signed_one(ordinal)


def same(one: Log, other: Log) -> None:
    assert one.tree.edge == other.tree.edge
    assert (one.epoch, one.tree.size, one.claims) == (other.epoch, other.tree.size, other.claims)
    assert (one.ordinal, one.signed, one.pending) == (other.ordinal, other.signed, other.pending)
    assert (one.seed, one.sealed_root) == (other.seed, other.sealed_root)


def test_what_was_written_is_read_again() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        write(journal, log, 5)
        sign(journal, log, seal(journal, log))
        write(journal, log, 3)
        seal(journal, log)
        write(journal, log, 2)
        filing.close(journal, NoLock())
        reopened, found = again(path)
        same(log, found)
        # And it goes on.
        write(reopened, found, 2)
        sign(reopened, found, found.pending[0][0])
        filing.close(reopened, NoLock())
        same(found, again(path)[1])

    within(run)


def test_a_torn_tail_is_cut() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        write(journal, log, 4)
        sign(journal, log, seal(journal, log))
        write(journal, log, 2)
        filing.close(journal, NoLock())
        name = path + "/" + journal.list[-1].name
        with open(name, "rb") as file:
            whole = file.read()
        for torn in (b"\x00", b"\x01\x02\x03\x04\x58\xf0abc", bytes(600), b"\xff" * 40):
            with open(name, "wb") as file:
                file.write(whole + torn)
            found_journal, found = again(path)
            assert found_journal.torn_bytes == len(torn)
            assert found_journal.damage == ""
            same(log, found)
            with open(name, "rb") as file:
                assert file.read() == whole

    within(run)


def test_any_cut_leaves_a_journal_that_opens() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        write(journal, log, 3)
        seal(journal, log)
        write(journal, log, 1)
        filing.close(journal, NoLock())
        name = path + "/" + journal.list[-1].name
        with open(name, "rb") as file:
            whole = file.read()
        header = len(filing.header(Log(DEVICE, EPOCH)))
        for size in range(header, len(whole), 7):
            with open(name, "wb") as file:
                file.write(whole[:size])
            found = again(path)[1]
            assert found.epoch == EPOCH
            assert found.tree.size <= 4

    within(run)


def test_a_flipped_bit_before_a_signature_ends_the_epoch() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        write(journal, log, 4)
        sign(journal, log, seal(journal, log))
        filing.close(journal, NoLock())
        name = path + "/" + journal.list[-1].name
        with open(name, "rb") as file:
            whole = bytearray(file.read())
        whole[220] ^= 4
        with open(name, "wb") as file:
            file.write(whole)
        found = Journal(Files(path), 1 << 20, 1 << 16)
        open_journal(found, DEVICE)
        assert found.damage

    within(run)


def test_a_full_journal_keeps_its_reserve() -> None:
    def run(path: str) -> None:
        journal, log = new(path, bytes_max=4096)
        try:
            write(journal, log, 200)
        except Full:
            pass
        assert log.tree.size < 200
        before = log.tree.size
        sign(journal, log, seal(journal, log))
        assert journal.used <= 4096
        filing.close(journal, NoLock())
        assert again(path)[1].tree.size == before

    within(run)
