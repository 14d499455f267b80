"""The request that asks a witness for a cosignature (C2SP tlog-witness; docs/protocol.md, 8.4)."""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.evidence import note as notes
from tallystick.evidence.digest import SHA256_SIZE
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX, PATH_HASHES_MAX
from tallystick.evidence.note import NOTE_SIZE_DIGITS_MAX, NOTE_SIZE_MAX, Note, b64, from_b64

# The old size, 63 hashes of 44 characters, their line ends, the empty line.
REQUEST_BYTES_MAX = LOG_CHECKPOINT_BYTES_MAX + 4_097
SIZE_ANSWER_CHARS_MAX = NOTE_SIZE_DIGITS_MAX + 1
SIZE_MEDIA = "text/x.tlog.size"


@dataclass(frozen=True)
class AddCheckpoint:
    """`old` size, consistency `proof` from it, and the checkpoint."""

    old: int
    proof: tuple[bytes, ...]
    note: Note

    def encode(self) -> bytes:
        """The body of the request."""
        proof = "".join(b64(node) + "\n" for node in self.proof)
        return f"old {self.old}\n{proof}\n{self.note.text()}".encode()


def parse(data: bytes) -> AddCheckpoint:
    """The request in these bytes; Malformed for anything that encode() would not write."""
    if len(data) > REQUEST_BYTES_MAX:
        raise Malformed("too-large", f"a request to cosign is over {REQUEST_BYTES_MAX} bytes")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Malformed("bad-utf8", "a request to cosign is not UTF-8") from None
    head, empty, checkpoint = text.partition("\n\n")
    first, *proof = head.split("\n", PATH_HASHES_MAX + 1)
    if not empty or not first.startswith("old "):
        raise Malformed(
            "bad-value", "a request to cosign is 'old N', hashes, an empty line, a checkpoint"
        )
    old = _size(first[4:])
    if len(proof) > PATH_HASHES_MAX:
        raise Malformed("too-large", f"a consistency proof of more than {PATH_HASHES_MAX} hashes")
    hashes = tuple(from_b64(line) for line in proof)
    if any(len(node) != SHA256_SIZE for node in hashes):
        raise Malformed("bad-value", "a hash of a consistency proof is not 32 bytes")
    return AddCheckpoint(old, hashes, notes.parse(checkpoint))


def parse_size(data: bytes) -> int:
    """The size in a 409 answer; Malformed for anything but digits and a line end."""
    if len(data) > SIZE_ANSWER_CHARS_MAX or data[-1:] != b"\n" or not data.isascii():
        raise Malformed("bad-value", "a witness's size is not one line with a number")
    return _size(data[:-1].decode())


def _size(digits: str) -> int:
    # int() also takes signs, spaces, underscores and other scripts' digits.
    if not 0 < len(digits) <= NOTE_SIZE_DIGITS_MAX or digits.strip("0123456789"):
        raise Malformed("bad-number", "a tree size is not a decimal number")
    size = int(digits)
    if str(size) != digits or size > NOTE_SIZE_MAX:
        raise Malformed("bad-number", "a tree size is not in its one spelling")
    return size
