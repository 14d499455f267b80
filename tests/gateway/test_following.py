"""What a program beside a gateway sees of what it takes: once, in order, each at its index."""

from pathlib import Path

import pytest

from support.examples import elided_segment, giver_log, segment_of
from tallystick.evidence.errors import CouldNotCheck
from tallystick.gateway.apply import add_refusals
from tallystick.gateway.following import Following, Refusal
from tallystick.gateway.store import Store


def keep(store: Store, at: int, data: bytes) -> None:
    with store.write() as connection:
        columns = (at, 0, 0, 1, b"", b"", b"", b"", 0, 0, 1, 0, data)
        connection.execute(f"INSERT INTO segments VALUES ({', '.join('?' * 13)})", columns)


def keep_verdict(store: Store, validator: str, entry: int, data: bytes) -> None:
    with store.write() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO validators (name, key, cursor, verdicts_after, batches)"
            " VALUES (?, x'', 0, 0, 0)",
            (validator,),
        )
        connection.execute(
            "INSERT INTO verdicts VALUES (?, ?, x'', 'site', x'', 'matched', 0, 0, ?)",
            (validator, entry, data),
        )


def test_what_comes_is_told_once(tmp_path: Path) -> None:
    store = Store(tmp_path / "gateway.sqlite")
    keep(store, 0, segment_of(giver_log()).encode())
    keep_verdict(store, "insurer", 4, b"old")
    with store.write_aside() as connection:
        add_refusals(connection, [("replayed", b"d", 3, 1, "before")])
    following = Following(store.path)
    assert not (following.records() or following.verdicts() or following.refusals())

    elided = elided_segment(giver_log())
    keep(store, 1, elided.encode())
    keep(store, 2, segment_of(giver_log()).encode())
    taken = following.records()
    at = elided.first
    wanted = []
    for stretch in elided.stretches:
        for item in stretch.items:
            if isinstance(item, bytes):
                wanted.append((at, item))
            at += 1 if isinstance(item, bytes) else 1 << item[0]
    assert wanted and len(wanted) < elided.to - elided.first, "records and what was left out"
    assert [(one.index, one.record) for one in taken[: len(wanted)]] == wanted
    assert [one.index for one in taken[len(wanted) :]] == list(range(len(giver_log().records)))
    assert all(one.record == giver_log().records[one.index] for one in taken)

    # Validators number their verdicts each for itself.
    keep_verdict(store, "city", 1, b"theirs")
    keep_verdict(store, "insurer", 9, b"new")
    assert following.verdicts() == [("city", b"theirs"), ("insurer", b"new")]
    with store.write_aside() as connection:
        add_refusals(connection, [("replayed", b"d", 2, 2, "again"), ("bad-root", b"d", 1, 2, "x")])
    assert sorted(following.refusals(), key=lambda one: one.reason) == [
        Refusal("bad-root", b"d", "x", 1),
        Refusal("replayed", b"d", "again", 2),
    ]
    assert not (following.records() or following.verdicts() or following.refusals())
    following.close()
    store.close()


def test_there_must_be_a_store(tmp_path: Path) -> None:
    with pytest.raises(CouldNotCheck):
        Following(tmp_path / "none.sqlite")
