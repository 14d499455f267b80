"""profile.parse_statement returns the profile of the payload, or raises a TallyError."""

from support import examples
from tallystick.evidence import cbor, profile
from tallystick.evidence.errors import TallyError

SEEDS = tuple(one.data for one in examples.everything() if one.name == "profile, signed")


def target(data: bytes) -> None:
    try:
        got = profile.parse_statement(data)
    except TallyError:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
