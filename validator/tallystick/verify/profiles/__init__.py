"""The profiles that ship with the distribution, as package data.

They are examples to copy and to start from.  A relying party's policy names the digests of the
profiles that it accepts, so a shipped profile is trusted no more than another.
"""

from __future__ import annotations

from importlib import resources

from tallystick.evidence.errors import Malformed
from tallystick.evidence.profile import Profile
from tallystick.verify.profile_toml import parse_profile

NAMES = (
    "handover",
    "handover-chain",
    "sighting",
    "intersection",
    "joint-lift",
    "sensor-act",
    "charging-dock",
    "trade",
    "triage",
)


def text(name: str) -> str:
    """The TOML text of a shipped profile; Malformed when there is none of that name."""
    if name not in NAMES:
        raise Malformed("bad-value", f"no shipped profile {name!r}: there are {', '.join(NAMES)}")
    return resources.files(__name__).joinpath(name + ".toml").read_text("utf-8")


def examples(name: str) -> str:
    """The TOML text of the examples beside a shipped profile."""
    text(name)
    return resources.files(__name__).joinpath(name + ".examples.toml").read_text("utf-8")


def load(name: str) -> Profile:
    """The shipped profile of this name."""
    return parse_profile(text(name))
