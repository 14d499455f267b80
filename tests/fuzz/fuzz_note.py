"""note.parse returns a checkpoint whose text is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import note
from tallystick.evidence.errors import Malformed

SEEDS = (ex.log_checkpoint().text().encode(),)


def target(data: bytes) -> None:
    try:
        got = note.parse(data.decode("utf-8", "surrogateescape"))
    except Malformed:
        return
    assert got.text().encode() == data
