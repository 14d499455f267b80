"""entry.parse_entry returns an object whose encoding is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import entry
from tallystick.evidence.errors import Malformed

SEEDS = ex.validator_log()


def target(data: bytes) -> None:
    try:
        got = entry.parse_entry(data)
    except Malformed:
        return
    assert got.encode() == data
