"""Halves (docs/protocol.md, section 4.2)."""

from _half import INDEX, claim_of, half_of
from _identity import enrol
from _made import EPOCH, ISS, Key, refused, steps_of
from tallystick.evidence import half, ids
from tallystick.evidence.credential import Keyring

RUNS_ON = ("cpython", "micropython64", "webassembly")
RUNS_ON_BECAUSE = "making and verifying one in a single heap needs 70 KiB on 32 bits"


def test_verified_at_once_in_steps_and_by_digest() -> None:
    key, root = Key("device"), Key("root")
    keyring = Keyring({ISS: root.public_key()})
    got = half.parse(half_of(key, root).encode())
    work = half.verifier(got, keyring)
    assert steps_of(work) > 1
    verified = work.result
    assert verified.claim == claim_of(key.id) and verified.device == key.id
    assert (verified.epoch, verified.index, verified.status) == (EPOCH, INDEX, "active")
    wanted = ids.claim_reference(key.id, EPOCH, INDEX, verified.leaf)
    assert verified.reference == wanted and verified.enrolment.id == key.id
    assert verified.checkpoint.key == key.public_key()
    named = half.parse(half_of(key, root, credential=verified.identity.digest).encode())
    assert half.verify_half(named, keyring).reference == wanted
    stranger = Keyring({ISS: root.public_key()})
    assert refused(half.verify_half, named, stranger) == "unknown-device"
    assert refused(half.verify_half, got, Keyring({})) == "not-enrolled"


def test_what_does_not_hold_together() -> None:
    key, root, other = Key("device"), Key("root"), Key("other")
    keyring = Keyring({ISS: root.public_key()})
    for changed, reason in (
        ({"record": b"\x84\x02\x01dboot\xa0"}, "bad-half"),
        ({"record": claim_of(other.id).encode()}, "not-a-party"),
        ({"salt": bytes(16)}, "bad-inclusion-proof"),
        ({"index": INDEX - 1}, "bad-inclusion-proof"),
        ({"index": 5}, "bad-half"),
        ({"path": [b"x" * 32] * 3}, "bad-inclusion-proof"),
        ({"path": []}, "bad-inclusion-proof"),
        ({"checkpoint": half_of(other, root).checkpoint}, "not-a-party"),
        ({"credential": [enrol(other, root)]}, "wrong-device"),
        ({"credential": [enrol(key, root, subject=1)]}, "not-enrolled"),
        ({"credential": [enrol(key, other)]}, "wrong-key"),
    ):
        made = half_of(key, root, **changed)
        assert refused(half.verify_half, made, Keyring(keyring.roots)) == reason, changed


def test_sizes_and_fields_that_are_refused() -> None:
    key, root = Key("device"), Key("root")
    good = half_of(key, root)
    assert refused(half_of, key, root, salt=b"short") == "bad-value"
    assert refused(half_of, key, root, path=[b"short"]) == "bad-value"
    assert refused(half_of, key, root, path=[bytes(32)] * 64) == "too-large"
    assert refused(half_of, key, root, checkpoint=b"") == "bad-value"
    assert refused(half_of, key, root, credential=b"short") == "bad-value"
    assert refused(half_of, key, root, credential=[]) == "bad-value"
    large = half_of(key, root, credential=good.credential[:1] * 12)
    assert refused(large.encode) == "too-large"
    assert refused(half.parse, good.encode() + bytes(4000)) == "too-large"
