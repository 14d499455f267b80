"""The chaos run of `make test`, and that its checker finds what it is there to find.

200 devices, a real Mosquitto, two gateways, three validators, each a process; `make chaos` does
the same for as long as one likes. What is done when is the seed's.
"""

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.checker import (
    Report,
    State,
    _numbers,
    count_lost,
    count_twice,
    judge_gateway,
    judge_notary,
    read,
)
from chaos.parts import Wrong
from chaos.plan import KINDS, SUITE_S
from chaos.reading import read_gateway, read_journal, read_notary
from chaos.run import Done, Run
from chaos.spoiling import (
    Change,
    a_stretch,
    changed,
    copy_a_segment,
    exchange_a_receipt,
    flip,
    hide_a_gap,
    put_twice,
    put_twice_at_the_end,
    rewritten,
    shrink,
    swap_entries,
    swap_records,
    swap_segments,
    take_out,
    take_out_a_device,
    take_out_the_end,
)
from chaos.times import check_log_times, check_promises
from chaos.truth import Truth, sent
from tallystick.evidence import entry

# `TALLY_CHAOS_SEED` takes another one.
SEED = int(os.environ.get("TALLY_CHAOS_SEED", "7"))
# Of devices: two minutes and a half of it, with all restarts, are to cost 85 s of a core.
PACE = 0.85
# The start and the end take as long again on a busy machine at most.
RUN_S_MAX = 900
# Whichever test comes first waits for the run.
pytestmark = pytest.mark.timeout(RUN_S_MAX)


# --- the run -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chaos(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Done]]:
    folder = tmp_path_factory.mktemp("chaos") / "run"

    def say(text: str) -> None:
        sys.stdout.write(text + "\n")

    yield folder, Run(folder, SEED, SUITE_S, pace=PACE, say=say).run()
    if not request.session.testsfailed:
        shutil.rmtree(folder)


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_and_nothing_is_twice(chaos: tuple[Path, Done]) -> None:
    _, done = chaos
    print(*done.lines(), sep="\n")
    report = done.report
    assert report is not None
    assert set(done.faults) == set(KINDS)
    assert sum(done.faults.values()) == done.planned
    assert set(done.kills) == {"gateway", "notary", "robots", "broker"}
    assert all(done.kills.values())
    assert report.devices == 200
    # How many there are in the time is the machine's.
    assert report.acknowledged == report.records > 10 * report.devices
    assert report.receipts > 10 * report.devices
    assert (report.lost, report.twice) == (0, 0)


# --- its checker ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(chaos: tuple[Path, Done]) -> State:
    return read(chaos[0])


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (take_out, "a hole from"),
        (take_out_the_end, "is not what is here"),
        (hide_a_gap, "is not what is here|bodies in custody are lost"),
        (put_twice, "is there twice"),
        (put_twice_at_the_end, "is not what was sent"),
        (swap_records, "is not what was sent"),
        (swap_entries, "its log is another one"),
        (shrink, "has shrunk"),
        (lambda c: c.execute("UPDATE identities SET decisions = decisions + 1"), "it counts"),
        (lambda c: c.execute("UPDATE logs SET covered = covered - 1"), "it says of"),
        (lambda c: c.execute("UPDATE party_sets SET state = 'conflicting'"), "is conflicting"),
        (lambda c: c.execute("UPDATE identities SET suspect = 'fork'"), "is blamed"),
    ],
)
def test_what_is_done_to_a_validator_is_found(
    change: Change, found: str, state: State, tmp_path: Path
) -> None:
    path = changed(state.folder / "notary-1" / "validator.sqlite", tmp_path, change)
    with pytest.raises(Wrong, match=found):
        judge_notary(read_notary("notary-1", path), state, Report())


def test_bodies_that_are_hidden_with_their_true_hashes_are_found(
    state: State, tmp_path: Path
) -> None:
    (notary,) = [one for one in state.notaries if one.name == "notary-1"]
    device_of: dict[int, tuple[bytes, bytes]] = {}

    def hide(connection: sqlite3.Connection) -> None:
        for log, device, epoch in connection.execute("SELECT log, device, epoch FROM logs"):
            device_of[log] = device, epoch
        log, first, to, data = a_stretch(connection)
        hashes = [item.hash for item in notary.items[device_of[log]] if first <= item.first < to]
        hidden = rewritten(data, lambda _: [(0, one) for one in hashes])
        connection.execute(
            "UPDATE stretches SET items = ? WHERE log = ? AND first = ?", (hidden, log, first)
        )

    path = changed(state.folder / "notary-1" / "validator.sqlite", tmp_path, hide)
    spoilt = read_notary("notary-1", path)
    with pytest.raises(Wrong, match="bodies in custody are lost"):
        judge_notary(spoilt, state, Report())
    assert count_lost(spoilt, state.truth) > count_lost(notary, state.truth) == 0


def test_decisions_that_are_there_or_counted_again_are_counted(
    state: State, tmp_path: Path
) -> None:
    notary = state.notaries[0]
    assert count_twice(notary) == 0
    more = "UPDATE identities SET decisions = decisions + 1"
    source = state.folder / notary.name / "validator.sqlite"
    path = changed(source, tmp_path, lambda c: c.execute(more))
    devices = len({log[0] for log in notary.items})
    assert count_twice(read_notary(notary.name, path)) == devices
    log, items = next(one for one in notary.items.items() if _numbers(notary.records(one[0])))
    doubled = replace(notary, items={**notary.items, (log[0], bytes(8)): items})
    assert count_twice(doubled) >= len(_numbers(notary.records(log)))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda c: c.execute("DELETE FROM segments WHERE at = 7"), "its log has no place 7"),
        (take_out_a_device, "and does not have it"),
        (copy_a_segment, "is there twice"),
        (swap_segments, "heard another log"),
        (flip, "is not what it took"),
        (exchange_a_receipt, "is another statement's"),
    ],
)
def test_what_is_done_to_a_gateway_is_found(
    change: Change, found: str, state: State, tmp_path: Path
) -> None:
    path = changed(state.folder / "gateway-a" / "gateway.sqlite", tmp_path, change)
    with pytest.raises(Wrong, match=found):
        judge_gateway(read_gateway("gateway-a", path), state, Report())


def test_a_store_that_does_not_open_is_found(state: State, tmp_path: Path) -> None:
    path = Path(shutil.copy(state.folder / "gateway-a" / "gateway.sqlite", tmp_path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Wrong, match=r"does not open|is damaged"):
        read_gateway("gateway-a", path)


def test_a_journal_that_is_torn_or_decayed_is_found(state: State, tmp_path: Path) -> None:
    device = next(iter(state.truth.devices.values()))
    here = tmp_path / "device" / "journal"
    shutil.copytree(device.folder / "journal", here)
    assert read_journal(here) == state.journals[device.text]
    newest = max(here.glob("*.tally"))
    data = newest.read_bytes()
    newest.write_bytes(data[:-1])
    with pytest.raises(Wrong, match="is torn"):
        read_journal(here)
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Wrong, match="is not what was written"):
        read_journal(here)


def test_an_index_that_a_device_used_twice_is_found(state: State) -> None:
    log, records = next((log, found) for log, found in state.truth.records.items() if found)
    at, data = next(iter(records.items()))
    truth = Truth()
    truth.records[log][at] = data[:-1] + bytes([data[-1] ^ 1])
    with pytest.raises(Wrong, match="was used for two records"):
        sent(truth, message_with(state, log, at))


def message_with(state: State, log: tuple[bytes, bytes], at: int) -> bytes:
    """A segment of a gateway's or validator's store with this index of a log."""
    for gateway in state.gateways:
        with closing(sqlite3.connect(state.folder / gateway.name / "gateway.sqlite")) as connection:
            row = connection.execute(
                "SELECT data FROM segments JOIN tracks USING (track) WHERE device = ? AND "
                "epoch = ? AND first <= ? AND until > ?",
                (*log, at, at),
            ).fetchone()
            if row is not None:
                return bytes(row[0])
    message = "nobody has it"
    raise AssertionError(message)


def test_decisions_that_are_missing_or_moved_are_found(state: State) -> None:
    text, device = next((text, one) for text, one in state.truth.devices.items() if not one.small)
    for life in device.lives[-1:]:
        life.end += 1
    try:
        with pytest.raises(Wrong, match="lacks 1 decisions"):
            judge_notary(state.notaries[0], state, Report())
    finally:
        device.lives[-1].end -= 1
    device.urgent.add(10**6)
    try:
        with pytest.raises(Wrong, match=f"urgent decisions .* of {text} had returned"):
            judge_notary(state.notaries[0], state, Report())
    finally:
        device.urgent.discard(10**6)


def test_times_that_no_clock_had_are_found(state: State) -> None:
    notary = state.notaries[0]
    check_log_times(notary, state.said)
    times_ms = notary.times_ms
    # Of the log's own time, the newest moves freely up to what its clock said at most.
    never = [*times_ms[:-1], times_ms[-1] + 10_000 * 86_400_000]
    with pytest.raises(Wrong, match="which its clock never had"):
        check_log_times(replace(notary, times_ms=never), state.said)
    with pytest.raises(Wrong, match="its log's time falls at entry"):
        check_log_times(replace(notary, times_ms=[*times_ms[:-1], times_ms[0] - 1]), state.said)
    with pytest.raises(Wrong, match="a checkpoint has the time"):
        check_log_times(replace(notary, heads_ms=[0]), state.said)
    truth = Truth()
    log, promises = next((log, made) for log, made in state.truth.promises.items() if made)
    truth.promises[log].add(next(iter(promises))._replace(time_ms=10**9))
    with pytest.raises(Wrong, match="a custody receipt has the time"):
        check_promises(truth, state.said)


def test_a_closing_that_came_early_is_found(state: State) -> None:
    notary = state.notaries[0]
    closing = entry.Closing("site-1", bytes(16), bytes(32), 1, 60_000)
    times_ms = [notary.times_ms[0]] * 3
    early = replace(notary, times_ms=times_ms, closings=[(2, closing)])
    with pytest.raises(Wrong, match="it closed at entry 2, after 0 ms"):
        check_log_times(early, state.said)
