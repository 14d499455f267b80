"""Leaves without their records, and runs of them: replayed, and sent as a segment's items."""

from _folder import within
from tallystick.evidence import leaf
from tallystick.evidence import segmentwriter as writer
from tallystick.evidence.steps import finish
from tallystick.evidence.tree import root_of
from tallystick.recorder import filing, frames, stretches
from tallystick.recorder.core import Log
from tallystick.recorder.files import Files
from tallystick.recorder.journal import Full, Journal
from tallystick.recorder.ledger import NoLock
from tallystick.recorder.replay import open_journal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEVICE = bytes(range(32))
EPOCH = b"epoch-01"
SEED = b"s" * 32
CLAIMS = (3, 9)


def record(number: int) -> bytes:
    return bytes([0x84, 1 if number in CLAIMS else 0]) + bytes([number]) * 30


def leaf_of(number: int) -> bytes:
    return leaf.leaf(leaf.salt(SEED, number), record(number))


def new(path: str) -> "tuple[Journal, Log]":
    journal = Journal(Files(path), 1 << 20, 1 << 16)
    open_journal(journal, DEVICE)
    log = Log(DEVICE, EPOCH)
    filing.begin_file(journal, log)
    return journal, log


def add(journal: Journal, log: Log, number: int, whole: bool) -> None:
    frame = log.frame(record(number), lambda size: SEED[:size])
    if not whole:
        # Whatever stands before it, as the seed of the stretch, stays.
        before = frame[: len(frame) - 4 - 2 - len(record(number))]
        frame = before + frames.leaf_frame(record(number)[1], log.leaf)
    journal.append(frame)
    log.added(record(number))


def seal(journal: Journal, log: Log) -> None:
    journal.append(log.seal(5, None), reserved=True)
    ordinal = log.sealed()
    journal.append(log.signature(ordinal, bytes([ordinal]) * 64), reserved=True)
    log.signed_one(ordinal)


def sent(journal: Journal, log: Log, stretch: stretches.Stretch) -> bytes:
    out = stretches.Outgoing(journal, stretch, DEVICE, EPOCH, None, b"checkpoint")
    data = b"".join(out.pieces())
    assert out.size == len(data)
    return data


def test_leaves_without_records_are_replayed_and_sent() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        # The first leaf of a stretch has no body either, and the next one needs the seed.
        for number in range(10):
            add(journal, log, number, whole=number % 3 == 1)
        seal(journal, log)
        filing.close(journal, NoLock())
        again = Journal(Files(path), 1 << 20, 1 << 16)
        found = open_journal(again, DEVICE)
        assert found is not None and not again.damage and not again.torn_bytes
        assert found.tree.root() == log.tree.root() == root_of([leaf_of(n) for n in range(10)])
        assert found.claims == log.claims == 2
        stretch = finish(stretches.read_stretch(again, (1, 0), 0))
        assert stretch is not None
        assert (stretch.count, stretch.items, stretch.records, stretch.to) == (10, 10, 3, 10)
        parts = [writer.open_bytes(DEVICE, EPOCH, 0, None, 1), writer.stretch_head(10)]
        for number in range(10):
            if number % 3 == 1:
                parts += [writer.item_head(len(record(number))), record(number)]
            else:
                parts.append(writer.elided_item(0, leaf_of(number)))
        parts.append(writer.stretch_tail(SEED, b"checkpoint"))
        assert sent(again, found, stretch) == b"".join(parts)

    within(run)


def test_a_run_is_one_frame_and_one_item() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        node = root_of([leaf_of(n) for n in range(8)])
        journal.append(frames.control([10, 3, node, 1]))
        log.tree.push_subtree(3, node)
        for number in (8, 9):
            journal.append(frames.leaf_frame(record(number)[1], leaf_of(number)))
            log.tree.push(leaf_of(number))
        log.claims = 2
        seal(journal, log)
        filing.close(journal, NoLock())
        again = Journal(Files(path), 1 << 20, 1 << 16)
        found = open_journal(again, DEVICE)
        assert found is not None and not again.damage
        assert (found.tree.edge, found.claims) == (log.tree.edge, 2)
        stretch = finish(stretches.read_stretch(again, (1, 0), 0))
        assert stretch is not None
        assert (stretch.count, stretch.items, stretch.records) == (10, 3, 0)
        parts = [writer.open_bytes(DEVICE, EPOCH, 0, None, 1), writer.stretch_head(3)]
        parts.append(writer.elided_item(3, node))
        parts += [writer.elided_item(0, leaf_of(number)) for number in (8, 9)]
        # Nothing is disclosed, so nothing needs a seed.
        parts.append(writer.stretch_tail(None, b"checkpoint"))
        assert sent(again, found, stretch) == b"".join(parts)

    within(run)


def test_a_wrong_hash_or_count_is_damage() -> None:
    def run(path: str) -> None:
        journal, log = new(path)
        add(journal, log, 0, whole=False)
        node = root_of([leaf_of(1)])
        # Said to be a claim, which its checkpoint does not count.
        journal.append(frames.leaf_frame(1, node))
        log.tree.push(node)
        seal(journal, log)
        filing.close(journal, NoLock())
        again = Journal(Files(path), 1 << 20, 1 << 16)
        open_journal(again, DEVICE)
        assert again.damage == "bad-root"

    within(run)


def values(frame: bytes) -> "list[Any]":
    from tallystick.evidence.cbor import decode, read_head

    found: "list[Any]" = decode(frame[read_head(frame, 4)[2] :])
    return found


def test_a_file_goes_on_with_what_is_told_and_untold() -> None:
    def run(path: str) -> None:
        from tallystick.recorder.giving import hollow_in, mark_given, mark_told
        from tallystick.recorder.replay import from_header, replay_control

        _, log = new(path)
        frame = mark_given(log, 3, 1, 5, 9, 2, 0, 1, 0)
        mark_given(log, 4, 1, 9, 12, 1, 0, 0, 0)
        again = from_header(values(filing.header(log)))
        for one in (log, again):
            assert (one.told, one.hollow) == ([4, 1], [5, 12])
            assert one.untold == [5, 12, 3, 0, 1, 0]
            assert hollow_in(one, 6) and not hollow_in(one, 5)
            mark_told(one, {"reason": "flash", "dropped": 4})
            mark_told(one, {"reason": "full", "dropped": 0, "decisions": 2, "events": 1})
            assert one.untold == [5, 12, 1, 0, 0, 0]
            mark_told(one, {"reason": "full", "dropped": 0, "decisions": 1})
            assert one.untold == []
            one.custody = (12, b"", b"", 0)
            assert not hollow_in(one, 20)
        replayed = Log(DEVICE, EPOCH)
        replay_control(replayed, values(frame))
        assert (replayed.told, replayed.untold) == ([3, 1], [5, 9, 2, 0, 1, 0])

    within(run)


def test_a_file_that_is_being_compacted_is_not_freed() -> None:
    def run(path: str) -> None:
        from tallystick.recorder.freeing import release

        journal, log = new(path)
        for _ in range(3):
            add(journal, log, log.tree.size, whole=True)
            seal(journal, log)
            journal.sync(NoLock())
            filing.begin_file(journal, log)
        journal.sync(NoLock())
        journal.compacting = 2
        assert release(journal, EPOCH, log.tree.size, 100) == 1
        journal.compacting = 0
        assert release(journal, EPOCH, log.tree.size, 100) == 2
        assert len(Files(path).names()) == 1

    within(run)


def test_when_it_is_time_to_give_up() -> None:
    def run(path: str) -> None:
        journal = Journal(Files(path), 16384, 2048)
        open_journal(journal, DEVICE)
        log = Log(DEVICE, EPOCH)
        filing.begin_file(journal, log)
        journal.sync(NoLock())
        used = journal.limit - journal.file_room
        assert journal.limit == 16384 - 4096 and journal.file_room == 2048
        journal.used = used
        assert not journal.tight()
        journal.used = used + 1
        assert journal.tight()
        # What is compacted may only be what others stand behind, durably.
        journal.unnamed = True
        assert not journal.tight()
        journal.unnamed = False
        journal.left = journal.files.appending("left")
        assert not journal.tight()
        journal.left.close()
        journal.left = None
        journal.stuck = journal.list[-1].number
        assert not journal.tight()
        journal.stuck = 0
        journal.refuses = True
        assert not journal.tight()
        # While one is compacted, what seals leaves room for it.
        journal.used = 16384 - 1000
        journal.aside = 980
        frame = log.seal(1, None)
        try:
            journal.append(frame, reserved=True)
        except Full:
            pass
        else:
            raise AssertionError
        journal.aside = 0
        journal.append(frame, reserved=True)
        filing.close(journal, NoLock())

    within(run)
