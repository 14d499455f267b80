"""Hellos (docs/protocol.md, section 3.3)."""

from _identity import enrol
from _made import EPOCH, ISS, Key, refused
from tallystick.evidence import hello
from tallystick.evidence.credential import Keyring
from tallystick.evidence.hello import Hello, verify_hello


def test_who_it_is() -> None:
    device, root = Key("device"), Key("root")
    keyring = Keyring({ISS: root.public_key()})
    got = hello.parse(Hello(device.id, EPOCH, 3, 7, [enrol(device, root)]).encode())
    assert (got.epoch, got.first, got.size) == (EPOCH, 3, 7)
    identity = verify_hello(got, keyring)
    assert identity.id == device.id
    # Known now, and found by content.
    assert verify_hello(got, keyring) is identity
    assert keyring.find(identity.digest) is identity


def test_with_the_credential_of_another() -> None:
    device, other, root = Key("device"), Key("other"), Key("root")
    keyring = Keyring({ISS: root.public_key()})
    stolen = Hello(device.id, EPOCH, 3, 7, [enrol(other, root)])
    assert refused(verify_hello, stolen, keyring) == "wrong-device"
    gateway = Hello(device.id, EPOCH, 3, 7, [enrol(device, root, subject=1)])
    assert refused(verify_hello, gateway, keyring) == "not-enrolled"


def test_a_keyring_keeps_the_newest() -> None:
    devices, root = [Key("one"), Key("two")], Key("root")
    keyring = Keyring({ISS: root.public_key()}, None, 1)
    kept = [
        verify_hello(Hello(key.id, EPOCH, 0, 0, [enrol(key, root)]), keyring) for key in devices
    ]
    assert keyring.find(kept[1].digest) is kept[1]
    assert refused(keyring.find, kept[0].digest) == "unknown-device"


def test_a_keyring_forgets_who_was_not_asked_for_longest_and_says_so() -> None:
    devices, root = [Key("one"), Key("two"), Key("three")], Key("root")
    keyring = Keyring({ISS: root.public_key()}, None, 2)
    kept = [
        verify_hello(Hello(key.id, EPOCH, 0, 0, [enrol(key, root)]), keyring) for key in devices[:2]
    ]
    assert keyring.find(kept[0].digest) is kept[0] and keyring.forgotten == 0
    verify_hello(Hello(devices[2].id, EPOCH, 0, 0, [enrol(devices[2], root)]), keyring)
    # The partner that was asked for stays; the stranger goes, and that is counted.
    assert keyring.find(kept[0].digest) is kept[0] and keyring.forgotten == 1
    assert refused(keyring.find, kept[1].digest) == "unknown-device"


def test_fields_that_are_refused() -> None:
    device = b"d" * 32
    Hello(device, EPOCH, 0, 0, [b"x"])
    assert refused(Hello, b"short", EPOCH, 0, 0, [b"x"]) == "bad-value"
    assert refused(Hello, device, b"short", 0, 0, [b"x"]) == "bad-value"
    assert refused(Hello, device, EPOCH, 8, 7, [b"x"]) == "bad-value"
    assert refused(Hello, device, EPOCH, 0, -1, [b"x"]) == "bad-value"
    assert refused(Hello, device, EPOCH, 0, 0, []) == "bad-value"
    assert refused(hello.parse, b"\x86\x0f") == "truncated"
