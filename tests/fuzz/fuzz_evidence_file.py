"""evidencefile.parse returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, evidencefile
from tallystick.evidence.errors import Malformed

SEEDS = (ex.the_file().encode(),)


def target(data: bytes) -> None:
    try:
        got = evidencefile.parse(data)
    except Malformed:
        return
    assert cbor.encode(got.values()) == data
