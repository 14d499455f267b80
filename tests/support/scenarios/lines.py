"""Frames of a serial line."""

from binascii import crc32

from support.scenarios import Scenario, Scenarios
from tallystick.evidence import serialframe
from tallystick.evidence.serialframe import ACK, AGAIN, CLOSED, DOWN, LAST, OPEN, PIECE

SESSION = bytes.fromhex("00a1b200")
GOOD = {
    "open": serialframe.encode(OPEN, SESSION, 0, b"\x01\x08"),
    "open-of-a-gateway": serialframe.encode(DOWN | OPEN, SESSION, 0, b"\x01\x08"),
    "piece": serialframe.encode(PIECE, SESSION, 258, b"\x00one\x00\x00"),
    "longest-piece": serialframe.encode(PIECE, SESSION, 65535, b"\xff" * 243),
    "longest-without-zero": serialframe.encode(PIECE, b"abcd", 0x0101, b"\xff" * 243),
    "last": serialframe.encode(LAST, SESSION, 1, b"end"),
    "empty-last": serialframe.encode(LAST, SESSION, 0, b""),
    "ack": serialframe.encode(ACK, SESSION, 7, b"\x40"),
    "again": serialframe.encode(DOWN | AGAIN, SESSION, 0, b"\x00"),
    "closed": serialframe.encode(DOWN | CLOSED, SESSION),
}


def stuffed(content: bytes) -> bytes:
    """COBS of anything, with a right CRC."""
    content += crc32(content).to_bytes(4, "big")
    blocks = content.split(b"\0")
    return b"".join(bytes([len(block) + 1]) + block for block in blocks) + b"\0"


def lines() -> Scenarios:
    piece = GOOD["piece"]
    head = SESSION + b"\0\0"
    bad = (
        ("wrong-crc", "bad-value", "One bit of the CRC.", piece[:-2] + bytes([piece[-2] ^ 1, 0])),
        ("truncated-block", "truncated", "The last block lacks a byte.", piece[:-2] + b"\0"),
        ("short", "truncated", "Shorter than a head and a CRC.", stuffed(b"\x04" + SESSION)),
        ("zero-inside", "bad-value", "0x00 stands inside.", piece[:4] + b"\0" + piece[4:]),
        ("too-long", "too-large", "A block more than 255 bytes hold.", b"\xff" * 256 + b"\0"),
        ("kind-0", "unknown-kind", "No such kind.", stuffed(b"\x00" + head)),
        ("kind-7", "unknown-kind", "No such kind.", stuffed(b"\x07" + head)),
        ("empty-piece", "bad-value", "A piece holds a byte at least.", stuffed(b"\x02" + head)),
        ("ack-without-credit", "bad-value", "It needs a credit.", stuffed(b"\x04" + head)),
        ("credit-65", "bad-value", "A credit is 64 at most.", stuffed(b"\x04" + head + b"\x41")),
        (
            "open-numbered",
            "bad-value",
            "Its number is 0.",
            stuffed(b"\x01" + SESSION + b"\0\1\1\1"),
        ),
        ("closed-with-more", "bad-value", "It holds nothing.", stuffed(b"\x06" + head + b"x")),
    )
    for name, data in GOOD.items():
        about = f"A frame with its 0x00: {name.replace('-', ' ')}."
        yield Scenario("serial-frame", name, "3.5", about, {"data": data.hex()}, "ok")
    for name, expect, about, data in bad:
        yield Scenario("serial-frame", name, "3.5", about, {"data": data.hex()}, expect)


def all_scenarios() -> Scenarios:
    """Every scenario of this file."""
    yield from lines()
