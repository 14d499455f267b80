"""parse_root returns what format_root writes as exactly the input, or raises Malformed."""

from support import examples
from tallystick.evidence.errors import Malformed
from tallystick.evidence.root import format_root, parse_root

SEEDS = tuple(format_root(iss, key).encode() for iss, key in examples.ROOTS.items())


def target(data: bytes) -> None:
    text = data.decode("latin-1")
    try:
        iss, key = parse_root(text)
    except Malformed:
        return
    assert format_root(iss, key) == text
