"""What the recorder writes by itself, to save a device's heap, is what the wire objects write."""

from pathlib import Path

from support.station import FLEET, Fleet, Station, read_credential
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.hello import Hello
from tallystick.evidence.keys import device_text
from tallystick.evidence.statement import prepare
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder.identity import device_id, forms
from tallystick.recorder.memory_uplink import MemoryUplink

PAYLOADS = (b"p", b"q" * 23, b"r" * 24, b"s" * 200, b"t" * 300)


def test_forms_are_those_of_statements(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    for alg in (-7, -8):
        config = fleet.device(f"d{alg}", alg=alg)
        key = Signer.from_uri(config["key"]).public_key()
        device = device_id(read_credential(config), FLEET, key)
        assert device == key.thumbprint()
        made = forms(key, FLEET, device_text(device))
        for payload in PAYLOADS:
            unsigned = prepare(key, FLEET, device_text(device), payload)
            assert made.to_be_signed(payload) == unsigned.to_be_signed
            assert made.checkpoint(payload, b"s" * 64) == unsigned.finish(b"s" * 64)


def test_payload_and_hello(tmp_path: Path) -> None:
    config = Fleet(tmp_path).device("one")
    link = MemoryUplink()
    tally = Recorder.open(config, uplink=link, background=False)
    log = tally._ledger.log
    log.custody = (1, b"c" * 32, b"", 1)
    log.seal(77, (1000, 5))
    whole = Checkpoint(
        tally.epoch,
        log.tree.size,
        log.tree.root(),
        0,
        1,
        77,
        (1000, 5),
        None,
        b"c" * 32,
    )
    assert log._next[1] == whole.payload()
    for _ in range(3):
        tally.poll()
    credential = read_credential(config)
    hello = Hello(tally.device, tally.epoch, 0, log.sealed_size, credential)
    assert hello.encode() in link.up
    assert Station(Fleet(tmp_path / "other"), credential).device == tally.device
    tally.close()
