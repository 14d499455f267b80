# Making statements: part of statement.py, which loads it on demand.

from tallystick.evidence import cose
from tallystick.evidence.statement import ISS, SUB, check_iss, check_sub

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.keys import PublicKey
    from tallystick.evidence.statement import Signs


class Unsigned:
    """A statement that waits for its signature over `to_be_signed`."""

    def __init__(self, protected: bytes, payload: bytes) -> None:
        self.protected = protected
        self.payload = payload
        self.to_be_signed = cose.to_be_signed(protected, payload)

    def finish(self, signature: bytes) -> bytes:
        """The statement's bytes."""
        return cose.encode(self.protected, self.payload, signature)


def prepare(key: "PublicKey", iss: str, sub: str, payload: bytes) -> Unsigned:
    """Split phase: what the key must sign."""
    claims = {ISS: check_iss(iss), SUB: check_sub(sub)}
    return Unsigned(cose.protected_header(key.alg, key.kid(), claims, None), payload)


def sign(signer: "Signs", iss: str, sub: str, payload: bytes) -> bytes:
    """Sign at once; blocks."""
    unsigned = prepare(signer.public_key(), iss, sub, payload)
    return unsigned.finish(signer.sign(unsigned.to_be_signed))
