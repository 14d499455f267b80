"""addcheckpoint.parse_size returns a size whose line is exactly the input, or raises Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.verify import addcheckpoint

SEEDS = (b"0\n", b"20852014\n", b"9223372036854775807\n")


def target(data: bytes) -> None:
    try:
        got = addcheckpoint.parse_size(data)
    except Malformed:
        return
    assert f"{got}\n".encode() == data
