"""cose.parse returns a statement whose encoding is exactly the input, or raises Malformed."""

from tallystick.evidence import cbor, cose
from tallystick.evidence.errors import Malformed

BYTES_MAX = 4096
_PROTECTED = cose.protected_header(-8, b"12345678", {1: "fleet", 2: "subject"}, {395: 1})
SEEDS = (
    cose.encode(_PROTECTED, cbor.encode([4, b"epoch123", 7]), bytes(64)),
    cose.encode(_PROTECTED, None, b"\xff" * 64, {394: [b"receipt"], 396: {-1: [b"proof"]}}),
)


def target(data: bytes) -> None:
    try:
        got = cose.parse(data, BYTES_MAX)
    except Malformed:
        return
    assert cose.encode(got.protected, got.payload, got.signature, got.unprotected) == data
    assert cose.parse(got.statement_bytes(), BYTES_MAX).unprotected == {}
    assert len(got.digest(b"" if got.payload is None else None)) == 32
