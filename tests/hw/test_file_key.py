"""Software keys on CPython: both algorithms, passphrases, file modes, silence about secrets."""

import os
import traceback
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from tallystick.evidence import cbor
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import _software, file_key
from tallystick.hw.signer import Signer

PASSPHRASE = "canary-passphrase-7f3a"


def uri(folder: Path, name: str = "device.key") -> str:
    return f"file:{folder / name}"


def reason(raised: pytest.ExceptionInfo[KeyDriverError]) -> str:
    return raised.value.reason


@pytest.mark.parametrize("alg", [EDDSA, ES256])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_both_algorithms_sign_and_open_again(
    tmp_path: Path, alg: int, passphrase: str | None
) -> None:
    made = Signer.create(uri(tmp_path), alg, lambda _: passphrase)
    opened = Signer.from_uri(uri(tmp_path), lambda _: passphrase)
    assert opened.public_key() == made.public_key()
    assert opened.alg == alg and opened.custody in CUSTODIES
    for n in range(20):
        signature = opened.sign(b"message %d" % n)
        made.public_key().verify(signature, b"message %d" % n)  # and s is low, or it is refused
        with pytest.raises(Unverified):
            made.public_key().verify(signature, b"other")


def test_a_signature_that_failed_can_be_begun_again(tmp_path: Path) -> None:
    key = Signer.create(uri(tmp_path))
    whole, key._secret = key._secret, None  # type: ignore[attr-defined]
    key.begin(b"message")
    with pytest.raises(TypeError):
        key.poll()
    key._secret = whole  # type: ignore[attr-defined]
    key.begin(b"message")
    assert key.poll()
    key.public_key().verify(key.signature(), b"message")


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        Signer.create(uri(tmp_path))
    finally:
        os.umask(old)
    path = tmp_path / "device.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.iterdir()) == ["device.key"]
    for mode in (0o640, 0o604, 0o644, 0o660):
        path.chmod(mode)
        with pytest.raises(KeyDriverError) as raised:
            Signer.from_uri(uri(tmp_path))
        assert reason(raised) == "open-key-file"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    made = Signer.create(uri(tmp_path))
    with pytest.raises(KeyDriverError) as raised:
        Signer.create(uri(tmp_path))
    assert reason(raised) == "key-exists"
    # Nor by another process that was faster than our look.
    with pytest.raises(FileExistsError):
        _software.write_private(
            str(tmp_path / "x.part"), str(tmp_path / "device.key"), b"another key"
        )
    assert Signer.from_uri(uri(tmp_path)).public_key() == made.public_key()


def test_a_left_over_part_is_replaced_and_a_link_is_not_followed(tmp_path: Path) -> None:
    part = tmp_path / "device.key.part"
    part.write_bytes(b"cut by a power failure")
    part.chmod(0o644)
    Signer.create(uri(tmp_path))
    assert not part.exists()
    Signer.from_uri(uri(tmp_path))  # refuses what others may read
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "other.key.part").symlink_to(victim)
    with pytest.raises(KeyDriverError) as raised:
        Signer.create(uri(tmp_path, "other.key"))
    assert reason(raised) == "no-key"
    assert victim.read_text() == "mine"


def test_a_passphrase_is_needed_and_must_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TALLY_PIN", raising=False)
    Signer.create(uri(tmp_path), EDDSA, lambda _: PASSPHRASE)
    for secrets, expected in (
        (None, "no-passphrase"),
        (lambda _: None, "no-passphrase"),
        (lambda _: "", "no-passphrase"),
        (lambda _: PASSPHRASE + "x", "wrong-passphrase"),
    ):
        with pytest.raises(KeyDriverError) as raised:
            Signer.from_uri(uri(tmp_path), secrets)
        assert reason(raised) == expected
    monkeypatch.setenv("TALLY_PIN", PASSPHRASE)
    Signer.from_uri(uri(tmp_path))  # as a robot that starts alone
    monkeypatch.delenv("TALLY_PIN")
    asked: list[str] = []

    def ask(what: str) -> str:
        asked.append(what)
        return PASSPHRASE

    Signer.from_uri(uri(tmp_path), ask)
    assert asked == [str(tmp_path / "device.key")]


def test_a_foreign_file_cannot_demand_all_memory(tmp_path: Path) -> None:
    Signer.create(uri(tmp_path), EDDSA, lambda _: PASSPHRASE)
    path = tmp_path / "device.key"
    fields = cbor.decode(path.read_bytes())
    for at, value in (
        (0, b"short"),
        (1, 10**6),
        (1, 0),
        (2, 2**40),
        (2, 1),
        (3, b""),
        (3, b"x" * 72),
    ):
        sealed = list(fields[3])
        sealed[at] = value
        body = [*fields[:3], sealed]
        path.write_bytes(cbor.encode([*body, file_key._checksum(body)]))
        with pytest.raises(KeyDriverError) as raised:
            Signer.from_uri(uri(tmp_path), lambda _: PASSPHRASE)
        assert reason(raised) == ("wrong-passphrase" if at == 3 else "corrupt-key")


def rewritten(path: Path, **changes: object) -> None:
    fields = cbor.decode(path.read_bytes())
    names = ["format", "alg", "raw", "secret"]
    body = [changes.get(name, field) for name, field in zip(names, fields, strict=False)]
    path.write_bytes(cbor.encode([*body, file_key._checksum(body)]))


def test_a_public_key_that_is_not_the_secrets_is_refused(tmp_path: Path) -> None:
    # Signing one message under two public keys would give the secret away.
    other = Signer.create(uri(tmp_path, "other.key")).public_key().raw
    Signer.create(uri(tmp_path))
    path = tmp_path / "device.key"
    good = path.read_bytes()
    for changes in (
        {"raw": other},
        {"raw": b""},
        {"alg": ES256},
        {"alg": -35},
        {"alg": None},
        {"secret": bytes(31)},
        {"secret": [1]},
        {"secret": None},
        {"format": "tallystick-key/2"},
    ):
        path.write_bytes(good)
        rewritten(path, **changes)
        with pytest.raises(KeyDriverError) as raised:
            Signer.from_uri(uri(tmp_path), lambda _: PASSPHRASE)
        assert reason(raised) == "corrupt-key"


def test_a_p256_scalar_out_of_range_is_refused(tmp_path: Path) -> None:
    Signer.create(uri(tmp_path), ES256)
    path = tmp_path / "device.key"
    for scalar in (bytes(32), b"\xff" * 32):
        rewritten(path, secret=scalar)
        with pytest.raises(KeyDriverError) as raised:
            Signer.from_uri(uri(tmp_path))
        assert reason(raised) == "corrupt-key"


def test_an_unknown_algorithm_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(KeyDriverError) as raised:
        Signer.create(uri(tmp_path), -35)
    assert reason(raised) == "no-such-key"


def test_secrets_are_in_no_error_and_no_repr(tmp_path: Path) -> None:
    key = Signer.create(uri(tmp_path), EDDSA)
    secret = cbor.decode((tmp_path / "device.key").read_bytes())[3]
    sealed = uri(tmp_path, "sealed.key")
    Signer.create(sealed, EDDSA, lambda _: PASSPHRASE)
    assert PASSPHRASE.encode() not in (tmp_path / "sealed.key").read_bytes()
    said = [repr(key), str(key)]
    (tmp_path / "device.key").write_bytes((tmp_path / "device.key").read_bytes()[:-1])
    for address, secrets in ((uri(tmp_path), None), (sealed, lambda _: PASSPHRASE + "x")):
        try:
            Signer.from_uri(address, secrets)
        except KeyDriverError as error:
            said.extend([repr(error), "".join(traceback.format_exception(error))])
    assert len(said) == 6
    for text in said:
        for form in (secret.hex(), repr(secret)[2:-1], PASSPHRASE):
            assert form not in text.replace("PASSPHRASE", "")


def test_another_files_error_is_a_driver_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir(mode=0o700)
    with pytest.raises(KeyDriverError) as raised:
        Signer.from_uri(uri(tmp_path, "folder"))
    assert reason(raised) == "no-key"
    with pytest.raises(KeyDriverError) as raised:
        Signer.create(uri(tmp_path, "missing/device.key"))
    assert reason(raised) == "no-key"


@pytest.mark.parametrize("size", [0, 1, _software.LONG_BYTES_MIN - 1, _software.LONG_BYTES_MIN])
def test_a_long_message_gets_the_same_ed25519_signature(size: int) -> None:
    secret, message = bytes(range(32)), bytes(size)
    expected = SigningKey(secret).sign(message).signature
    assert _software.signing(EDDSA, secret)(message) == expected
