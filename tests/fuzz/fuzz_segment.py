"""segment.parse returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples
from tallystick.evidence import segment
from tallystick.evidence.errors import Malformed

SEEDS = tuple(one.data for one in examples.everything() if one.rule == "segment")


def target(data: bytes) -> None:
    try:
        got = segment.parse(data)
    except Malformed:
        return
    again = segment.Segment(got.device, got.epoch, got.first, got.edge, got.stretches)
    assert again.encode() == data
    assert again.to == got.stretches[-1].to
