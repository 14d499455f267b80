"""The attester's files are parsed to what gives the same bytes again, or raise Malformed."""

import contextlib

from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.tools import attesters

SEEDS = (
    attesters.Request(b"ak", b"ek", b"certificate", "IBM").encode(),
    attesters.Request(b"ak", b"ek", None, "").encode(),
    cbor.encode([attesters.CHALLENGE, b"blob", b"seed"]),
    attesters.answer(bytes(32)),
)


def target(data: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert attesters.parse_request(data).encode() == data
    try:
        blob, seed = attesters.parse_challenge(data)
        assert cbor.encode([attesters.CHALLENGE, blob, seed]) == data
    except Malformed:
        pass
    with contextlib.suppress(Malformed):
        assert attesters.answer(attesters.parse_answer(data)) == data
