"""cosignature.parse_key returns a key whose text is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cosignature
from tallystick.evidence.errors import Malformed

SEEDS = (cosignature.cosigner_of(ex.note_key()).text().encode(),)


def target(data: bytes) -> None:
    try:
        got = cosignature.parse_key(data.decode("utf-8", "surrogateescape"))
    except Malformed:
        return
    assert got.text().encode() == data
