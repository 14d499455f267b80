"""Halves that do not hold together (docs/protocol.md, section 4.2)."""

from _half import INDEX, claim_of, half_of
from _identity import enrol
from _made import ISS, Key, refused
from tallystick.evidence import half
from tallystick.evidence.credential import Keyring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEAP_32_KIB = 80
HEAP_32_BECAUSE = "the code that verifies a half takes 55 KiB of it, Ed25519 7 KiB more"


def reason_of(**changed: "Any") -> str:
    key, root = Key("device"), Key("root")
    made = half_of(key, root, **changed)
    return refused(half.verify_half, made, Keyring({ISS: root.public_key()}))


def test_record_and_path() -> None:
    assert reason_of(record=b"\x84\x02\x01dboot\xa0") == "bad-half"
    assert reason_of(record=claim_of(b"o" * 32).encode()) == "not-a-party"
    assert reason_of(salt=bytes(16)) == "bad-inclusion-proof"
    assert reason_of(index=INDEX - 1) == "bad-inclusion-proof"
    assert reason_of(index=INDEX + 1) == "bad-half"
    assert reason_of(path=[b"x" * 32] * 2) == "bad-inclusion-proof"
    assert reason_of(path=[]) == "bad-inclusion-proof"


def test_signers() -> None:
    other, root = Key("other"), Key("root")
    assert reason_of(checkpoint=half_of(other, root, credential=b"c" * 32).checkpoint) == (
        "not-a-party"
    )
    assert reason_of(credential=[enrol(other, root)]) == "wrong-device"


def test_enrolments() -> None:
    key, other, root = Key("device"), Key("other"), Key("root")
    assert reason_of(credential=[enrol(key, root, subject=1)]) == "not-enrolled"
    assert reason_of(credential=[enrol(key, other)]) == "wrong-key"
    assert refused(half.verify_half, half_of(key, root), Keyring({})) == "not-enrolled"
