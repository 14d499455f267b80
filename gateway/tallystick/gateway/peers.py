"""A validator whose key is known."""

from dataclasses import dataclass

from tallystick.evidence.keys import PublicKey
from tallystick.gateway.validatorconfig import ValidatorConfig


@dataclass(frozen=True)
class Peer:
    """A validator's address, the name that it signs with, its key."""

    config: ValidatorConfig
    iss: str
    key: PublicKey
