"""Signers and software keys in files."""

import os
import sys

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.hw.file_key import create_signer
from tallystick.hw.signer import Signer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MICROPYTHON = sys.implementation.name == "micropython"


def fresh(name: str) -> str:
    for ending in ("", ".part"):
        try:
            os.remove(name + ending)
        except OSError:
            pass
    return "file:" + name


def refused(function: "Any", *arguments: "Any") -> str:
    try:
        function(*arguments)
    except KeyDriverError as error:
        return error.reason
    raise AssertionError("accepted: %r" % (arguments,))


def test_a_key_is_made_once_and_opened_again() -> None:
    uri = fresh("test_signer_made.key")
    made = Signer.create(uri)
    opened = Signer.from_uri(uri)
    assert opened.public_key() == made.public_key()
    assert opened.alg == -8 and opened.custody == "software" and opened.counter() is None
    signature = opened.sign(b"message")
    made.public_key().verify(signature, b"message")
    assert signature == made.sign(b"message")
    assert refused(Signer.create, uri) == "key-exists"
    opened.close()
    fresh("test_signer_made.key")


def test_a_signature_comes_in_phases() -> None:
    key = create_signer(fresh("test_signer_phases.key")[5:])
    assert refused(key.poll) == "not-signing"
    assert refused(key.signature) == "not-ready"
    key.steps_a_poll = 1
    key.begin(b"message")
    assert refused(key.begin, b"other") == "busy"
    assert refused(key.signature) == "not-ready"
    polls = 1
    while not key.poll():
        polls += 1
    assert polls > 100 if MICROPYTHON else polls == 1
    assert key.poll()
    signature = key.signature()
    key.public_key().verify(signature, b"message")
    assert refused(key.signature) == "not-ready"
    try:
        key.public_key().verify(signature, b"other")
    except Unverified:
        pass
    else:
        raise AssertionError("accepted another message")
    fresh("test_signer_phases.key")


def test_a_damaged_file_is_refused() -> None:
    uri = fresh("test_signer_damaged.key")
    Signer.create(uri)
    with open(uri[5:], "rb") as file:
        good = file.read()
    for bit in range(0, 8 * len(good), 61):
        wrong = bytearray(good)
        wrong[bit >> 3] ^= 1 << (bit & 7)
        with open(uri[5:], "wb") as file:
            file.write(wrong)
        assert refused(Signer.from_uri, uri) == "corrupt-key", bit
    for data in (good[:-1], good + b"\x00", b"", bytes(5000)):
        with open(uri[5:], "wb") as file:
            file.write(data)
        assert refused(Signer.from_uri, uri) == "corrupt-key"
    fresh("test_signer_damaged.key")


def test_what_names_no_key_is_refused() -> None:
    for uri in ("", "file", "file:", "/etc/key", "vault:secret", "FILE:x", ":x"):
        assert refused(Signer.from_uri, uri) == "bad-key-uri", uri
    assert refused(Signer.create, "x") == "bad-key-uri"
    assert refused(Signer.create, "file:") == "bad-key-uri"
    assert refused(Signer.from_uri, "file:nowhere/no.key") == "no-key"
    assert refused(Signer.create, "file:nowhere/no.key") == "no-key"


def test_a_signer_without_a_driver_says_so() -> None:
    bare = Signer()
    assert refused(bare.public_key) == "no-key"
    assert refused(bare.sign, b"message") == "cannot-sign"
    assert refused(bare.poll) == "not-signing"
    assert refused(bare.signature) == "not-ready"
    assert bare.counter() is None


def test_the_secret_does_not_show() -> None:
    uri = fresh("test_signer_secret.key")
    key = Signer.create(uri)
    with open(uri[5:], "rb") as file:
        secret = file.read()[-41:-9]
    assert len(secret) == 32
    for text in (repr(key), str(key), repr(key.public_key())):
        assert repr(secret)[2:10] not in text
    fresh("test_signer_secret.key")
