"""Halves whose record or path does not hold (docs/protocol.md, section 4.2)."""

from _half import INDEX, claim_of, half_of
from _names import ISS
from _signing import Signer, refused
from tallystick.evidence import half
from tallystick.evidence.credential import Keyring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEYS = {
    "d": "2bc2800b3316e009209ffd757dab19ccf0ae84bc7ae90654e1e81712d270f653",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "02b8cfa1": "dfa00c3a74641a8b661b463b3841ba893c11f05962b48498af8c006855e2427d"
    "e521f7c7bfc013e24f037df770c2659bc72a589d74afed4590daa4cbf4f0c800",
    "07c3b761": "7cd0bbff69432edf3e5768434ba1a448382568abcb71137cb471cb668f0aad25"
    "1b835d4bfb698bf99131e6f8935253d99176af3fb9702c6bb9312a00d48e080b",
    "38088af1": "a8fb072fd72abc1815472f3826669fcd9a643aebfbd5984f6669bcef6d803fe6"
    "af2cf412ed73f0e746af0cfe6f51ef91c0f27b1562cc78eec6a7f8739145ba07",
    "831a62e1": "b3c33282b754b5b1abd649a0f397b998328b36b8e3a2a9c3ccfc77d7bc7f6b0b"
    "1164f97e32df3742bb24a0d97124cd6e45c6e74f9d66a73aebf99096a4780602",
    "b6442bf7": "d09d0c1b2a975bc3a4c300f003ee3e19517b6af0c0538dd651b9aa76edbcf382"
    "1f4f2c22742a4bb3026958969f0542d6eb70573bd57747294ce9931723249302",
}
KEY = Signer("d", KEYS, SIGNATURES)
ROOT = Signer("r", KEYS, SIGNATURES)


def reason_of(**changed: "Any") -> str:
    return refused(
        half.verify_half, half_of(KEY, ROOT, **changed), Keyring({ISS: ROOT.public_key()})
    )


def test_record_and_path() -> None:
    assert reason_of(record=b"\x84\x02\x01dboot\xa0") == "bad-half"
    assert reason_of(record=claim_of(b"o" * 32).encode()) == "not-a-party"
    assert reason_of(salt=bytes(16)) == "bad-inclusion-proof"
    assert reason_of(index=INDEX - 1) == "bad-inclusion-proof"
    assert reason_of(index=INDEX + 1) == "bad-half"
    assert reason_of(path=[b"x" * 32] * 2) == "bad-inclusion-proof"
    assert reason_of(path=[]) == "bad-inclusion-proof"
