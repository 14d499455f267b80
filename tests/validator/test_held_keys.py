"""A validator whose receipt key and note key are on a PKCS#11 token, which is pulled meanwhile."""

import time
from pathlib import Path
from typing import Any

import pytest

from support.devices import Fleet
from support.tokens import PIN, pin
from support.validating import TOKEN, Clock, Gateway, compress, write_config
from tallystick.evidence import batchanswer, enrolment, receipt
from tallystick.evidence.cbor import encode
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import _pkcs11_login as logins
from tallystick.hw import _pkcs11_module as modules
from tallystick.hw.signer import Signer
from tallystick.tools.softhsm import SoftHsm
from tallystick.validator import check as checks
from tallystick.validator import config as configs
from tallystick.validator import sequencer as module
from tallystick.validator.ownkeys import own_keys
from tallystick.validator.problem import Problem
from tallystick.validator.sequencer import Sequencer

ACME = Fleet("acme")
WAIT_S = 60


@pytest.fixture
def folder(tmp_path: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A validator's folder with both keys on a token and their PIN in a file."""
    for name in ("TALLY_PIN", "TALLY_KEY_PIN", "TALLY_NOTE_KEY_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    softhsm.make("notary", PIN)
    made = tmp_path / "validator"
    write_config(made, [ACME])
    signer = Signer.create(softhsm.uri("notary", "receipts"), ES256, pin)
    credential = Fleet("notary").enrol(signer, enrolment.SUBJECT_VALIDATOR)  # type: ignore[arg-type]
    signer.close()
    Signer.create(softhsm.uri("notary", "notes"), EDDSA, pin).close()
    (made / "credential.cbor").write_bytes(encode(credential))
    (made / "validator.pin").write_text(PIN)
    (made / "validator.pin").chmod(0o600)
    for name in ("key", "note.key"):
        (made / name).unlink()
    return made


def config(folder: Path, token: SoftHsm, **settings: Any) -> configs.Config:
    held = {
        "key": f'"{token.uri("notary", "receipts")}"',
        "note_key": f'"{token.uri("notary", "notes")}"',
        "key_pin_file": '"validator.pin"',
        "note_key_pin_file": '"validator.pin"',
    }
    (folder / "key").touch()  # write_config makes what is missing
    path = write_config(folder, [ACME], **(held | settings))
    return configs.load(path)


def test_receipts_and_checkpoints_by_a_token_that_is_pulled_and_put_back(
    folder: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "RECONNECT_S_MIN", 0.05)
    found = config(folder, softhsm)
    assert PIN not in repr(found)
    validator = Sequencer(found, Clock())
    keys = validator.keys
    assert (keys.signer.custody, keys.notes.custody) == ("pkcs11", "pkcs11")
    robot = ACME.device("robot-of-held-keys")
    robot.record(3)
    gateway = Gateway(ACME)
    gateway.take(*robot.segments())
    validator.start()
    try:
        first = compress(gateway.batch(devices=[robot]))
        answer = batchanswer.parse(validator.submit(first).result(WAIT_S))
        assert answer.size == 1 and not answer.refused and answer.receipts
        softhsm.pull()
        robot.record(3)
        gateway.take(robot.segments()[-1])
        second = compress(gateway.batch(first=1))
        # The sender keeps it and sends it again: nothing that it sent is at fault.
        with pytest.raises(Problem) as raised:
            validator.submit(second).result(WAIT_S)
        assert (raised.value.reason, raised.value.status) == ("not-ready", 503)
        assert "no-token" in (validator.failure or "") and PIN not in (validator.failure or "")
        softhsm.put_back()
        answer = batchanswer.parse(until_taken(validator, second))
        assert answer.size == 2 and not answer.refused and answer.receipts
    finally:
        validator.stop()
    assert not modules._modules
    head = validator.log.head
    assert head is not None and head.size == validator.log.tree.size
    for _, data in answer.receipts:
        receipt.parse(data)


def until_taken(validator: Sequencer, data: bytes) -> bytes:
    end_s = time.monotonic() + WAIT_S
    while True:
        try:
            return validator.submit(data).result(WAIT_S)
        except Problem:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.1)


def test_what_was_logged_while_the_note_key_was_away_is_published_when_it_is_back(
    folder: Path, softhsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    validator = Sequencer(config(folder, softhsm), Clock())
    robot = ACME.device("robot-of-held-keys-2")
    robot.record(3)
    gateway = Gateway(ACME)
    gateway.take(*robot.segments())
    notes, away = validator.keys.notes, [True]
    sign = notes.sign

    def signs(message: bytes) -> bytes:
        if away:
            raise KeyDriverError("no-token", "pulled")
        return sign(message)

    monkeypatch.setattr(notes, "sign", signs)
    validator.start()
    try:
        with pytest.raises(Problem):
            validator.submit(compress(gateway.batch(devices=[robot]))).result(WAIT_S)
        log = validator.log
        assert log.head is not None and log.head.size < log.tree.size
        away.clear()
        end_s = time.monotonic() + WAIT_S
        while log.head.size < log.tree.size and time.monotonic() < end_s:
            time.sleep(0.02)
        assert log.head.size == log.tree.size and validator.failure is None
    finally:
        validator.stop()


def test_a_key_that_is_back_is_seen_without_another_batch(folder: Path, softhsm: SoftHsm) -> None:
    # Nobody sends one to a validator whose /readyz says no.
    validator = Sequencer(config(folder, softhsm), Clock())
    validator._key_failed("batch", KeyDriverError("no-token", "pulled for a moment"))
    validator.start()
    try:
        end_s = time.monotonic() + WAIT_S
        while validator._key_away and time.monotonic() < end_s:
            time.sleep(0.02)
        assert (validator._key_away, validator.failure) == (False, None)
    finally:
        validator.stop()


def test_check_says_which_key_does_not_open_and_why(folder: Path, softhsm: SoftHsm) -> None:
    def keys(**settings: Any) -> tuple[bool, str]:
        [found] = [
            one for one in checks.check(config(folder, softhsm, **settings)) if one.name == "keys"
        ]
        assert PIN not in found.found and TOKEN not in found.found
        return found.good, found.found

    assert keys()[0]
    (folder / "wrong.pin").write_text("wrong-one")
    (folder / "wrong.pin").chmod(0o600)
    good, said = keys(key_pin_file='"wrong.pin"')
    assert not good and said.startswith("key: ") and "the PIN is wrong" in said
    good, said = keys(note_key_pin_file='"missing.pin"')
    assert not good and said.startswith("note_key: ") and "missing.pin" in said
    assert not modules._modules  # what did open is closed again


def test_a_note_key_of_p256_is_refused(folder: Path, softhsm: SoftHsm) -> None:
    receipts = f'"{softhsm.uri("notary", "receipts")}"'
    with pytest.raises(Malformed, match="Ed25519"):
        own_keys(config(folder, softhsm, note_key=receipts))
    assert not modules._modules
