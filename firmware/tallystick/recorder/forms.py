# The constant parts of a device's checkpoints (RFC 9052, 4.2 and 4.4).

from tallystick.evidence.cbor import head


class Forms:
    """What stands around the payload in a checkpoint; made once, by evidence/statement.py."""

    def __init__(self, to_be_signed: bytes, signed: bytes, signature_head: bytes) -> None:
        self._to_be_signed = to_be_signed
        self._signed = signed
        self._signature_head = signature_head

    def to_be_signed(self, payload: bytes) -> bytes:
        """What the key signs."""
        return self._to_be_signed + head(2, len(payload)) + payload

    def checkpoint(self, payload: bytes, signature: bytes) -> bytes:
        """The signed checkpoint."""
        return self._signed + head(2, len(payload)) + payload + self._signature_head + signature
