"""Frames of a serial line (docs/protocol.md, section 3.5)."""

from _made import refused
from tallystick.evidence import serialframe

PIECE, LAST, ACK = 2, 3, 4
SESSION = b"\x00ab\x00"


def test_frames() -> None:
    # By hand: content 04 00 61 62 00 00 07 08 and its CRC-32.
    frame = serialframe.encode(ACK, SESSION, 7, b"\x08")
    assert frame == b"\x02\x04\x03ab\x01\x07\x07\x08" + frame[9:]
    assert frame[-1] == 0 and 0 not in frame[:-1]
    assert serialframe.parse(frame[:-1]) == (ACK, SESSION, 7, b"\x08")
    for payload in (b"\x00", b"x" * 243, bytes(243), b"\xff" * 242 + b"\x00"):
        frame = serialframe.encode(PIECE, b"abcd", 0x6161, payload)
        assert len(frame) <= 256
        assert serialframe.parse(frame[:-1]) == (PIECE, b"abcd", 0x6161, payload)


def test_refused() -> None:
    good = serialframe.encode(LAST, SESSION, 1, b"end")[:-1]
    for at in range(len(good)):
        wrong = bytearray(good)
        wrong[at] ^= 4
        assert refused(serialframe.parse, bytes(wrong)) is not None, at
    assert refused(serialframe.parse, b"") == "truncated"
    assert refused(serialframe.parse, b"\x01" * 256) == "too-large"
    assert refused(serialframe.parse, good[:4] + b"\x00" + good[4:]) == "bad-value"
