"""Halves of who is not enrolled (docs/protocol.md, section 4.2)."""

from _half import half_of
from _identity import enrol
from _names import ISS
from _signing import Signer, refused
from tallystick.evidence import half
from tallystick.evidence.credential import Keyring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KEYS = {
    "d": "2bc2800b3316e009209ffd757dab19ccf0ae84bc7ae90654e1e81712d270f653",
    "o": "c86d01ad8b2fb694b22ff60e3c9d9e7ed90db5604772b74450d40913b9a9cbaf",
    "r": "5b6489c9c7fd0dcf50545e7c164886ef40491ec06c7f1b123041797e8117535e",
}
SIGNATURES = {
    "1fb70911": "abf8cd97a9f0965e3a73fb4fa87c39a8152d44ddf925b57e5acea29f9252e1ce"
    "8c696a30d77194e2bf4b735a7a808a51bdd13f69c2c336943cabdc2ec0a7dc01",
    "32ca4cfc": "1a17495bd297cca7252c5c40b820e01c160b485524b182f9d3491f559b70e50c"
    "5d593afbfb47770fb34c4d721af5269cbeffc6970e9c5e787238a74e8449f80d",
    "38088af1": "a8fb072fd72abc1815472f3826669fcd9a643aebfbd5984f6669bcef6d803fe6"
    "af2cf412ed73f0e746af0cfe6f51ef91c0f27b1562cc78eec6a7f8739145ba07",
    "831a62e1": "b3c33282b754b5b1abd649a0f397b998328b36b8e3a2a9c3ccfc77d7bc7f6b0b"
    "1164f97e32df3742bb24a0d97124cd6e45c6e74f9d66a73aebf99096a4780602",
    "b6442bf7": "d09d0c1b2a975bc3a4c300f003ee3e19517b6af0c0538dd651b9aa76edbcf382"
    "1f4f2c22742a4bb3026958969f0542d6eb70573bd57747294ce9931723249302",
}
KEY = Signer("d", KEYS, SIGNATURES)
OTHER = Signer("o", KEYS, SIGNATURES)
ROOT = Signer("r", KEYS, SIGNATURES)


def reason_of(**changed: "Any") -> str:
    return refused(
        half.verify_half, half_of(KEY, ROOT, **changed), Keyring({ISS: ROOT.public_key()})
    )


def test_enrolments() -> None:
    assert reason_of(credential=[enrol(KEY, ROOT, subject=1)]) == "not-enrolled"
    assert reason_of(credential=[enrol(KEY, OTHER)]) == "wrong-key"
    assert refused(half.verify_half, half_of(KEY, ROOT), Keyring({})) == "not-enrolled"
