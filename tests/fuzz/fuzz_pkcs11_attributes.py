"""custody_pkcs11.parse returns what has, made anew, the same bytes, or raises Malformed."""

from support import heldkeys
from tallystick.evidence import cbor, custody_pkcs11
from tallystick.evidence.errors import Malformed

SEEDS = (
    heldkeys.pkcs11().encode(),
    heldkeys.pkcs11(-8).encode(),
)


def target(data: bytes) -> None:
    try:
        got = custody_pkcs11.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
    assert got.encode() == data
