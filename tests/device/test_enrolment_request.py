"""Requests for enrolment, with evidence of a chip in them (docs/protocol.md, 5.1 and 5.3)."""

from _made import ISS, Key, refused
from tallystick.evidence import custody_atecc608, enrolment, enrolmentrequest
from tallystick.evidence.custody_atecc608 import Atecc608Config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SERIAL = bytes([1, 0x23, 1, 2, 3, 4, 5, 6, 0xEE])
REVISION = bytes([0, 0, 0x60, 2])


class Held(Key):
    """A key that a driver would hold in a chip."""

    custody = "secure-element"

    def evidence(self, context: bytes) -> "list[list[Any]]":
        zone = bytearray(128)
        zone[0:4], zone[4:8], zone[8:13] = SERIAL[:4], REVISION, SERIAL[4:]
        zone[20:22], zone[96:98] = b"\x81\x20", b"\x33\x00"
        assert context == enrolment.custody_context(self.public_key(), ISS)
        made = Atecc608Config(SERIAL, REVISION, bytes(zone), 0)
        return [["atecc608-config", made.encode()]]


def test_a_device_asks_by_itself() -> None:
    device = Held("device")
    asked = enrolmentrequest.make(device, ISS, None, {"serial": "7"})
    got = enrolmentrequest.parse(asked.encode())
    assert got == asked and got.values() == asked.values()
    verified = got.verify(ISS)
    assert type(verified) is enrolmentrequest.VerifiedRequest
    assert verified.custody == 3 and verified.id == device.id
    kind, data = verified.evidence[0]
    chip = custody_atecc608.parse(data)
    assert kind == "atecc608-config" and chip.encode() == data and chip.serial == SERIAL
    # An ATECC608 has no Ed25519 key, which this one is.
    assert refused(chip.check, device.public_key(), bytes(32)) == "bad-custody"


def test_it_is_for_one_fleet_and_one_id() -> None:
    asked = enrolmentrequest.make(Held("device"), ISS)
    assert refused(asked.verify, "globex") == "not-enrolled"
    assert refused(asked.verify, ISS, bytes(32)) == "wrong-device"
    forged = enrolmentrequest.EnrolmentRequest(ISS, asked.id, asked.key, 3, [], bytes(64), {})
    assert refused(forged.verify, ISS) == "no-possession"
