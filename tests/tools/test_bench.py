"""`tally bench`: what is measured is what is said, and the object that it prints."""

import json
import os
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
import pytest
from click.testing import CliRunner

from tallystick.evidence import segment
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.tree import Tree
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.tools import provision, softhsm, swtpm
from tallystick.tools._cache import ToolMissing
from tallystick.tools.bench import bound, held, ingest, load, peers, record, recording, sign
from tallystick.tools.bench.cli import bench
from tallystick.tools.bench.covered import covered
from tallystick.tools.bench.result import BenchFailed, Result
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

SEED = bytes(range(32))
KEYS = {"ours_per_s", "peers", "bound_per_s", "ratio_to_best_peer", "ratio_to_bound", "machine"}
PEERS = {"libsodium", "scitt-cose", "agent-receipts"}


def printed(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(bench, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def check_object(found: dict[str, Any], peers: Iterable[str] = PEERS) -> None:
    assert set(found) >= KEYS
    assert set(found["peers"]) == set(peers)
    assert found["ours_per_s"] > 0
    best = max(found["peers"].values())
    assert found["ratio_to_best_peer"] == pytest.approx(found["ours_per_s"] / best, abs=0.01)
    assert found["ratio_to_bound"] == pytest.approx(
        found["ours_per_s"] / found["bound_per_s"], abs=0.0001
    )


def test_ratios_are_to_the_best_peer_and_to_the_bound() -> None:
    found = Result("x", 500.0, {"slow": 5.0, "fast": 25.0}, 2_000.0, {"more": 1}).object()
    assert found["ratio_to_best_peer"] == 20.0
    assert found["ratio_to_bound"] == 0.25
    assert found["more"] == 1
    assert found["machine"]["cores"] == os.cpu_count()


def test_the_table_comes_before_the_object(capsys: pytest.CaptureFixture[str]) -> None:
    result = Result("x", 500.0, {"peer": 25.0}, 2_000.0, {"nested": [{"bits": 64, "of": {"a": 1}}]})
    result.show(as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[-1])["ours_per_s"] == 500.0
    assert any("20.0 times" in line for line in lines)
    assert "  of: a 1" in lines
    result.show(as_json=True)
    assert len(capsys.readouterr().out.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(PEERS))
@pytest.mark.parametrize("size", [0, 10, 23, 24, 205, 255, 256, 4_096])
def test_a_peer_gives_back_the_record_that_it_signed(name: str, size: int) -> None:
    record = bytes(n % 251 for n in range(size))
    assert peers.checked(name, SEED).verify(peers.checked(name, SEED).sign(record)) == record


@pytest.mark.parametrize("name", sorted(PEERS))
def test_a_peer_refuses_another_record_and_another_key(name: str) -> None:
    peer = peers.checked(name, SEED)
    record = recording.record(3)
    message = peer.sign(record)
    at = message.index(record)
    for place in (at, at + len(record) - 1):
        changed = message[:place] + bytes([message[place] ^ 1]) + message[place + 1 :]
        with pytest.raises(Exception):  # noqa: B017, PT011 - each library has its own
            peer.verify(changed)
    with pytest.raises(Exception):  # noqa: B017, PT011 - as above
        peers.checked(name, bytes(32)).verify(message)


def test_the_bound_is_two_and_a_half_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    record = recording.record(0)
    sizes: list[int] = []

    def counted(data: bytes) -> Any:
        sizes.append(len(data))
        return sha256(data)

    monkeypatch.setattr(bound, "sha256", counted)
    bound.hashes_per_record(record, 10)
    # Twenty records: a salt for two, a leaf and a node for each (docs/protocol.md, 2.2 and 2.3).
    assert sorted(sizes) == sorted(10 * [32 + 8] + 20 * [1 + 16 + len(record)] + 20 * [1 + 32 + 32])
    assert bound.bound_per_s(record, 0.01) > 0


def test_records_are_of_about_200_bytes() -> None:
    sizes = [len(record) for record in load.pool()]
    assert min(sizes) >= 190
    assert max(sizes) < 256


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "fleet", "bench")


def test_what_is_sent_verifies(fleet: Fleet) -> None:
    members = [fleet.enrol("device", f"device-{number}") for number in range(3)]
    loads = load.make(fleet, members, 64 * 7)
    assert [len(one.segments) for one in loads] == [3, 2, 2]
    for one in loads:
        tree = Tree()
        for data in one.segments:
            received = segment.parse(data)
            verified = segment.verify_segment(received, one.member.identity, tree)
            tree = verified.tree
        assert tree.root() == one.tree.root()
    sent = list(load.in_turn(loads))
    assert len(sent) == 7
    assert [topic for topic, _ in sent[:3]] == [f"{one.topic}/up" for one in loads]
    assert [data for topic, data in sent if topic.startswith(loads[0].topic)] == loads[0].segments


def test_only_a_receipt_over_everything_ends_the_clock(fleet: Fleet) -> None:
    device = fleet.enrol("device", "device")
    gateway = fleet.enrol("gateway", "gateway")
    (one,) = load.make(fleet, [device], 128)
    signer = Signer.from_uri(f"file:{gateway.key_path}")

    def received(to: int, root: bytes, *, bodies: bool = True) -> ingest.Received:
        receipt = CustodyReceipt(one.epoch, 0, to, root, bodies, 1)
        data = receipt.sign(signer, "bench", device.id_text)
        return ingest.Received(1.0, f"{one.topic}/down", data)

    root = one.tree.root()
    complete = ingest.Custody([one], gateway.identity.key)
    assert not complete(received(64, bytes(32)))
    assert not complete(ingest.Received(1.0, "another/down", received(128, root).payload))
    for wrong in (received(128, bytes(32)), received(128, root, bodies=False)):
        with pytest.raises(BenchFailed):
            complete(wrong)
    assert complete(received(128, root))


@pytest.mark.parametrize("name", sorted(PEERS))
def test_every_message_of_a_peer_is_another(name: str) -> None:
    # More records than there are in the pool of ours: each receipt must name one message.
    peer = peers.checked(name, SEED)
    messages = ingest.peer_messages(peer, 0.3)
    assert len(set(messages)) == len(messages)
    assert all(len(cbor2.loads(message)) == 64 for message in messages)
    peer.verify(cbor2.loads(messages[-1])[-1])


def test_nobody_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "HELLO_EVERY_S", 0.05)
    monkeypatch.setattr(ingest, "ALIVE_EVERY_S", 0.05)

    def ended() -> None:
        raise BenchFailed("bench-failed", "it ended")

    with Mosquitto(tmp_path) as broker:
        with ingest.Sender(broker.port, "down", lambda: None) as sender:
            monkeypatch.setattr(ingest, "START_S_MAX", 0.2)
            with pytest.raises(BenchFailed, match="nobody answered"):
                sender.ask("up", b"hello", lambda _received: True)
            monkeypatch.setattr(ingest, "SILENCE_S_MAX", 0.2)
            with pytest.raises(BenchFailed, match="no receipt"):
                sender.measure([("up", b"x")], lambda _received: False)
        monkeypatch.setattr(ingest, "START_S_MAX", 5.0)
        with ingest.Sender(broker.port, "down", ended) as sender:
            with pytest.raises(BenchFailed, match="it ended"):
                sender.ask("up", b"hello", lambda _received: True)
            with pytest.raises(BenchFailed, match="it ended"):
                sender.measure([("up", b"x")], lambda _received: False)


def test_ingest(mosquitto: Mosquitto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = printed("ingest", "--records", "1100", "--devices", "3", "--seconds", "0.05", "--json")
    check_object(found)
    # Whole segments only.
    assert found["records"] == 1_088
    assert found["devices"] == 3
    alone = found["verification_alone_to_bound"]
    # A checkpoint's signature is shared by more records.
    assert 0 < alone["64"] < alone["256"] < 1
    assert list(tmp_path.iterdir()) == []


def test_record(
    micropython64: MicroPython,
    micropython32: MicroPython,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = printed("record", "--seconds", "0.05", "--json")
    check_object(found)
    # The goal of design.md, section 8: at most 8 bytes beside the record.
    assert 5 < found["added_bytes_per_record"] <= 8
    assert found["decision_to_bare"] == pytest.approx(
        found["decision_us"] / found["bare_us"], abs=0.01
    )
    assert [one["bits"] for one in found["micropython"]] == [64, 32]
    for one in found["micropython"]:
        assert one["peers"]["pure-python-ed25519"] > 0
        assert one["ratio_to_best_peer"] > 1
        assert 0 < one["memory_free_bytes"] < one["heap_bytes"]
    # The recorder alone, as design.md section 8 asks for it.
    assert found["micropython"][1]["heap_bytes"] == 64 * 1024
    assert list(tmp_path.iterdir()) == []


def test_sign(
    micropython64: MicroPython,
    micropython32: MicroPython,
    softhsm: softhsm.SoftHsm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed")
    try:
        swtpm.find()
    except ToolMissing as error:
        pytest.skip(str(error))
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(held, "DIVIDERS", (0,))
    found = printed("sign", "--seconds", "0.05", "--json")
    check_object(found, ["atecc608-m0", "atecc608-tcp-m0"])
    assert found["ratio_to_bound"] < 1
    keys = {one["key"]: one for one in found["keys"]}
    assert list(keys) == sign.steps()
    for one in keys.values():
        paced, unpaced = one["paced"], one["unpaced"]
        assert paced["checkpoints"] >= 3
        assert unpaced["decisions"] >= paced["decisions"] > 0
        assert 0 < paced["lag_ms"]["median"] <= paced["lag_ms"]["worst"]
        spreads = paced["decision_us"]
        counts = [spread["count"] for spread in spreads.values() if spread]
        assert sum(counts) == paced["decisions"]
    # A chip at its real times signs all the while, and covers what is made.
    chip = keys["atecc608-m0"]
    assert 3 < chip["signatures_per_s"] < 1000 / 115
    assert chip["paced"]["decision_us"]["signing"]["count"] > chip["paced"]["decisions"] / 2
    assert chip["paced"]["covered_per_s"] > 20 * chip["signed_records_per_s"]
    assert keys["mpy32-atecc608-tcp-m0"]["paced"]["poll_worst_ms"] > 0
    assert list(folder.iterdir()) == []


def test_what_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> tuple[str, str]:
        raise ToolMissing("no-softhsm", "SoftHSM is not installed")

    monkeypatch.setattr(softhsm, "find", nothing)
    monkeypatch.setattr(held, "DIVIDERS", (0,))
    monkeypatch.setattr(held, "KINDS", ("atecc608", "atecc608-tcp", "pkcs11"))
    monkeypatch.setattr(sign, "HEAP_KIB", {})
    done = CliRunner().invoke(bench, ["sign", "--seconds", "0.05"], catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert "not measured: pkcs11-softhsm-p256: SoftHSM is not installed" in lines
    assert any(line.startswith("  atecc608-tcp-m0") for line in lines)
    keys = json.loads(lines[-1])["keys"]
    assert [one["key"] for one in keys if "not_measured" in one] == held.names("pkcs11")


def test_figures_of_a_run(tmp_path: Path) -> None:
    # Four decisions, of which the log had two before; heads over three of them, then all.
    (tmp_path / "x.at").write_bytes(array("i", [1_000, 2_000, 3_000, 4_000]).tobytes())
    (tmp_path / "x.took").write_bytes(array("i", [100, 300, 200, 50]).tobytes())
    (tmp_path / "x.signing").write_bytes(bytes([1, 1, 1, 0]))
    ran = {
        "decisions": 4,
        "first": 2,
        "ended_us": 8_000,
        "covered": [(6_000, 5), (8_000, 6)],
        "checkpoints": 2,
        "poll_worst_us": 0,
    }
    found = sign.figures(ran, tmp_path / "x")
    assert found["made_per_s"] == 500
    assert found["covered_per_s"] == 500
    assert found["lag_ms"] == {"median": 4.0, "worst": 5.0}
    took = {"count": 3, "median": 20.0, "p99": 30.0, "worst": 30.0}
    assert found["decision_us"]["signing"] == took
    assert found["decision_us"]["else"]["count"] == 1
    with pytest.raises(BenchFailed, match="not covered"):
        sign.figures({**ran, "covered": [(6_000, 5)]}, tmp_path / "x")


def test_only_signed_records_count_as_covered(fleet: Fleet) -> None:
    member = fleet.enrol("device", "device")
    settings = {**record.SETTINGS, "journal_bytes": 1 << 20}
    config = provision.device(
        fleet, member, uplink="", namespace="bench", profiles=[], settings=settings
    )
    tally = Recorder.open(str(config), background=False)
    for number in range(100):
        tally.decision("m", {"n": number})
    assert tally.flush()
    with pytest.raises(OSError, match="another recorder has it"):
        covered(config, member)
    tally.close()
    assert covered(config, member) == tally.health.records
    tally = Recorder.open(str(config), background=False)
    tally.decision("m", {"n": 1})
    tally._ledger.seal()
    # As if killed: sealed, and not signed.
    tally._ledger.journal.files.unlock()
    with pytest.raises(BenchFailed, match="signed checkpoints for"):
        covered(config, member)


@pytest.mark.parametrize("command", ["ingest", "record", "sign"])
def test_ctrl_c_leaves_nothing(mosquitto: Mosquitto, tmp_path: Path, command: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "from tallystick.tools.main import main; main()", "bench", command],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 30
        while not running_in(tmp_path) and time.monotonic() < until:
            time.sleep(0.05)
        assert running_in(tmp_path)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert running_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def running_in(folder: Path) -> list[str]:
    """Command lines of processes that were given something in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found
