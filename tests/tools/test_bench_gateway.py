"""`tally bench forward | fleet`, and where a gateway's time goes: what is said is measured."""

import resource
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import cbor2
import pytest

from support.benches import check_object, printed
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.errors import Unverified
from tallystick.evidence.notice import Notice
from tallystick.evidence.resend import Resend
from tallystick.evidence.segment import parse
from tallystick.evidence.welcome import Welcome
from tallystick.hw.signer import Signer
from tallystick.tools.bench import (
    filelimit,
    fleet,
    fleet_crew,
    forward,
    forward_time,
    gateway_time,
    handovers,
    peer_forwarder,
    recording,
)
from tallystick.tools.bench.fleet_result import percentile
from tallystick.tools.bench.fleet_voices import Robot, endless
from tallystick.tools.bench.fleet_voices import Signer as Voice
from tallystick.tools.bench.forward_result import Drained, ForwardResult, Wire
from tallystick.tools.bench.load import Load
from tallystick.tools.bench.peers import PEERS
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.bench.running import Running
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.mosquitto import Mosquitto

SVG = "{http://www.w3.org/2000/svg}"
ONE_PEER = {"libsodium": PEERS["libsodium"]}
WAITED_S = 0.3


@pytest.fixture
def house(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "fleet", "bench")


@pytest.fixture
def gateway(house: Fleet) -> Member:
    return house.enrol("gateway", "gateway")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a bench works; nothing is left there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def texts(picture: Path) -> str:
    return " ".join("".join(one.itertext()) for one in ET.parse(picture).iter(f"{SVG}text"))


# --- what a gateway's time goes to -----------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("/x/firmware/tallystick/evidence/tree.py", gateway_time.HASHING),
        ("/x/lib/nacl/signing.py", gateway_time.SIGNATURE),
        ("/x/lib/paho/mqtt/client.py", gateway_time.BROKER),
        ("/x/gateway/tallystick/gateway/worker.py", gateway_time.PYTHON),
        ("/usr/lib/python3.11/threading.py", None),
    ],
)
def test_a_file_says_what_its_time_is(filename: str, kind: str | None) -> None:
    assert gateway_time.kind_of(filename) == kind


@pytest.mark.parametrize(
    ("filename", "kind"),
    [
        ("/x/lib/httpcore2/_sync/http11.py", forward_time.HTTP),
        ("/x/lib/h11/_connection.py", forward_time.HTTP),
        ("/x/gateway/tallystick/gateway/packing.py", forward_time.COMPRESSION),
        ("/x/gateway/tallystick/gateway/storedsegment.py", gateway_time.HASHING),
        ("/x/hw/tallystick/hw/_software.py", gateway_time.SIGNATURE),
        ("/x/gateway/tallystick/gateway/forward.py", gateway_time.PYTHON),
    ],
)
def test_of_sending_on_a_file_says_what_its_time_is(filename: str, kind: str) -> None:
    assert gateway_time.kind_of(filename, forward_time.FILES) == kind


def test_a_line_says_whether_it_waits_for_the_disk() -> None:
    assert gateway_time.sql_of('connection.execute("COMMIT")') == "COMMIT"
    assert gateway_time.sql_of("rows = connection.execute(sql).fetchall()") == ""
    assert gateway_time.sql_of("total += 1") is None


def test_a_clock_tells_sql_from_python_and_leaves_waiting_out() -> None:
    database = sqlite3.connect(":memory:")
    clock = gateway_time.Clock()
    began_s = time.thread_time()
    before = signal.getsignal(signal.SIGALRM)
    try:
        clock.begin()
        for _ in range(12):
            until = time.thread_time() + 0.005
            while time.thread_time() < until:
                pass
            database.execute(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 40000) "
                "SELECT sum(i) FROM n"
            ).fetchall()
        spent_s = time.thread_time() - began_s
        time.sleep(WAITED_S)
        clock.end()
    finally:
        signal.signal(signal.SIGALRM, before)
        database.close()
    told = clock.told()
    assert told[gateway_time.SQLITE] > 0.01
    # This file is nobody's product: what its own lines take is Python.
    assert told[gateway_time.PYTHON] > 0.03
    assert sum(told.values()) < spent_s + WAITED_S / 2
    found = gateway_time.shares(told)
    assert sum(found.values()) == pytest.approx(1, abs=0.001)
    assert gateway_time.shares(dict.fromkeys(gateway_time.NAMES, 0.0))[gateway_time.HASHING] == 0


def test_what_the_compiler_adds_has_no_line() -> None:
    # A sample that raises would end what it interrupts: a message was set aside as poison by it.
    code = compile("pass", "/x/tallystick/gateway/worker.py", "exec")
    frame: Any = SimpleNamespace(f_code=code, f_lineno=None, f_back=None)
    assert gateway_time.Clock()._kind_of(frame) == (gateway_time.PYTHON, False)


# --- open files --------------------------------------------------------------------------------


def test_open_files_are_raised_or_the_limit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 4_096))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: given.append(limits))
    filelimit.allow(100)
    assert given == []
    filelimit.allow(1_000)
    assert given == [(1_000 + filelimit.SPARE_FILES, 4_096)]
    with pytest.raises(BenchFailed, match="5000 connections need 5128 open files, and 4096"):
        filelimit.allow(5_000)


# --- one device ---------------------------------------------------------------------------------


def receipt(house: Fleet, gateway: Member, robot: Robot, size: int) -> bytes:
    load = robot._load
    signer = Signer.from_uri(f"file:{gateway.key_path}")
    made = CustodyReceipt(load.epoch, 0, size, load.tree.root(), True, 1)
    return made.sign(signer, house.name, load.member.id_text)


def test_a_robot_is_content_when_its_last_receipt_covers_all(house: Fleet, gateway: Member) -> None:
    robot = Robot(Load(house.enrol("device", "robot"), house), gateway.identity.key)
    assert robot.hello() is not None
    # A stranger who has to wait is told so, and says hello again.
    assert robot.hear(Notice("over-quota", None, None).encode()) == 0
    assert (robot.hello() is None, robot.refused) == (False, 0)
    robot.hear(Welcome(1, None, None).encode())
    assert robot.hello() is None
    # As one is whose hellos waited while the gateway started; anything else is counted.
    robot.hear(Notice("over-quota", None, None).encode())
    assert robot.refused == 0
    robot.hear(Notice("bad-signature", None, None).encode())
    robot.hear(Resend(bytes(8), 0, None).encode())
    assert robot.refused == 2
    robot.check()
    for size in (64, 128):
        assert parse(robot.next()).to == size
    with pytest.raises(BenchFailed, match="no custody receipt"):
        robot.check()
    assert robot.hear(receipt(house, gateway, robot, 64)) == 1
    with pytest.raises(BenchFailed, match="covers 64 of 128"):
        robot.check()
    assert robot.hear(receipt(house, gateway, robot, 128)) == 1
    robot.check()
    other = house.enrol("gateway", "other")
    robot.next()
    robot.hear(receipt(house, other, robot, 192))
    with pytest.raises(Unverified, match="another key"):
        robot.check()


def test_one_receipt_may_cover_several_segments(house: Fleet, gateway: Member) -> None:
    robot = Robot(Load(house.enrol("device", "robot"), house), gateway.identity.key)
    robot.prepare()
    robot.prepare()
    assert [parse(robot.next()).to for _ in range(3)] == [64, 128, 192]
    assert robot.hear(receipt(house, gateway, robot, 192)) == 3
    robot.check()


def test_a_peers_device_waits_for_the_digest_of_its_message() -> None:
    voice = Voice("7", endless([b"one", b"two"]))
    assert voice.next() == b"one"
    assert voice.hear(bytes(64) + sha256(b"two").digest()) == 0
    assert voice.refused == 1
    with pytest.raises(BenchFailed, match="1 messages got no receipt"):
        voice.check()
    assert voice.hear(bytes(64) + sha256(b"one").digest()) == 1
    voice.check()


def test_the_99th_percentile_is_one_of_them() -> None:
    ordered = [float(n) for n in range(1, 201)]
    assert (percentile(ordered, 0.5), percentile(ordered, 0.99)) == (100.0, 198.0)
    assert (percentile(ordered, 1.0), percentile([], 0.5)) == (200.0, 0.0)


def test_a_process_of_devices_that_ends_is_said(tmp_path: Path) -> None:
    crew = fleet_crew.Crew(tmp_path, ["a"], peer="nobody", port=1, seconds=0.1)
    with pytest.raises(BenchFailed, match="KeyError: 'nobody'"), crew:
        pass


# --- the benches ----------------------------------------------------------------------------------


def test_fleet(mosquitto: Mosquitto, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "PEERS", ONE_PEER)
    monkeypatch.setattr(fleet, "PEER_S", 0.05)
    monkeypatch.setattr(fleet, "MOST_SEGMENTS", 1)
    monkeypatch.setattr(fleet_crew, "PROCESSES", 1)
    picture = here.parent / f"{here.name}.svg"
    arguments = ("--devices", "30", "--seconds", "0.5", "--rate", "128", "--picture", str(picture))
    found = printed("fleet", *arguments, "--json")
    check_object(found, ONE_PEER)
    assert (found["devices"], found["lost_records"]) == (30, 0)
    assert set(found["paced"]) == set(found["shares"]) == {"tallystick", "libsodium"}
    for one in found["paced"].values():
        # Each device speaks every half second.
        assert one["sent_records"] == one["covered_records"] == 30 * 64
        assert 0 < one["latency_p50_ms"] <= one["latency_p99_ms"] <= one["latency_most_ms"]
        assert one["gateway_resident_bytes"] > 1 << 20
    assert found["shares"]["libsodium"]["signature"] > found["shares"]["tallystick"]["signature"]
    assert all(name in texts(picture) for name in gateway_time.NAMES)


def test_forward(mosquitto: Mosquitto, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "PEERS", ONE_PEER)
    picture = here.parent / f"{here.name}.svg"
    arguments = ["--records", "32768", "--seconds", "0.05", "--validators", "1"]
    arguments += ["--content", "full", "--live", "100", "--picture", str(picture)]
    found = printed("forward", *arguments, "--json")
    check_object(found, ONE_PEER)
    (drained,) = found["drains"]
    assert (drained["content"], drained["validators"]) == ("full", 1)
    assert drained["records_per_s"] == pytest.approx(found["ours_per_s"], abs=0.1)
    assert drained["ratio_to_live"] == pytest.approx(found["ours_per_s"] / 100, abs=0.01)
    # Records of 200 bytes, of which two digests do not pack.
    assert 64 < drained["bytes_a_record"] < 150
    assert drained["batches"] >= 3
    assert set(found["shares"]) == {"full records", "libsodium"}
    for shares in found["shares"].values():
        assert sum(shares.values()) == pytest.approx(1, abs=0.001)
    ours = found["shares"]["full records"]
    assert all(ours[kind] > 0 for kind in forward_time.NAMES)
    assert all(name in texts(picture) for name in (*forward_time.NAMES, "full records"))


def test_a_drain_is_held_against_the_intake_the_live_rate_and_bare_bytes() -> None:
    drains = [Drained("full", 1, 50_000.0, 4.0), Drained("full", 3, 20_000.0, 4.0)]
    wires = {"full": Wire("full", 2_000_000, 1_000_000, 2, 400_000.0)}
    result = ForwardResult(drains, wires, 100_000.0, 5_000, {"x": 10_000.0}, 1e6, {"records": 1000})
    first, second = result.object()["drains"]
    assert (first["ratio_to_intake"], first["ratio_to_live"]) == (0.5, 10.0)
    assert (first["ratio_to_bare"], first["compressed_to"]) == (0.125, 0.5)
    assert first["goal_up_to_live_per_s"] == 5_000.0
    # Three validators get the bytes three times.
    assert (first["bytes_per_s"], second["bytes_per_s"]) == (50_000_000, 60_000_000)


def test_every_decision_of_a_backlog_is_another_one(house: Fleet) -> None:
    members = [house.enrol("device", f"device-{at}") for at in range(2)]
    (pair,) = handovers.pairs(house, members)
    numbers = iter(range(1_000))
    pair.decide = lambda _first, many: [recording.record(n, n) for n in islice(numbers, many)]
    handovers.logs([pair], 128, 64, 64)
    bodies = [
        body
        for load in (pair.giver, pair.receiver)
        for data in load.segments
        for stretch in parse(data).stretches
        for body in stretch.items
    ]
    # All but the first event of each log, which are alike.
    assert len({bytes(body) for body in bodies if isinstance(body, bytes)}) == 127


def test_a_peers_batches_close_where_ours_do(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    messages = [cbor2.dumps([bytes([at]) * 1000] * 64) for at in range(40)]
    peer_forwarder.fill(path, messages)
    database = sqlite3.connect(path)
    made = list(peer_forwarder.batches(database))
    database.close()
    assert [last for last, _ in made] == [32, 40]
    assert sum(len(cbor2.loads(body)) for _, body in made) == 40 * 64


def test_the_processor_time_of_children_counts(tmp_path: Path) -> None:
    spin = "import time\nwhile time.process_time() < 0.5: pass\n"
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {spin!r}])\n"
    with Running(tmp_path) as running:
        running.start("parent", [sys.executable, "-c", f"{parent}time.sleep(60)"])
        until = time.monotonic() + 90
        while running.cpu_s("parent") < 0.4 and time.monotonic() < until:
            time.sleep(0.02)
        assert running.cpu_s("parent") >= 0.4
        assert running.resident_bytes("parent") > 1 << 20


def test_what_a_process_prints_last_is_its_answer(tmp_path: Path) -> None:
    with Running(tmp_path) as running:
        running.start("good", [sys.executable, "-c", "print('x'); print('{\"seconds\": 2}')"])
        assert running.answer("good") == {"seconds": 2}
        running.start("bad", [sys.executable, "-c", "raise SystemExit(3)"])
        with pytest.raises(Exception, match="bad ended with 3"):
            running.answer("bad")
