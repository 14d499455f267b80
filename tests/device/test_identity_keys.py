"""Which keys an identity has (docs/protocol.md, section 5.2)."""

from _identity import enrol
from _made import EPOCH, ISS, Key, refused
from tallystick.evidence import keychange
from tallystick.evidence.checkpoint import Checkpoint, parse
from tallystick.evidence.credential import Credential, Identity, verify_credential

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = b"r" * 32
HEAD = [EPOCH, 7, ROOT]


def identity_of(key: Key, *changes: "Any") -> Identity:
    root = Key("root")
    statements = [enrol(key, root)] + [change.sign(root, ISS, key.id) for change in changes]
    return verify_credential(Credential(statements), {ISS: root.public_key()})


def head(size: int, root: bytes = ROOT, epoch: bytes = EPOCH) -> Checkpoint:
    return Checkpoint(epoch, size, root, 0, 1, 1)


def rotated(device: Key, new: Key, root: Key) -> list[bytes]:
    # Apart, so that a small heap does not hold the objects beside the bytes.
    change = keychange.rotate(device, new, ISS, device.id, 0, [], HEAD, 1)
    return [enrol(device, root), change.sign(root, ISS, device.id)]


def test_status_by_rotation() -> None:
    device, new, root = Key("device"), Key("new"), Key("root")
    roots = {ISS: root.public_key()}
    identity = verify_credential(Credential(rotated(device, new, root)), roots)
    assert identity.status_at(head(7), device.public_key()) == "rotated"
    assert identity.status_at(head(8), device.public_key()) == "suspect"
    assert identity.status_at(head(8), new.public_key()) == "active"
    assert refused(identity.status_at, head(8), Key("other").public_key()) == "wrong-key"


def test_which_key_signed() -> None:
    device, other = Key("device"), Key("other")
    identity = identity_of(device)
    good = parse(head(3).sign(device, ISS, device.id))
    assert identity.own_key_of(good) == identity.key_of(good) == device.public_key()
    for wrong, reason in (
        (head(3).sign(device, "globex", device.id), "wrong-key"),
        (head(3).sign(other, ISS, device.id), "wrong-key"),
        (head(3).sign(device, ISS, other.id), "wrong-device"),
    ):
        assert refused(identity.own_key_of, parse(wrong)) == reason
    # A gateway signs about others.
    assert identity.key_of(parse(head(3).sign(device, ISS, other.id))) == device.public_key()


def test_replaced() -> None:
    device = Key("device")
    identity = identity_of(device, keychange.Replacement(device.id, b"o" * 32, None, 1))
    assert identity.replaces == b"o" * 32 and identity.status == "active"
