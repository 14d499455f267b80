"""How the keys of an identity are held, and what of it was checked, for the read interface."""

from typing import Any

from tallystick.evidence import keycustody
from tallystick.evidence.credential import Identity, KeyPeriod
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.evidence.keys import ES256, b64u
from tallystick.validator import answers


def keys_held(identity: Identity) -> list[answers.HeldKey]:
    """Every key of it, the first one first."""
    return [_held(identity, period) for period in identity.keys]


def _held(identity: Identity, period: KeyPeriod) -> answers.HeldKey:
    counted = keycustody.of_period(identity, period)
    status: Any = period.reason or ("rotated" if period.ended else "active")
    level: Any = CUSTODIES[counted.level]
    claimed: Any = CUSTODIES[counted.claimed]
    return answers.HeldKey(
        b64u(period.key.thumbprint()),
        "ES256" if period.key.alg == ES256 else "EdDSA",
        status,
        level,
        claimed,
        counted.shown,
        counted.not_proven,
        [answers.EvidenceLeft(kind, why) for kind, why in counted.not_checked],
    )
