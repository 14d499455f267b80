# Public keys whose signatures the device's own chip checks: on a microcontroller it takes a tenth
# of a second for what pure Python needs seconds for, and the control loop goes on meanwhile.

from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey


class ChipKey:
    """Another's key, checked by the signer's hardware where that can: what verifiers ask of one."""

    # No PublicKey itself, since its class takes 3 KiB of heap and a chip does without.

    def __init__(self, signer: "Any", key: "PublicKey") -> None:
        self.alg = key.alg
        self.raw = key.raw
        self._kid = key.kid()
        self._signer = signer

    def kid(self) -> bytes:
        """See PublicKey."""
        return self._kid

    def verifier(self, signature: bytes, message: bytes) -> "Any":
        """See PublicKey."""
        work = self._signer.verifier(self, signature, message)
        if work is None:
            from tallystick.evidence.keys import PublicKey  # noqa: PLC0415  # costs heap

            work = PublicKey(self.alg, self.raw).verifier(signature, message)
        return work


def in_chip(signer: "Any", key: "PublicKey") -> "PublicKey":
    """The key; on MicroPython checked by the signer's chip, if that checks anything.

    A library does it a thousand times faster than a chip, where there is one.
    """
    if MICROPYTHON and hasattr(signer, "verifier"):
        return ChipKey(signer, key)  # type: ignore[return-value]  # as far as it is asked
    return key
