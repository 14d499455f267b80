"""entry.parse_entry returns what, made anew, is exactly the input, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor, entry
from tallystick.evidence.errors import Malformed
from tallystick.evidence.statement import Statement

SEEDS = ex.validator_log()


def target(data: bytes) -> None:
    try:
        got = entry.parse_entry(data)
    except Malformed:
        return
    if isinstance(got, Statement):
        assert got.sign1.statement_bytes() == data
    else:
        assert cbor.encode(got.values()) == data
