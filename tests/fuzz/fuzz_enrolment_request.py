"""enrolmentrequest.parse returns what has, made anew, the same bytes, or raises Malformed."""

from support import heldkeys
from tallystick.evidence import cbor, enrolmentrequest
from tallystick.evidence.errors import Malformed

SEEDS = (heldkeys.request().encode(),)


def target(data: bytes) -> None:
    try:
        got = enrolmentrequest.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
    assert got.encode() == data
