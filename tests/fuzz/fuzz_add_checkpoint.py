"""addcheckpoint.parse returns a request that encodes to exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence.errors import Malformed
from tallystick.verify import addcheckpoint
from tallystick.verify.addcheckpoint import AddCheckpoint

_NOTE = ex.log_checkpoint()
SEEDS = (
    AddCheckpoint(0, (), _NOTE).encode(),
    AddCheckpoint(7, (bytes(32), bytes(range(32))), _NOTE).encode(),
)


def target(data: bytes) -> None:
    try:
        got = addcheckpoint.parse(data)
    except Malformed:
        return
    assert got.encode() == data
