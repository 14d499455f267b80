"""Recorders whose key is in an ATECC608: a virtual chip with the real one's busy times (F05)."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.test_uplinks import run_micropython
from support.chips608 import key_on, our_chip, set_up
from support.mqttstation import Gateway
from support.station import Fleet, Station, read_credential
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import ES256
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import Tap, VirtualAtecc608
from tallystick.hw.virtual_atecc608.server import serving
from tallystick.recorder import Recorder
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

SIGN, VERIFY = 0x41, 0x45
CONTROL_LOOP_S = 0.001
# A decision waits for no signature, which takes 139 ms; what it may wait for is another thread of a
# busy machine, now and then.
DECISION_MS_MAX = 100
DECISION_MS_MEDIAN_MAX = 20
# Recorder and chip, without an uplink, TCP in place of machine.I2C.
HEAP_32 = "80k"
SCRIPT = """
import gc, sys
from tallystick.recorder import Recorder
tally = Recorder.open(sys.argv[1])
for number in range(2000):
    tally.decision(
        model="grasp-net@3f2a91",
        inputs={"camera": b"x" * 32, "n": number},
        constraints={"speed_m_s": (0.25, "<=", "0.5", "m/s")},
        output={"action": "grip", "x": 0.125, "y": -1.5},
    )
    tally.poll(1)
while tally._ledger.log.pending:
    tally.poll(10)
gc.collect()
health = tally.health
print(gc.mem_free(), health.records, health.dropped, health.checkpoints, health.faults)
"""


def held(fleet: Fleet, key: Signer, uri: str, **settings: Any) -> dict[str, Any]:
    """A device whose key is in a chip; the chip is free again."""
    config = fleet.device("one", signer=key, **settings)
    config["key"] = uri
    return config


def test_decisions_do_not_wait_for_the_chip(tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip")
    key = Signer.from_uri(uri)
    config = held(Fleet(tmp_path / "fleet"), key, uri, checkpoint_records=16)
    key.close()
    tally = Recorder.open(config)
    took = []
    for number in range(1000):
        began = time.monotonic()
        tally.decision("m@1", {"n": number}, output="go")
        took.append((time.monotonic() - began) * 1000)
        time.sleep(CONTROL_LOOP_S)
    took.sort()
    signed = tally._ledger.sendable
    assert took[500] < DECISION_MS_MEDIAN_MAX
    assert signed > 4  # checkpoints were signed meanwhile
    # One that waited for each of them would be seen.
    assert sum(ms > DECISION_MS_MAX for ms in took) < signed / 2
    assert tally.flush()
    assert tally.health.faults == {} and tally.health.dropped == 0
    tally.close()


def test_an_urgent_decision_is_signed_when_it_returns(tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip")
    key = Signer.from_uri(uri)
    config = held(Fleet(tmp_path / "fleet"), key, uri)
    key.close()
    tally = Recorder.open(config, background=False)
    began = time.monotonic()
    cpu = time.process_time()
    tally.decision("m@1", {"n": 1}, output="go", urgent=True)
    took = time.monotonic() - began
    assert not tally._ledger.log.pending and 0.1 < took < 30
    # It waits for the chip, and does not spin.
    assert time.process_time() - cpu < took / 2
    tally.close()


def test_a_key_beside_the_configuration(tmp_path: Path) -> None:
    """virtual=PATH is relative to the configuration, as other paths in it."""
    folder = tmp_path / "robot"
    folder.mkdir()
    uri = set_up(folder / "chip")
    key = Signer.from_uri(uri)
    config = held(Fleet(tmp_path / "fleet"), key, "atecc608:virtual=chip;slot=0")
    key.close()
    (folder / "tallystick.json").write_text(json.dumps(config))
    tally = Recorder.open(str(folder / "tallystick.json"))
    tally.decision("m@1", {"n": 1}, urgent=True)
    assert tally.health.faults == {}
    tally.close()


def unplug(chip: VirtualAtecc608) -> None:
    chip.faults.unplugged = True


def hang(chip: VirtualAtecc608) -> None:
    chip.faults.stuck = True


def lose_power(chip: VirtualAtecc608) -> None:
    chip.power(on=False)


@pytest.mark.parametrize("fault", [unplug, hang, lose_power])
def test_a_chip_that_fails_in_the_middle_of_a_signature(
    tmp_path: Path, fault: Callable[[VirtualAtecc608], None]
) -> None:
    chip = our_chip(time_scale=1.0)
    config = held(Fleet(tmp_path / "fleet"), key_on(chip), "atecc608:bus=1")
    tally = Recorder.open(config, signer=key_on(chip), background=False)
    tally.decision("m@1", {"n": 0}, urgent=True)
    for number in range(16):
        tally.decision("m@1", {"n": number})
    for _ in range(4):
        tally.poll()
        time.sleep(0.01)
    assert tally._ledger.log.pending  # a signature is under way
    fault(chip)
    end = time.monotonic() + 60
    took = []
    while not tally.health.faults and time.monotonic() < end:
        began = time.monotonic()
        tally.decision("m@1", {"n": 0})
        took.append((time.monotonic() - began) * 1000)
        tally.poll()
        time.sleep(0.01)
    assert sorted(took)[len(took) // 2] < DECISION_MS_MAX
    assert not tally.health.key_ok and tally.health.dropped == 0
    (name,) = tally.health.faults
    assert name in ("key:no-chip", "key:chip-lost")
    chip.faults.unplugged = False
    chip.power(on=True)
    assert tally.flush() and tally.health.key_ok
    # The checkpoint follows, and covers everything.
    assert not tally._ledger.log.unsealed and not tally._ledger.log.pending
    tally.close()


def test_a_chip_that_takes_longer_than_it_may(tmp_path: Path) -> None:
    chip = our_chip(time_scale=1.0)
    chip.faults.slow = 2
    config = held(Fleet(tmp_path / "fleet"), key_on(chip), "atecc608:bus=1")
    tally = Recorder.open(config, signer=key_on(chip), background=False)
    tally.decision("m@1", {"n": 0}, urgent=True)
    assert tally.health.faults == {} and not tally._ledger.log.pending
    tally.close()


def test_no_key_at_all_is_a_clear_error(tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip")
    key = Signer.from_uri(uri)
    config = held(Fleet(tmp_path / "fleet"), key, uri)
    key.close()
    for wrong, reason in (
        (uri + ";address=0x61", "no-chip"),
        (uri + ";slot=1", "no-key"),
        (uri + ";slot=9", "wrong-slot"),
        ("atecc608:bus=9", "no-bus"),
        (uri + "x", "no-chip"),
    ):
        with pytest.raises(KeyDriverError) as raised:
            Recorder.open(config | {"key": wrong})
        assert raised.value.reason == reason
    Recorder.open(config).close()


@pytest.mark.parametrize("bits", [64, 32])
def test_micropython_records_with_a_chip(
    tmp_path: Path, device_library: Path, bits: int, request: pytest.FixtureRequest
) -> None:
    interpreter: MicroPython = request.getfixturevalue(f"micropython{bits}")
    chip = our_chip(time_scale=1.0)
    config = held(Fleet(tmp_path / "fleet"), key_on(chip), "", checkpoint_s=5)
    del config["credential"]
    config["checkpoint_records"] = 64
    (tmp_path / "record.py").write_text(SCRIPT)
    (tmp_path / "lib").symlink_to(device_library)
    tap = Tap(chip)
    with serving(tap) as port:  # type: ignore[arg-type]  # it passes everything on
        config["key"] = f"atecc608:tcp=127.0.0.1:{port}"
        (tmp_path / "tallystick.json").write_text(json.dumps(config))
        done = interpreter.run(
            "record.py",
            "tallystick.json",
            heap=HEAP_32 if bits == 32 else None,
            path=[Path("lib")],
            cwd=tmp_path,
        )
    assert done.returncode == 0, done.stderr
    free, records, dropped, checkpoints, faults = done.stdout.split()
    print(f"{free} bytes free of {HEAP_32} in {bits} bits")
    assert int(records) >= 2002 and (int(dropped), faults) == (0, "{}")
    signatures = [packet for packet in tap.packets() if packet[1] == SIGN]
    # One may cover all where the emulated chip gets little of a busy machine.
    assert len(signatures) == int(checkpoints) >= 1


def test_micropython_checks_receipts_in_the_chip(
    mosquitto: Mosquitto, tmp_path: Path, micropython64: MicroPython, device_library: Path
) -> None:
    fleet = Fleet(tmp_path / "fleet", alg=ES256)  # the gateway's key is P-256 too
    tap = Tap(our_chip(time_scale=0.2))
    uplink = f"mqtt://{mosquitto.host}:{mosquitto.port}"
    config = held(fleet, key_on(tap), "", uplink=uplink, checkpoint_records=16)
    tap.packets()
    path = tmp_path / "tallystick.json"
    station = Station(fleet, read_credential(config))
    with serving(tap) as port, Gateway(mosquitto.port, station) as gateway:  # type: ignore[arg-type]  # as above
        config["key"] = f"atecc608:tcp=127.0.0.1:{port}"
        path.write_text(json.dumps(config))
        done = run_micropython(micropython64, device_library, path, 100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(100))
    commands = [packet[1] for packet in tap.packets()]
    assert commands.count(VERIFY) >= 1
    assert commands.count(SIGN) >= 2
