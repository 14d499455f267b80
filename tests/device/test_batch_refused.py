"""Batches that do not go on from what is known (docs/protocol.md, section 6.2)."""

from _batch import GATEWAY, encoded
from _signing import refused
from tallystick.evidence import tree
from tallystick.evidence.batch import parse, verify_batch


def test_a_batch_that_begins_beyond_what_is_known_is_refused() -> None:
    known = (0, tree.EMPTY_ROOT)
    assert refused(verify_batch, parse(encoded()), GATEWAY.public_key(), known) == "gateway-gap"


def test_a_batch_that_contradicts_what_is_known_is_refused() -> None:
    known = (1, bytes(32))
    assert refused(verify_batch, parse(encoded()), GATEWAY.public_key(), known) == "gateway-fork"
