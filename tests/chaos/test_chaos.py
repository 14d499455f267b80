"""The chaos run of `make test`, and that its checker finds what it is there to find.

200 devices, a real Mosquitto, two gateways, three validators, each a process; `make chaos` does
the same for as long as one likes. What is done when is the seed's.
"""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from chaos import relay
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
from chaos.plan import CLOCK, KINDS, MACHINES, PROCESSES, RESET, plan
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
from support.site import until
from support.wallclock import WallClock
from tallystick.evidence import entry

# `TALLY_CHAOS_SEED` takes another one.
SEED = int(os.environ.get("TALLY_CHAOS_SEED", "7"))
# Until calm; the start and the end take as long again on a busy machine at most.
CHAOS_S = 140.0
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

    yield folder, Run(folder, SEED, CHAOS_S, say=say).run()
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


# --- its parts -----------------------------------------------------------------------------


def test_a_plan_is_its_seed_s() -> None:
    assert plan(3, 120) == plan(3, 120) != plan(4, 120)
    for seed in range(20):
        faults = plan(seed, CHAOS_S)
        assert {fault.kind for fault in faults} == set(KINDS)
        assert {fault.target for fault in faults if fault.kind == "kill"} == set(PROCESSES)
        clocks = {fault.target for fault in faults if fault.kind in {CLOCK, RESET}}
        assert clocks >= set(MACHINES)
        assert faults == sorted(faults, key=lambda fault: fault.at_s)
        assert faults[-1].at_s < CHAOS_S


def test_a_wall_clock_is_set_and_no_other(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    program = """
import sys, threading, time
for line in sys.stdin:
    began_s = time.monotonic()
    time.sleep(0.01)
    threading.Event().wait(0.01)
    print(time.time(), time.monotonic(), time.monotonic() - began_s, flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | clock.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for offset_ms in (0, 3 * 3_600_000, -400 * 86_400_000, -1500):
            clock.set(offset_ms)
            before_s = time.time(), time.monotonic()
            process.stdin.write(b"\n")
            process.stdin.flush()
            wall_s, steady_s, waited_s = map(float, process.stdout.readline().split())
            after_s = time.time(), time.monotonic()
            assert before_s[0] <= wall_s - offset_ms / 1000 <= after_s[0]
            assert before_s[1] <= steady_s <= after_s[1]
            assert waited_s >= 0.02
        process.stdin.close()


def test_a_link_is_cut_stalled_and_good() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        links = relay.Relay()
        port = links.add("a>b", server.getsockname()[1])
        links.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.settimeout(20)
                near.sendall(b"one")
                assert far.recv(10) == b"one"
                links.set("a>b", relay.STALLED)
                near.sendall(b"two")
                far.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    far.recv(10)
                links.set("a>b", relay.GOOD)
                far.settimeout(20)
                assert far.recv(10) == b"two"
                links.set("a>b", relay.CUT)
                assert gone(far)
                assert gone(near)
                far.close()
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                assert gone(near)
            links.set("a>b", relay.GOOD)
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.sendall(b"back" * 100_000)
                far.close()
                size = 0
                while data := near.recv(65_536):
                    size += len(data)
                assert size == 400_000
            until(lambda: not links.links["a>b"].ends, "the end of both")
        finally:
            links.close()


def test_a_link_takes_its_time_and_keeps_the_order() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        links = relay.Relay()
        port = links.add("a>b", server.getsockname()[1], 0.2)
        links.start()
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=20) as near:
                far, _ = server.accept()
                far.settimeout(20)
                begun_s = time.monotonic()
                near.sendall(b"one")
                assert far.recv(10) == b"one"
                assert time.monotonic() - begun_s >= 0.2
                near.sendall(b"two")
                near.sendall(b"three")
                near.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: far.recv(10), b"")) == b"twothree"
                far.close()
        finally:
            links.close()


def gone(line: socket.socket) -> bool:
    """Whether the other end is; it waits for that."""
    end_s = time.monotonic() + 20
    while time.monotonic() < end_s:
        try:
            if not line.recv(10):
                return True
        except ConnectionError:
            return True
    return False
