"""Counting never raises, and counts evidence only as what was enrolled or as software."""

from support import examples as ex
from support import heldkeys
from tallystick.evidence import keycustody

KEY = ex.RECEIVER.public_key()
ROOT = ex.GLOBEX_ROOT.public_key()
SEEDS = (
    heldkeys.atecc608().encode(),
    heldkeys.tpm2().encode(),
    heldkeys.pkcs11().encode(),
)


def target(data: bytes) -> None:
    for level, kind in keycustody.NEEDS.items():
        counted = keycustody.count(
            KEY, ex.RECEIVER.id, ex.GLOBEX, ROOT, level, [[kind, data]], ex.TIME_S
        )
        assert counted.level in {0, level}
        assert bool(counted.level) == bool(counted.shown) == bool(counted.not_proven)
        assert bool(counted.level) != bool(counted.not_checked)
        assert bool(counted.level) != bool(counted.why())
