"""invitation.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import joins
from tallystick.evidence import cbor, invitation
from tallystick.evidence.errors import Malformed

SEEDS = (joins.invite(),)


def target(data: bytes) -> None:
    try:
        got = invitation.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
