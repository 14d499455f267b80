"""Device holds (docs/protocol.md, section 3.6)."""

from _made import ISS, Key, refused, steps_of
from tallystick.evidence import devicehold
from tallystick.evidence.devicehold import DeviceHold

DEVICE = b"d" * 32


def test_signed_and_verified_in_steps() -> None:
    gateway = Key("gateway")
    for until_ms in (None, 1790000009000):
        made = DeviceHold(3, until_ms, 1790000000000)
        got = devicehold.parse(made.sign(gateway, ISS, DEVICE))
        assert got.values() == made.values() and got.device == DEVICE
        work = got.verifier(gateway.public_key())
        steps_of(work)
        verified = work.result
        assert type(verified) is devicehold.VerifiedDeviceHold
        assert (verified.serial, verified.until_ms) == (3, until_ms)


def test_a_forged_one_is_refused() -> None:
    data = DeviceHold(1, None, 1).sign(Key("stranger"), ISS, DEVICE)
    assert refused(devicehold.parse(data).verify, Key("gateway").public_key()) == "wrong-key"


def test_an_endless_one_is_none() -> None:
    assert refused(DeviceHold, 1, 2678400001, 0) == "bad-value"
    assert refused(DeviceHold, 1, 5, 5) == "bad-value"
