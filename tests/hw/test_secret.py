"""PINs and passphrases from files, systemd's credentials and the environment; never in an error."""

import os
from pathlib import Path

import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.secret import SECRET_BYTES_MAX, from_environment, read_secret, service_secrets

CANARY = "canary-4711"


def private(path: Path, data: bytes = CANARY.encode(), mode: int = 0o600) -> str:
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TALLY_PIN", "TALLY_KEY_PIN", "TALLY_NOTE_KEY_PIN", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("data", [CANARY, CANARY + "\n", "a passphrase with spaces \n", "ключ"])
def test_one_line_is_the_secret(tmp_path: Path, data: str) -> None:
    assert read_secret(private(tmp_path / "pin", data.encode())) == data.rstrip("\n")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(KeyDriverError, match="chmod 600") as raised:
        read_secret(private(tmp_path / "pin", mode=mode))
    assert raised.value.reason == "open-pin-file"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad-pin"),
        (b"\n", "bad-pin"),
        (CANARY.encode() + b"\nsecond\n", "bad-pin"),
        (CANARY.encode() + b"\0", "bad-pin"),
        (CANARY.encode() + b"\r\n", "bad-pin"),
        (CANARY.encode() + b"\xff", "bad-pin"),
        (CANARY.encode() + b"x" * SECRET_BYTES_MAX, "bad-pin"),
    ],
)
def test_what_is_no_single_line_is_refused_and_not_shown(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    with pytest.raises(KeyDriverError) as raised:
        read_secret(private(tmp_path / "pin", data))
    assert raised.value.reason == reason
    assert "canary" not in str(raised.value) and raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_missing_file_and_a_folder_are_said(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        tmp_path.chmod(0o700)
        with pytest.raises(KeyDriverError) as raised:
            read_secret(str(path))
        assert raised.value.reason == "no-pin" and str(path) in raised.value.message


def test_a_pipe_that_nobody_writes_to_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pin", 0o600)
    with pytest.raises(KeyDriverError) as raised:
        read_secret(str(tmp_path / "pin"))
    assert raised.value.reason == "bad-pin"


def test_the_nearest_place_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = private(tmp_path / "file", b"of-the-file")
    folder = tmp_path / "credentials"
    folder.mkdir()
    asked = service_secrets("note_key")
    assert asked("x") is None
    monkeypatch.setenv("TALLY_PIN", "of-all")
    assert asked("x") == "of-all"
    monkeypatch.setenv("TALLY_NOTE_KEY_PIN", "of-the-key")
    assert asked("x") == "of-the-key"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    assert asked("x") == "of-the-key"  # systemd has none for it
    # Under systemd the access list's mask shows as the group's bits.
    private(folder / "note_key_pin", b"of-systemd\n", 0o440)
    assert asked("x") == "of-systemd"
    assert service_secrets("note_key", file)("x") == "of-the-file"
    # Another key's is not taken for it.
    assert service_secrets("key")("x") == "of-all"


def test_a_bad_environment_is_refused_without_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("", CANARY + "\n", CANARY * 50):
        monkeypatch.setenv("TALLY_PIN", text)
        with pytest.raises(KeyDriverError) as raised:
            from_environment()
        assert raised.value.reason == "bad-pin" and "canary" not in str(raised.value)
