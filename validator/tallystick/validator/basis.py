"""What findings rest on beside the store: the roots and profiles of the one who signs them.

A worker has no configuration of its own: it takes what the sequencer wrote into the store, and
computes under that or not at all. The digest covers the program's version, so that another one's
findings are never signed.
"""

from importlib.metadata import version

from tallystick.evidence import cbor, profile, root
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import CouldNotCheck
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.profile import Profile
from tallystick.validator import schema


class Basis:
    """Accepted fleet roots by name, and profiles by digest."""

    def __init__(self, roots: dict[str, PublicKey], profiles: dict[bytes, Profile]) -> None:
        self.roots = dict(roots)
        self.profiles = profiles
        lines = [root.format_root(name, roots[name]) for name in sorted(roots)]
        self.data = cbor.encode([lines, [profiles[digest].encode() for digest in sorted(profiles)]])
        self.digest = _digest(self.data)


def _digest(data: bytes) -> bytes:
    return sha256(cbor.encode([schema.VERSION, version("tallystick"), data]))


def read(digest: bytes, data: bytes) -> Basis:
    """The basis of this digest; CouldNotCheck where another version of the program wrote it."""
    if _digest(data) != digest:
        raise CouldNotCheck(
            "bad-value",
            f"the sequencer runs another version of tallystick than this worker's "
            f"{version('tallystick')}; run the same everywhere",
        )
    lines, profiles = cbor.decode(data)
    known = [profile.parse(one) for one in profiles]
    return Basis(dict(map(root.parse_root, lines)), {one.digest: one for one in known})
