"""tiles.parse_bundle returns entries that encode_bundle writes as they came, or Malformed."""

from tallystick.evidence.errors import Malformed
from tallystick.verify import tiles

SEEDS = (tiles.encode_bundle([b"one", b"", b"three"]), tiles.encode_bundle([bytes(300)] * 3))


def target(data: bytes) -> None:
    for width in (1, 3, 256):
        try:
            got = tiles.parse_bundle(data, width)
        except Malformed:
            continue
        assert len(got) == width and tiles.encode_bundle(got) == data
