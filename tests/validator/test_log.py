"""The log by itself: proofs at every size, receipts at published sizes, a start after a kill."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.devices import key
from tallystick.evidence import note, receipt
from tallystick.evidence.entry import Closing, TimeEntry, parse_entry
from tallystick.evidence.keys import ES256
from tallystick.evidence.tree import leaf_hash, root_of
from tallystick.validator.log import Log, LogKeys
from tallystick.validator.receipts import build_receipts, consistency, node_reader
from tallystick.validator.store import Store

SIGNER, NOTES = key("log", ES256), key("notes")
KEYS = LogKeys("acme", "acme.example/log", SIGNER.public_key().thumbprint(), SIGNER, NOTES)


def closing(n: int) -> Closing:
    return Closing("site", bytes(16), bytes(32), n, 5)


class Writing:
    """A log on a store, with a clock that the test moves."""

    def __init__(self, path: Path) -> None:
        self.now_ms = 1_000_000
        self.store = Store(path)
        self.log = Log(self.store, KEYS, lambda: self.now_ms)

    def append(self, count: int) -> None:
        with self.store.write() as connection:
            group = self.log.group(connection)
            for n in range(count):
                group.add(closing(n))
            group.end()
            group.flush()
        self.log.integrated(group)

    def entries(self) -> list[bytes]:
        with self.store.read() as connection:
            rows = connection.exec_driver_sql("SELECT data FROM entries ORDER BY entry")
            return [row[0] for row in rows]


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    made = Writing(tmp_path / "log.sqlite")
    yield made
    made.store.close()


def test_every_entry_of_every_size_is_proven(writing: Writing) -> None:
    for count in (1, 2, 3, 5, 8, 13):
        writing.append(count)
        writing.log.publish()
    entries = writing.entries()
    with writing.store.read() as connection:
        read = node_reader(connection)
        for index, made in build_receipts(connection, range(len(entries)), read).items():
            verified = receipt.parse(made).verify(entries[index], SIGNER.public_key())
            assert verified.index == index
            assert verified.root == root_of([leaf_hash(e) for e in entries[: verified.size]])
        sizes = [row[0] for row in connection.exec_driver_sql("SELECT size FROM heads")]
        roots = {n: root_of([leaf_hash(e) for e in entries[:n]]) for n in sizes}
        for small in sizes:
            for large in sizes:
                if small < large:
                    data = consistency(connection, small, large, read)
                    assert data is not None
                    receipt.parse_consistency(data).verify(
                        roots[small], roots[large], SIGNER.public_key()
                    )


def test_no_receipt_before_its_checkpoint_is_durable(writing: Writing) -> None:
    size = writing.log.tree.size
    writing.append(2)
    with writing.store.read() as connection:
        assert writing.log.receipts(connection, [size]) == {}
    writing.log.publish()
    with writing.store.read() as connection:
        first = writing.log.receipts(connection, [size])
    writing.append(2)
    writing.log.publish()
    with writing.store.read() as connection:
        assert writing.log.receipts(connection, [size]) == first


def test_what_was_integrated_is_published_at_the_start(tmp_path: Path) -> None:
    one = Writing(tmp_path / "log.sqlite")
    one.append(5)
    size = one.log.tree.size
    one.store.close()
    two = Writing(tmp_path / "log.sqlite")
    try:
        assert two.log.head is not None
        assert two.log.head.size == size
        shown = note.parse(two.log.head.note)
        shown.verify(note.NoteKey(KEYS.origin, NOTES.public_key()))
        assert shown.root == root_of([leaf_hash(e) for e in two.entries()])
    finally:
        two.store.close()


def test_log_times_never_fall_and_stand_on_both_sides(writing: Writing) -> None:
    writing.now_ms += 500
    writing.append(2)
    writing.now_ms -= 400
    writing.append(1)
    times = [e.time_ms for e in map(parse_entry, writing.entries()) if isinstance(e, TimeEntry)]
    assert times == [1_000_500] * 4


def _append_and_fail(writing: Writing) -> None:
    with writing.store.write() as connection:
        group = writing.log.group(connection)
        group.add(closing(1))
        group.flush()
        raise ZeroDivisionError


def test_a_transaction_that_fails_leaves_no_trace(writing: Writing) -> None:
    size, root = writing.log.tree.size, writing.log.tree.root()
    with pytest.raises(ZeroDivisionError):
        _append_and_fail(writing)
    writing.log.reload()
    assert (writing.log.tree.size, writing.log.tree.root()) == (size, root)
    writing.append(1)
    assert writing.log.tree.root() == root_of([leaf_hash(e) for e in writing.entries()])
