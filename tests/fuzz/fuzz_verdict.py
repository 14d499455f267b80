"""verdict.parse returns an object whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import verdict
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_verdict(), ex.the_verdict(ex.one_sided_finding()))


def target(data: bytes) -> None:
    try:
        got = verdict.parse(data)
    except Malformed:
        return
    assert got.encode() == data
