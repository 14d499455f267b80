"""The thread that polls: it looks at a key that signs when there is something to see."""

import time
from pathlib import Path
from typing import Any

import pytest

from recorder.test_chip import held
from support.chips608 import set_up
from support.station import Fleet
from support.swtpm import fresh, running, uri
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.background import IDLE_S

# A signature of an ATECC608: Nonce, 20 ms, and Sign, 115 ms, each after a wake. A thread that slept
# IDLE_S whenever it has nothing to do would take 40 ms more.
CHIP_S = 0.139
SLACK_S = 1.5 * IDLE_S
SIGNATURES_MAX = 50
WAIT_S = 60
SILENT_S = 0.5


def counted(signer: Any, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When poll() was called."""
    calls: list[float] = []
    poll = signer.poll

    def counting() -> Any:
        calls.append(time.monotonic())
        return poll()

    monkeypatch.setattr(signer, "poll", counting)
    return calls


def wait_until(what: Any) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_chips_signature_takes_no_longer_in_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = set_up(tmp_path / "chip")
    key = Signer.from_uri(place)
    config = held(Fleet(tmp_path / "fleet"), key, place, checkpoint_records=1)
    key.close()
    tally = Recorder.open(config)
    try:
        wait_until(tally._ledger.settled)
        calls = counted(tally._ledger.signer, monkeypatch)
        took = []
        # The best of them: a busy machine wakes a thread late.
        for _ in range(SIGNATURES_MAX):
            start = len(calls)
            tally.decision("m", {"n": 1})
            wait_until(lambda: tally._ledger.log.unsealed == 0 and tally._ledger.settled())
            took.append(calls[-1] - calls[start])
            # Not in a circle either.
            assert len(calls) - start < 100
            if took[-1] < CHIP_S + SLACK_S:
                break
        assert min(took) < CHIP_S + SLACK_S
    finally:
        tally.close()


def test_a_silent_tpm_takes_no_time_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tpm in running(tmp_path / "tpm"):
        key = fresh(tpm)
        config = held(Fleet(tmp_path / "fleet"), key, uri(tpm), checkpoint_records=1)
        key.close()
        tally = Recorder.open(config)
        try:
            wait_until(tally._ledger.settled)
            calls = counted(tally._ledger.signer, monkeypatch)
            tpm.pause()
            tally.decision("m", {"n": 1})
            wait_until(calls.__len__)
            began = calls[0]
            time.sleep(SILENT_S)
            silent_s = time.monotonic() - began
            assert len(calls) <= silent_s * 1000 / tally._ledger.signer.waits + 10
        finally:
            tpm.resume()
            tally.close()


def test_drivers_in_hardware_say_when_to_look_again(softhsm: Any, tmp_path: Path) -> None:
    pytest.importorskip("tpm2_pytss", reason="tpm2-pytss is not installed")
    # 0 would be a software key's, whose poll() is what signs.
    from tallystick.hw.pkcs11 import Pkcs11Key
    from tallystick.hw.software_key import FileKey
    from tallystick.hw.tpm2_key import Tpm2Key

    assert 0 < Tpm2Key.waits < IDLE_S * 1000
    assert 0 < Pkcs11Key.waits < IDLE_S * 1000
    assert FileKey.waits == 0
    signer = Signer.from_uri(set_up(tmp_path / "chip"))
    try:
        assert signer.waits == 1
        signer.begin(b"message")
        waits = []
        while not signer.poll():
            waits.append(signer.waits)
            time.sleep(waits[-1] / 1000)
        # Half of the longest time, then a look now and then.
        assert 50 < max(waits) < 60
        assert len(waits) < 40
    finally:
        signer.close()
