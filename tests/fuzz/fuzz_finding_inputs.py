"""parse_inputs returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, finding
from tallystick.evidence.errors import Malformed

SEEDS = (ex.inputs().encode(),)


def target(data: bytes) -> None:
    try:
        got = finding.parse_inputs(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
