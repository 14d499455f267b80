"""A frame of a serial line (docs/protocol.md, section 3.5)."""

# COBS(kind || session || sequence || payload || CRC-32) 0x00.  At most 254 bytes go into the COBS,
# so that it is one byte longer and a block never runs over (Cheshire and Baker, 1999).

from binascii import crc32

from tallystick.evidence.errors import Malformed

# One by one, for on a device the numbers stand where they are used.
OPEN = 1
PIECE = 2
LAST = 3
ACK = 4
AGAIN = 5
CLOSED = 6
# Added to the kinds of a gateway.
DOWN = 0x80
VERSION = 1
SEQUENCES = 65536
CONTENT_BYTES_MAX = 254
ENCODED_BYTES_MAX = 255
HEAD_SIZE = 7
CRC_SIZE = 4
PIECE_BYTES_MAX = 243
CREDIT_MAX = 64
# Kind -> least and most bytes of payload.
_SIZES = (None, (2, 2), (1, PIECE_BYTES_MAX), (0, PIECE_BYTES_MAX), (1, 1), (1, 1), (0, 0))


def encode(kind: int, session: bytes, sequence: int = 0, payload: bytes = b"") -> bytes:
    """The frame with its 0x00."""
    content = bytes((kind,)) + session + sequence.to_bytes(2, "big") + payload
    content += crc32(content).to_bytes(4, "big")
    out = bytearray()
    for block in content.split(b"\0"):
        out.append(len(block) + 1)
        out += block
    out.append(0)
    return bytes(out)


def parse(data: bytes) -> "tuple[int, bytes, int, bytes]":
    """(kind, session, sequence, payload) of what stood before a 0x00, else Malformed."""
    content = _unstuffed(data)
    size = len(content) - HEAD_SIZE - CRC_SIZE
    if size < 0:
        raise Malformed("truncated", "a frame of %d bytes" % len(data))
    if crc32(content[:-CRC_SIZE]) != int.from_bytes(content[-CRC_SIZE:], "big"):
        raise Malformed("bad-value", "a frame whose CRC is wrong")
    kind = content[0]
    sequence = int.from_bytes(content[5:7], "big")
    payload = content[HEAD_SIZE:-CRC_SIZE]
    plain = kind & ~DOWN
    if not OPEN <= plain <= CLOSED:
        raise Malformed("unknown-kind", "a frame of kind %d" % kind)
    least, most = _SIZES[plain]  # type: ignore[misc]  # None is no kind
    if not least <= size <= most or (plain in (OPEN, CLOSED) and sequence):
        raise Malformed("bad-value", "a frame of kind %d with %d bytes" % (kind, size))
    if plain in (OPEN, ACK, AGAIN) and payload[-1] > CREDIT_MAX:
        raise Malformed("bad-value", "a credit of %d" % payload[-1])
    return kind, content[1:5], sequence, payload


def _unstuffed(data: bytes) -> bytes:
    if len(data) > ENCODED_BYTES_MAX:
        raise Malformed("too-large", "a frame of over %d bytes" % ENCODED_BYTES_MAX)
    if 0 in data:
        raise Malformed("bad-value", "0x00 inside a frame")
    out = bytearray()
    at = 0
    while at < len(data):
        end = at + data[at]
        if end > len(data):
            raise Malformed("truncated", "a frame that ends inside a block")
        if at:
            out.append(0)
        out += data[at + 1 : end]
        at = end
    return bytes(out)
