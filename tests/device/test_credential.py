"""Credentials and the identities that they prove (docs/protocol.md, sections 3.3 and 5)."""

from _identity import FROM_S, enrol
from _made import EPOCH, ISS, Key, refused
from tallystick.evidence import credential, keychange
from tallystick.evidence.credential import Credential, verify_credential

HEAD = [EPOCH, 7, b"r" * 32]


def test_enrolled_only() -> None:
    device, root = Key("device"), Key("root")
    roots = {ISS: root.public_key()}
    data = Credential([enrol(device, root)]).encode()
    identity = verify_credential(credential.parse(data), roots, FROM_S)
    assert identity.id == device.id and identity.key == device.public_key()
    assert (identity.iss, identity.subject, identity.keys[0].custody) == (ISS, 0, 0)
    assert identity.status == "active" and identity.heads == [] and identity.replaces is None
    assert identity.digest == identity.enrolment.digest
    got = credential.parse(data)
    assert refused(verify_credential, got, {}, None) == "not-enrolled"
    assert refused(verify_credential, got, {"globex": root.public_key()}, None) == "not-enrolled"
    assert refused(verify_credential, got, {ISS: device.public_key()}, None) == "wrong-key"
    assert refused(verify_credential, got, roots, FROM_S - 1) == "expired"


def test_rotated() -> None:
    device, new, root = Key("device"), Key("new"), Key("root")
    roots = {ISS: root.public_key()}
    change = keychange.rotate(device, new, ISS, device.id, 0, [], HEAD, 1)
    statements = [enrol(device, root), change.sign(root, ISS, device.id)]
    identity = verify_credential(Credential(statements), roots)
    assert identity.id == device.id and identity.key == new.public_key()
    assert identity.heads == [HEAD] and identity.status == "active"
    first, last = credential.digests_of(Credential(statements))
    assert identity.key_at(first) == device.public_key()
    assert identity.key_at(last) == new.public_key() and identity.digest == last
    assert refused(identity.key_at, bytes(32)) == "wrong-key"


def test_rotated_to_a_key_of_before() -> None:
    device, new, root = Key("device"), Key("new"), Key("root")
    roots = {ISS: root.public_key()}
    change = keychange.rotate(device, new, ISS, device.id, 0, [], HEAD, 1)
    statements = [enrol(device, root), change.sign(root, ISS, device.id)]
    again = Credential(statements + statements[1:])
    assert refused(verify_credential, again, roots) == "already-enrolled"


def test_changes_of_others() -> None:
    device, other, root = Key("device"), Key("other"), Key("root")
    roots = {ISS: root.public_key()}
    revoked = keychange.Revocation(other.id, other.id, None, 0, 1)
    foreign = keychange.Revocation(device.id, other.id, None, 0, 1)
    good = enrol(device, root)
    for change, reason in (
        (revoked.sign(root, ISS, other.id), "wrong-device"),
        (foreign.sign(root, ISS, device.id), "wrong-key"),
        (revoked.sign(root, "globex", other.id), "not-enrolled"),
        (good, "unknown-kind"),
    ):
        assert refused(verify_credential, Credential([good, change]), roots) == reason


def test_lists_that_are_refused() -> None:
    assert refused(Credential, []) == "bad-value"
    assert refused(Credential, [b""]) == "bad-value"
    assert refused(Credential, [b"x"] * 17) == "too-large"
    assert refused(Credential, ["x"]) == "bad-type"
    assert refused(credential.parse, b"\x80") == "bad-value"
    assert refused(credential.parse, "text") == "bad-type"
