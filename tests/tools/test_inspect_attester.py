"""`tally inspect` on the files that go between a TPM's machine and the fleet root's."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from support import swtpm
from support.swtpm import AK, KEY
from tallystick.evidence import cbor
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.keys import device_text
from tallystick.tools import attester_files, attesters, ek_certificate
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.inspect import inspect
from tallystick.tools.swtpm import Swtpm


@pytest.fixture(scope="module")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swtpm]:
    yield from swtpm.running(tmp_path_factory.mktemp("tpm"))


def inspected(path: Path) -> dict[str, Any]:
    done = CliRunner().invoke(inspect, [str(path), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    assert CliRunner().invoke(inspect, [str(path)], catch_exceptions=False).exit_code == 0
    return found


def test_request_challenge_and_answer(tmp_path: Path, tpm: Swtpm) -> None:
    fleet = Fleet.init(tmp_path / "acme", "acme")
    where = swtpm.uri(tpm, KEY, f";ak=0x{AK:08x}")
    asked, _ = attesters.identify(where)
    file = tmp_path / "robot-7"

    file.write_bytes(asked.encode())
    found = inspected(file)
    assert found["object"] == "attester request" and found["bytes"] == len(asked.encode())
    assert found["fields"]["manufacturer"] == asked.manufacturer
    assert "swtpm-localca" in found["fields"]["certificate"]["issuer"]
    assert any("restricted" in line for line in found["verified"])
    assert any("challenge" in line for line in found["not_verified"])
    assert any("genuine" in line for line in found["not_verified"])

    set_to = attesters.set_challenge(fleet, "robot-7", asked)
    file.write_bytes(set_to)
    found = inspected(file)
    assert found["object"] == "attester challenge" and len(found["verified"]) == 1
    assert any("only that TPM" in line for line in found["not_verified"])

    secret = attesters.answer_by(where, *attesters.parse_challenge(set_to))
    file.write_bytes(attesters.answer(secret))
    found = inspected(file)
    assert found["object"] == "attester answer"
    assert secret.hex() not in json.dumps(found) and "not shown" in found["fields"]["secret"]
    assert any("compares it" in line for line in found["not_verified"])

    # The key that is shown is the one that is vouched for.
    shown = attester_files.described(asked.encode())["fields"]["key"]["thumbprint"]
    attesters.take_answer(fleet, "robot-7", secret)
    vouched = attesters.vouch(fleet, "robot-7", asked, None, 30)
    assert shown == device_text(vouched.key.thumbprint())


def test_what_is_none_of_them_is_refused(tmp_path: Path, tpm: Swtpm) -> None:
    asked, _ = attesters.identify(swtpm.uri(tpm, KEY, f";ak=0x{AK:08x}"))
    data = asked.encode()
    wrong = [
        [attesters.REQUEST],
        [attesters.REQUEST, b"", asked.ek, None, "SW"],
        # An endorsement key decrypts, and is no attestation key.
        [attesters.REQUEST, asked.ek, asked.ek, None, "SW"],
        [attesters.REQUEST, asked.ak, asked.ek, b"no certificate", "SW"],
        [attesters.CHALLENGE, b"blob"],
        [attesters.ANSWER, 7],
        [attesters.PENDING, b"", b"", 7],
    ]
    for values in wrong:
        assert attester_files.is_one(cbor.encode(values))
        with pytest.raises(TallyError):
            attester_files.described(cbor.encode(values))
    for at in range(len(data)):
        for bit in (0, 7):
            flipped = bytearray(data)
            flipped[at] ^= 1 << bit
            try:
                attester_files.described(bytes(flipped))
            except TallyError:
                continue
    file = tmp_path / "cut"
    file.write_bytes(data[:-1])
    done = CliRunner().invoke(inspect, [str(file)])
    assert isinstance(done.exception, TallyError)
    # Of a version that there is none of: the library has an error of its own for it.
    der = bytearray(asked.certificate or b"")
    der[der.index(b"\xa0\x03\x02\x01\x02") + 4] = 3
    with pytest.raises(Unverified, match="cannot be read"):
        ek_certificate.check(bytes(der), b"", [], 0)
