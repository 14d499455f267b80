"""Request bodies: capped while they come, decompressed with caps on size and ratio (A12, A21)."""

import anyio
import zstandard
from starlette.requests import ClientDisconnect, Request

from tallystick.evidence.limits import BATCH_BYTES_MAX, BATCH_RATIO_MAX
from tallystick.validator.limits import BODY_CHUNK_BYTES_MAX, BODY_READ_S_MAX
from tallystick.validator.problem import Problem

# A frame may ask for a window of gigabytes; no batch needs one larger than itself.
_WINDOW_BYTES_MAX = BATCH_BYTES_MAX


async def read(request: Request) -> bytes:
    """The compressed body of a batch; Problem when it is too long, too slow, or not zstd."""
    if request.headers.get("content-encoding", "") != "zstd":
        raise Problem("bad-header", "a batch is sent with Content-Encoding: zstd", status=415)
    return await _read(request, "a batch", BATCH_BYTES_MAX)


async def read_plain(request: Request, media: str, bytes_max: int) -> bytes:
    """A body that is not compressed; Problem when it is too long, too slow, or of another type."""
    if request.headers.get("content-type", "") != media or "content-encoding" in request.headers:
        raise Problem("bad-header", f"send {media}, not compressed", status=415)
    return await _read(request, "the body", bytes_max)


async def read_any(request: Request, bytes_max: int) -> bytes:
    """A body of any media type that is not compressed; Problem when it is too long or too slow."""
    if "content-encoding" in request.headers:
        raise Problem("bad-header", "send it not compressed", status=415)
    return await _read(request, "the body", bytes_max)


async def _read(request: Request, what: str, bytes_max: int) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > bytes_max:
        raise Problem("too-large", f"{what} is over {bytes_max} bytes")
    parts: list[bytes] = []
    size = 0
    try:
        with anyio.fail_after(BODY_READ_S_MAX):
            async for part in request.stream():
                size += len(part)
                if size > bytes_max:
                    raise Problem("too-large", f"{what} is over {bytes_max} bytes")
                parts.append(part)
    except TimeoutError:
        raise Problem(
            "truncated", f"{what} took longer than {BODY_READ_S_MAX:.0f} s to come", status=408
        ) from None
    except ClientDisconnect:
        raise Problem("truncated", f"the connection ended inside {what}") from None
    return b"".join(parts)


def decompress(data: bytes) -> bytes:
    """The batch; Problem for what is no single zstd frame, or larger than the caps allow."""
    size_max = min(BATCH_BYTES_MAX, BATCH_RATIO_MAX * len(data))
    parts: list[bytes] = []
    size = 0
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).stream_reader(
        data, read_across_frames=False
    )
    try:
        while part := reader.read(min(BODY_CHUNK_BYTES_MAX, size_max - size + 1)):
            size += len(part)
            if size > size_max:
                raise Problem(
                    "too-large",
                    f"a batch decompresses to at most {BATCH_BYTES_MAX} bytes and "
                    f"{BATCH_RATIO_MAX} times its compressed size",
                )
            parts.append(part)
    except zstandard.ZstdError:
        raise Problem("bad-value", "the body is no zstd frame") from None
    if not size:
        raise Problem("truncated", "an empty batch")
    return b"".join(parts)
