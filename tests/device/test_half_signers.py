"""Halves that others signed (docs/protocol.md, section 4.2)."""

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
    "0ef33e30": "278a37a28d7cdfdbb23affef3c601fcc767676f4b563845cb7072381d2517934"
    "a3817b00e92115a434f41a25a14c3c2e49b566b998a9de1fd162adb655890701",
    "12d0a2c3": "4f1a6192c99a18681eeed3fd4c8fb68b320d7ca767ef2bf42651e357caa12ca7"
    "18ad4fbff02d9eaec3c2b1ad78b78144db86e38ede673d16c8b4f22303785b02",
    "38088af1": "a8fb072fd72abc1815472f3826669fcd9a643aebfbd5984f6669bcef6d803fe6"
    "af2cf412ed73f0e746af0cfe6f51ef91c0f27b1562cc78eec6a7f8739145ba07",
    "6dd44b96": "ebcb96b08f3906112524d0c719d003d52d1d6e1b698f5f8383970c2b354d56ce"
    "79d30ad09088e227122b4e263006eaa754b0a426f567e68c1b6c029d96726906",
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


def test_another_signed_the_checkpoint() -> None:
    checkpoint = half_of(OTHER, ROOT, credential=b"c" * 32).checkpoint
    assert reason_of(checkpoint=checkpoint) == "not-a-party"


def test_another_is_enrolled() -> None:
    assert reason_of(credential=[enrol(OTHER, ROOT)]) == "wrong-device"
