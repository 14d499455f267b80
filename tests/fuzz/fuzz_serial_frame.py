"""serialframe.parse returns what, encoded anew, is exactly the input, or raises Malformed."""

from support.scenarios.lines import GOOD
from tallystick.evidence import serialframe
from tallystick.evidence.errors import Malformed

SEEDS = tuple(frame[:-1] for frame in GOOD.values())


def target(data: bytes) -> None:
    try:
        got = serialframe.parse(data)
    except Malformed:
        return
    assert serialframe.encode(*got) == data + b"\0"
