"""verdict.parse returns what has, made anew, the same payload, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, verdict
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_verdict(), ex.the_verdict(ex.one_sided_finding()))


def target(data: bytes) -> None:
    try:
        got = verdict.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == got.received().payload
    assert got.encode() == data
