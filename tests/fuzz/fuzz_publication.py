"""publication.parse returns what has, encoded again, the same bytes, or raises Malformed."""

from support import examples as ex
from tallystick.evidence import cbor
from tallystick.evidence.errors import Malformed
from tallystick.validator import publication

SEEDS = (
    publication.encode([cbor.decode(ex.credential_bytes()), [ex.enrol(ex.GATEWAY, 1).encode()]]),
)


def target(data: bytes) -> None:
    try:
        got = publication.parse(data)
    except Malformed:
        return
    assert publication.encode([one.statements for one in got]) == data
