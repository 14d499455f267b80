"""A gateway's log, in batches (docs/protocol.md, section 6.2)."""

from _batch import BEFORE, GATEWAY, encoded, segment
from tallystick.evidence.batch import parse, verify_batch


def test_a_batch_extends_what_is_known() -> None:
    data = encoded()
    received = parse(data)
    assert received.encode() == data
    verified = verify_batch(received, GATEWAY.public_key(), (1, BEFORE))
    assert verified.segments == [(1, segment().encode())]
    assert verified.tree.size == 2 and verified.head.size == 2
