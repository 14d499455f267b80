"""`tally bench sign`: what counts as covered, and the figures that it prints."""

import json
from array import array
from pathlib import Path

import pytest
from click.testing import CliRunner

from support.benches import check_object, printed
from tallystick.recorder import Recorder
from tallystick.tools import provision, softhsm, swtpm
from tallystick.tools._cache import ToolMissing
from tallystick.tools.bench import held, record, recording, sign, signing
from tallystick.tools.bench.cli import bench
from tallystick.tools.bench.covered import covered
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.micropython import MicroPython


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.init(tmp_path / "fleet", "bench")


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
    assert 0 < chip["signatures_per_s"] < 1000 / 115
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


def enrolled(fleet: Fleet) -> tuple[Member, Path]:
    member = fleet.enrol("device", "device")
    settings = {**record.SETTINGS, "journal_bytes": 1 << 20}
    config = provision.device(
        fleet, member, uplink="", namespace="bench", profiles=[], settings=settings
    )
    return member, config


def test_the_lag_ends_when_the_signature_is_on_flash(fleet: Fleet) -> None:
    _, config = enrolled(fleet)
    tally = Recorder.open(str(config), background=False)
    assert tally.flush()
    ledger = tally._ledger
    watch = signing.Watch(ledger)
    tally.decision("m", {"n": 1})
    watch.look(1)
    while ledger.write():
        pass
    ledger.seal()
    while ledger.log.signed != ledger.log.ordinal:
        assert ledger.step(0)
        watch.look(2)
    assert watch.covered == []
    assert ledger.step(0)
    watch.look(3.5)
    assert watch.covered == [(3, ledger.log.tree.size)]
    tally.close()


def test_a_key_that_does_not_sign_is_said(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    _, config = enrolled(fleet)
    tally = Recorder.open(str(config), background=False)
    given = [recording.arguments(number) for number in range(recording.VARIANTS)]
    monkeypatch.setattr(signing, "LATE_S_MAX", 0.05)
    # Nobody polls.
    for period_us in (0, signing.PERIOD_US):
        with pytest.raises(RuntimeError, match="does not sign"):
            signing.Load(tally, given, period_us).run(0.01)
    tally.close()


def test_only_signed_records_count_as_covered(fleet: Fleet) -> None:
    member, config = enrolled(fleet)
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
