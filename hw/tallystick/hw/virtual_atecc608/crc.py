# CPython only
"""The chip's CRC-16: polynomial 0x8005, start 0, bits of a byte low first, sent low byte first.

The driver has one of its own: two that agree are a check of both.
"""

POLYNOMIAL = 0x8005


def crc16(data: bytes) -> bytes:
    """The two bytes that end a packet over `data`."""
    register = 0
    for byte in data:
        for bit in range(8):
            differs = (byte >> bit & 1) ^ (register >> 15)
            register = (register << 1 & 0xFFFF) ^ (POLYNOMIAL if differs else 0)
    return register.to_bytes(2, "little")
