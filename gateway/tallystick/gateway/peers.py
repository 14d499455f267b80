"""A validator whose key is known."""

from dataclasses import dataclass

from tallystick.evidence.credential import Identity
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.gateway.validatorconfig import ValidatorConfig

_ID_CHARS = 8


@dataclass(frozen=True)
class Peer:
    """A validator's address, the name that it signs with, its key."""

    config: ValidatorConfig
    iss: str
    key: PublicKey


def imported_name(iss: str, validator: Identity) -> str:
    """How a validator of an imported organisation is named here.

    By its id, so that another order in a newer peer file moves no cursor.
    """
    return f"{iss}.{device_text(validator.id)[:_ID_CHARS]}"
