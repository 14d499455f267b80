"""A batch's bytes as they travel: one zstd frame (RFC 8878) that no receiver takes for a bomb."""

import zstandard

from tallystick.gateway import limits

_BLOCK_BYTES_MAX = 1 << 17  # RFC 8878, 3.1.1.2.4
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


def compress(data: bytes) -> bytes:
    """The frame; raw blocks where it would pack so well that a receiver refuses it."""
    packed = zstandard.ZstdCompressor(level=limits.ZSTD_LEVEL).compress(data)
    if len(data) <= limits.BATCH_RATIO_SAFE * len(packed):
        return packed
    return stored(data)


def stored(data: bytes) -> bytes:
    """A zstd frame of raw blocks: for the rare batch that packs too well (RFC 8878, 3.1.1)."""
    # Single segment, content size in 8 bytes, no checksum, no dictionary.
    parts = [_ZSTD_MAGIC, b"\xe0", len(data).to_bytes(8, "little")]
    for begin in range(0, len(data), _BLOCK_BYTES_MAX):
        block = data[begin : begin + _BLOCK_BYTES_MAX]
        last = begin + len(block) == len(data)
        parts += [(len(block) << 3 | last).to_bytes(3, "little"), block]
    return b"".join(parts)


def unpacked(packed: bytes) -> bytes:
    """What a frame of ours holds."""
    return zstandard.ZstdDecompressor().decompress(packed)
