"""What an identity says of keys and heads (docs/protocol.md, section 5.2)."""

from _identity import enrol
from _made import EPOCH, ISS, Key
from tallystick.evidence import keychange
from tallystick.evidence.checkpoint import Checkpoint
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


def revoked(key: Key, reason: int) -> Identity:
    return identity_of(key, keychange.Revocation(key.id, key.id, HEAD, reason, 1))


def test_status_by_retirement() -> None:
    device = Key("device")
    identity = revoked(device, keychange.RETIRED)
    public = device.public_key()
    assert identity.status == "retired"
    assert identity.status_at(head(6), public) == "retired"
    assert identity.status_at(head(7), public) == "retired"
    assert identity.status_at(head(7, b"x" * 32), public) == "suspect"
    assert identity.status_at(head(8), public) == "suspect"
    assert identity.status_at(head(6, epoch=b"epoch-02"), public) == "suspect"


def test_status_by_loss() -> None:
    device = Key("device")
    identity = revoked(device, keychange.LOST)
    assert identity.status == "lost"
    assert identity.status_at(head(7), device.public_key()) == "lost"
    assert identity.status_at(head(8), device.public_key()) == "suspect"


def test_status_by_compromise() -> None:
    device = Key("device")
    first = keychange.Revocation(device.id, device.id, HEAD, keychange.COMPROMISED, 1)
    last = identity_of(device, first).last_change
    better = keychange.Revocation(device.id, device.id, HEAD, keychange.RETIRED, 2, last)
    identity = identity_of(device, first, better)
    assert identity.status == "compromised"
    assert identity.status_at(head(6), device.public_key()) == "compromised"
