"""Halves that are accepted (docs/protocol.md, section 4.2)."""

from _half import INDEX, claim_of, half_of
from _made import EPOCH, ISS, Key, refused, steps_of
from tallystick.evidence import half, ids
from tallystick.evidence.credential import Keyring

HEAP_32_KIB = 80
HEAP_32_BECAUSE = "the code that verifies a half takes 55 KiB of it, Ed25519 7 KiB more"


def test_verified_in_steps() -> None:
    key, root = Key("device"), Key("root")
    got = half.parse(half_of(key, root).encode())
    work = half.verifier(got, Keyring({ISS: root.public_key()}))
    assert steps_of(work) > 1
    verified = work.result
    assert verified.claim == claim_of(key.id) and verified.device == key.id
    assert (verified.epoch, verified.index, verified.status) == (EPOCH, INDEX, "active")
    wanted = ids.claim_reference(key.id, EPOCH, INDEX, verified.leaf)
    assert verified.reference == wanted and verified.enrolment.id == key.id
    assert verified.checkpoint.key == key.public_key()


def test_a_known_credential_is_named_by_its_digest() -> None:
    key, root = Key("device"), Key("root")
    keyring = Keyring({ISS: root.public_key()})
    first = half.verify_half(half_of(key, root), keyring)
    named = half_of(key, root, credential=first.identity.digest)
    assert half.verify_half(named, keyring).reference == first.reference
    stranger = Keyring({ISS: root.public_key()})
    assert refused(half.verify_half, named, stranger) == "unknown-device"
