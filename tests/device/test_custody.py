"""Custody receipts (docs/protocol.md, section 3.4)."""

from _made import EPOCH, ISS, Key, refused, steps_of
from tallystick.evidence import custody
from tallystick.evidence.custody import CustodyReceipt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ROOT = b"r" * 32
DEVICE = b"d" * 32


def test_signed_and_verified_in_steps() -> None:
    gateway = Key("gateway")
    made = CustodyReceipt(EPOCH, 3, 7, ROOT, True, 1790000000000)
    got = custody.parse(made.sign(gateway, ISS, DEVICE))
    assert got.values() == made.values() and got.device == DEVICE
    work = got.verifier(gateway.public_key())
    steps_of(work)
    verified = work.result
    assert type(verified) is custody.VerifiedCustodyReceipt
    assert (verified.from_, verified.to, verified.bodies) == (3, 7, True)
    assert verified.key == gateway.public_key()
    assert verified == got.verify(gateway.public_key())


def test_a_forged_one_is_refused() -> None:
    gateway, stranger = Key("gateway"), Key("stranger")
    data = CustodyReceipt(EPOCH, 3, 7, ROOT, True, 1).sign(stranger, ISS, DEVICE)
    assert refused(custody.parse(data).verify, gateway.public_key()) == "wrong-key"
    genuine = CustodyReceipt(EPOCH, 3, 7, ROOT, True, 1).sign(gateway, ISS, DEVICE)
    for at in (60, len(genuine) - 66, len(genuine) - 1):
        forged = bytearray(genuine)
        forged[at] ^= 1
        assert refused(_verified, bytes(forged), gateway.public_key())


def _verified(data: bytes, key: "Any") -> None:
    work = custody.parse(data).verifier(key)
    while not work.step():
        pass


def test_fields_that_are_refused() -> None:
    good: "list[Any]" = [EPOCH, 3, 7, ROOT, True, 1]
    CustodyReceipt(*good)
    CustodyReceipt(EPOCH, 7, 7, ROOT, False, 1)  # over an idle device's repeated head
    for at, wrong, reason in (
        (0, b"", "bad-value"),
        (1, 8, "bad-value"),
        (1, -1, "bad-value"),
        (2, "7", "bad-type"),
        (3, b"r", "bad-value"),
        (4, 1, "bad-type"),
        (5, None, "bad-type"),
    ):
        fields = list(good)
        fields[at] = wrong
        assert refused(CustodyReceipt, *fields) == reason, at
    assert refused(CustodyReceipt, EPOCH, 0, 0, ROOT, True, 1) == "bad-value"
