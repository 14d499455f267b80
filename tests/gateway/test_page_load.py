"""A page over a large store: a look costs what is new, not what is there, and waits for no writer.

Counted in SQLite's own steps, so that a busy machine changes nothing.
"""

import os
import re
import sqlite3
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from support.devices import Fleet
from support.gateways import MemoryGateway
from support.watching import tagged, wall_ms
from tallystick.gateway import pagedevices, pagelimits, pagereads
from tallystick.gateway.pagewatch import rest_s

ACME = Fleet("acme")
DEVICES = 6
FEW, MANY = 500, 20_000
STEP = 100  # SQLite's steps between two counts


class Large:
    """A gateway's store with as many segments as a test wants; the first ones are real."""

    def __init__(self, folder: Path) -> None:
        self.gate = MemoryGateway(folder, ACME)
        self.devices = [tagged(ACME, f"load-{n}", f"agv-{n:04}") for n in range(DEVICES)]
        self.gate.know(*self.devices)
        for device in self.devices:
            device.record(3)
            self.gate.give(device, *device.segments())
        with self.gate.store.write_aside() as connection:
            connection.execute(
                "INSERT INTO validators VALUES ('notary', x'', 0, 0, 0, NULL, NULL, NULL)"
            )
        self.steps = 0
        self.connection = self.gate.store.reader()
        self.connection.set_progress_handler(self._count, STEP)
        self.fleet = pagedevices.Fleet(ACME.roots)
        self.counts = pagereads.Counts()
        self.conflicts = pagereads.Conflicts()

    def _count(self) -> int:
        self.steps += 1
        return 0

    def fill(self, until: int) -> None:
        """More segments, receipts and verdicts, as rows: only how many there are counts."""
        with self.gate.store.write_aside() as connection:
            tracks = [track for (track,) in connection.execute("SELECT track FROM tracks")]
            (begin,) = connection.execute("SELECT max(at) + 1 FROM segments").fetchone()
            now_ms, root, data = wall_ms(), bytes(32), b"d" * 200
            connection.executemany(
                "INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, x'', x'', 0, 0, 1, ?, ?)",
                (
                    (at, tracks[at % len(tracks)], at, at + 1, root, root, now_ms, data)
                    for at in range(begin, until)
                ),
            )
            connection.executemany(
                "INSERT INTO receipts VALUES ('notary', ?, x'')",
                ((os.urandom(32),) for _ in range(begin, until)),
            )
            connection.executemany(
                "INSERT INTO verdicts VALUES ('notary', ?, x'', 'dock', x'', 'matched', 0, ?, x'')",
                ((at, now_ms) for at in range(begin, until)),
            )

    def look(self) -> int:
        """All that a look reads; how many of SQLite's steps it took."""
        self.steps = 0
        urls = {"notary": "http://127.0.0.1:1"}
        self.fleet.read(self.connection)
        size = pagedevices.log_size(self.connection)
        found = pagereads.validators(self.connection, urls, size, self.counts, wall_ms())
        assert found[0].lag == size
        self.conflicts.read(self.connection, urls, wall_ms())
        self.counts.set_aside.get(self.connection)
        self.counts.own_quarantine.get(self.connection)
        self.counts.refused.get(self.connection)
        pagereads.holds_in_force(self.connection)
        return self.steps


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Large]:
    # What counts whole tables does so once: its share of the time is a test of its own.
    monkeypatch.setattr(pagelimits, "COUNT_SHARE", 1e-9)
    made = Large(tmp_path)
    yield made
    made.connection.close()
    made.gate.store.close()


def test_a_look_costs_what_is_new_and_not_what_is_there(large: Large) -> None:
    large.fill(FEW)
    large.look()
    few = large.look()
    large.fill(MANY)
    large.look()  # this one sees what is new
    many = large.look()
    assert many <= few + 2, (few, many)
    # A gateway that starts before a large store asks each log for its newest and reads no table,
    # but for the counts.
    large.fleet = pagedevices.Fleet(ACME.roots)
    assert large.look() <= few + 20


def test_whole_tables_are_counted_in_a_hundredth_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now_s, made = 0.0, []

    def monotonic() -> float:
        return now_s

    def count(_: sqlite3.Connection) -> int:
        nonlocal now_s
        now_s += 0.5
        made.append(now_s)
        return len(made)

    monkeypatch.setattr("tallystick.gateway.pagereads.time.monotonic", monotonic)
    paced = pagereads.Paced(count)
    with sqlite3.connect(":memory:") as connection:
        for _ in range(1_000):
            paced.get(connection)
            now_s += 1.0
    # And one at the start, without which there is nothing to show.
    assert 0.5 * (len(made) - 1) <= pagelimits.COUNT_SHARE * now_s
    assert len(made) > 10


def test_looks_take_a_tenth_of_a_core_and_come_before_a_page_doubts() -> None:
    assert rest_s(0.04, 0.03) == pagelimits.LOOK_S - 0.04
    assert rest_s(4.0, 0.5) == 5.0  # a cold disk
    assert rest_s(9.0, 9.0) == pagelimits.LOOK_REST_S_MAX
    script = (resources.files("tallystick.gateway") / "web" / "app.js").read_text()
    (stale,) = re.findall(r"^const STALE_MS = (\d+);", script, re.MULTILINE)
    assert int(stale) / 1_000 > max(pagelimits.LOOK_REST_S_MAX, pagelimits.IDLE_LOOK_S) + 5
    assert int(stale) / 1_000 > pagelimits.STREAM_ALIVE_S


def test_a_look_waits_for_no_writer_and_no_writer_for_a_look(large: Large) -> None:
    large.connection.execute("BEGIN")
    large.look()
    # In one thread: whoever waited for the other would wait for ever.
    with large.gate.store.write() as writer:
        writer.execute("DELETE FROM refusals")
        large.look()
    device = large.devices[0]
    device.record(1)
    large.gate.give(device, device.segments()[-1])
    large.connection.execute("COMMIT")
    large.look()
    assert large.fleet.records == DEVICES * 4 + 1
