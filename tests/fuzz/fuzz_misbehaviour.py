"""misbehaviour.parse returns what has, made anew, the same bytes, or raises one of our errors."""

from support import guilt
from tallystick.evidence import cbor, misbehaviour
from tallystick.evidence.errors import Malformed, Unverified

SEEDS = (
    *(made().proof.encode() for made in guilt.ALL.values()),
    guilt.revived_by_receipt().proof.encode(),
)


def target(data: bytes) -> None:
    try:
        got = misbehaviour.parse(data)
    except (Malformed, Unverified):
        return
    assert cbor.encode(got.values()) == data
