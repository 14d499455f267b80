"""peerfile.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import circles
from tallystick.evidence import cbor, peerfile
from tallystick.evidence.errors import Malformed

SEEDS = (circles.peer_file(), circles.peer_file(gateways=[]))


def target(data: bytes) -> None:
    try:
        got = peerfile.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
