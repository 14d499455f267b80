"""Key changes (docs/protocol.md, section 5.2)."""

from _made import EPOCH, ISS, Key, refused, steps_of
from tallystick.evidence import keychange
from tallystick.evidence.keychange import Replacement, Revocation, Rotation

HEAD = [EPOCH, 7, b"r" * 32]


def rotation(old: Key, new: Key) -> Rotation:
    return keychange.rotate(old, new, ISS, old.id, 0, [], HEAD, 1790000000000)


def parsed(data: bytes) -> Rotation:
    change = keychange.parse(data)
    assert isinstance(change, Rotation)
    return change


def test_rotation_by_both_keys_and_the_root() -> None:
    old, new, root = Key("old"), Key("new"), Key("root")
    got = parsed(rotation(old, new).sign(root, ISS, old.id))
    assert got.head == HEAD and got.key == new.public_key() and got.old == old.id
    work = got.verifier(root.public_key(), old.public_key())
    steps_of(work)
    assert type(work.result) is keychange.VerifiedRotation and work.result == got
    assert work.result.root == root.public_key()
    assert refused(got.verify, root.public_key(), new.public_key()) == "wrong-key"
    assert refused(got.verify, new.public_key(), old.public_key()) == "wrong-key"
    moved = parsed(rotation(old, new).sign(root, ISS, new.id))
    assert refused(moved.verify, root.public_key(), old.public_key()) == "wrong-device"


def test_rotation_without_one_of_them() -> None:
    old, new, root = Key("old"), Key("new"), Key("root")
    good = rotation(old, new)
    for place, reason in ((8, "no-possession"), (9, "bad-signature")):
        fields = [good.id, good.old, good.key, 0, [], HEAD, good.time_ms, None]
        fields += [good.possession, good.old_signature]
        fields[place] = bytes(64)
        got = parsed(Rotation(*fields).sign(root, ISS, old.id))  # type: ignore[arg-type]  # as a list
        assert refused(got.verify, root.public_key(), old.public_key()) == reason


def test_replacement_and_revocation() -> None:
    device, dead, root = Key("device"), Key("dead"), Key("root")
    for made in (
        Replacement(device.id, dead.id, HEAD, 1),
        Replacement(device.id, dead.id, None, 1, b"p" * 32),
        Revocation(device.id, device.id, HEAD, keychange.COMPROMISED, 1),
        Revocation(device.id, device.id, None, keychange.LOST, 1, b"p" * 32),
    ):
        got = keychange.parse(made.sign(root, ISS, device.id))
        assert not isinstance(got, Rotation) and got.values() == made.values()
        assert got.verify(root.public_key()).root == root.public_key()
        assert refused(got.verify, dead.public_key()) == "wrong-key"
        moved = keychange.parse(made.sign(root, ISS, dead.id))
        assert not isinstance(moved, Rotation)
        assert refused(moved.verify, root.public_key()) == "wrong-device"


def test_fields_that_are_refused() -> None:
    device = b"d" * 32
    assert refused(Replacement, device, device, None, 1) == "bad-value"
    assert refused(Replacement, device, b"x", None, 1) == "bad-value"
    assert refused(Revocation, device, device, None, 3, 1) == "bad-value"
    assert refused(Revocation, device, device, [EPOCH, 7], 0, 1) == "bad-value"
    assert refused(Revocation, device, device, None, 0, 1, b"short") == "bad-value"
    assert refused(Revocation, device, device, [b"short", 7, device], 0, 1) == "bad-value"
    assert refused(Revocation, device, device, 5, 0, 1) == "bad-type"
