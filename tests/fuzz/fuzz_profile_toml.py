"""parse_profile returns a profile that its own encoding gives back, or raises Malformed."""

from tallystick.evidence import profile
from tallystick.evidence.errors import Malformed
from tallystick.verify import profiles
from tallystick.verify.profile_toml import parse_profile

SEEDS = tuple(profiles.text(name).encode() for name in profiles.NAMES)


def target(data: bytes) -> None:
    try:
        made = parse_profile(data.decode("latin-1"))
    except Malformed:
        return
    assert profile.parse(made.encode()) == made
