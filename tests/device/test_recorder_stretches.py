"""What is read back from the journal is a segment, byte by byte; files are freed as a whole."""

from _folder import within
from tallystick.evidence import segmentwriter as writer
from tallystick.evidence.steps import finish
from tallystick.recorder import filing, freeing, stretches
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import Journal
from tallystick.recorder.ledger import NoLock
from tallystick.recorder.replay import open_journal

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"
SEED = b"s" * 32


def record(number: int) -> bytes:
    # Some longer than the block in which they are copied.
    return b"\x84\x02" + bytes([number & 255]) * (600 if number % 3 == 0 else 30)


def filled(path: str) -> "tuple[Journal, Log]":
    journal = Journal(Files(path), 1 << 20, 1500)
    open_journal(journal, DEVICE)
    log = Log(DEVICE, EPOCH)
    filing.begin_file(journal, log)
    for _ in range(5):
        for number in range(log.tree.size, log.tree.size + 4):
            journal.append(log.frame(record(number), lambda size: SEED[:size]))
            log.added(record(number))
        journal.append(log.seal(1, None), reserved=True)
        ordinal = log.sealed()
        if journal.wants_file():
            filing.begin_file(journal, log)
        journal.append(log.signature(ordinal, bytes([ordinal]) * 64), reserved=True)
        log.signed_one(ordinal)
        journal.sync(NoLock())
    return journal, log


def test_stretches_come_in_order_and_as_segments() -> None:
    def run(path: str) -> None:
        journal, log = filled(path)
        assert len(journal.list) > 2
        position = (journal.list[0].number, 0)
        size = 0
        for ordinal in range(1, 6):
            found = finish(stretches.read_stretch(journal, position, size))
            assert found is not None
            assert (found.first, found.to, found.ordinal) == (size, size + 4, ordinal)
            signature = finish(stretches.read_signature(journal, found.number, found.end, ordinal))
            assert signature == bytes([ordinal]) * 64
            out = stretches.Outgoing(journal, found, DEVICE, EPOCH, None, b"checkpoint")
            sent = b"".join(out.pieces())
            parts = [writer.open_bytes(DEVICE, EPOCH, size, None, 1), writer.stretch_head(4)]
            for number in range(size, size + 4):
                parts += [writer.item_head(len(record(number))), record(number)]
            parts.append(writer.stretch_tail(SEED, b"checkpoint"))
            assert sent == b"".join(parts)
            assert out.size == len(sent)
            position = (found.number, found.end)
            size = found.to
        assert finish(stretches.read_stretch(journal, position, size)) is None
        assert size == log.tree.size

    within(run)


def test_roots_are_found_again() -> None:
    def run(path: str) -> None:
        journal, log = filled(path)
        for size in (4, 8, 20):
            found = [root for root in stretches.root_at(journal, EPOCH, size) if root is not None]
            assert len(found) == 1 and len(found[0]) == 32
        assert found == [log.sealed_root]
        for size in (3, 24):
            assert list(stretches.root_at(journal, EPOCH, size))[-1] == b""
        assert list(stretches.root_at(journal, b"epoch-02", 4))[-1] == b""

    within(run)


def test_files_are_freed_below_custody_and_keep_their_edge() -> None:
    def run(path: str) -> None:
        journal, _log = filled(path)
        before = len(Files(path).names())
        last = journal.list[-1].number
        assert freeing.release(journal, EPOCH, 3, last) == 0
        assert freeing.release(journal, EPOCH, 12, 0) == 0
        freed = freeing.release(journal, EPOCH, 12, last)
        assert freed and len(Files(path).names()) == before - freed
        oldest = journal.list[0]
        first = oldest.first
        assert 0 < freeing.first_index(journal, EPOCH) == first <= 12 < journal.list[1].first
        ordinal, payload, signature, edge = finish(stretches.read_edge(journal, oldest.number))
        assert signature == bytes([ordinal]) * 64
        from tallystick.evidence.cbor import decode
        from tallystick.evidence.tree import fold

        fields = decode(payload)
        assert fields[2] == first and fold(edge) == fields[3]
        assert freeing.index_of(journal, EPOCH, 0) == 0
        assert freeing.index_of(journal, EPOCH, 16) == len(journal.list) - 1

    within(run)
