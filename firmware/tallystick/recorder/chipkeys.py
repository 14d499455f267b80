# Public keys whose signatures the device's own chip checks: on a microcontroller it takes a tenth
# of a second for what pure Python needs seconds for, and the control loop goes on meanwhile.

from tallystick.evidence.keys import PublicKey
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ChipKey(PublicKey):
    """Another's key, checked by the signer's hardware where that can."""

    def __init__(self, signer: "Any", key: PublicKey) -> None:
        super().__init__(key.alg, key.raw)
        self._signer = signer

    def verifier(self, signature: bytes, message: bytes) -> "Any":
        """See PublicKey."""
        work = self._signer.verifier(self, signature, message)
        return work or super().verifier(signature, message)


def in_chip(signer: "Any", key: PublicKey) -> PublicKey:
    """The key; on MicroPython checked by the signer's chip, if that checks anything.

    A library does it a thousand times faster than a chip, where there is one.
    """
    return ChipKey(signer, key) if MICROPYTHON and hasattr(signer, "verifier") else key
