# A key for device tests.  Ed25519 is deterministic, so its signatures are known beforehand: a
# 64 KiB heap need not hold the signing code beside the objects.  A test file brings two tables,
# made by tests/support/device_signatures.py: KEYS, and SIGNATURES by the first bytes of SHA-256
# over letter and message.
from binascii import hexlify, unhexlify

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import EDDSA, PublicKey, from_raw

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Signer:
    def __init__(self, letter: str, keys: dict[str, str], signatures: dict[str, str]) -> None:
        # The secret is 32 times the letter.
        self.letter = letter
        self.signatures = signatures
        self.key = from_raw(EDDSA, unhexlify(keys[letter]))
        self.id = self.key.thumbprint()

    def public_key(self) -> PublicKey:
        return self.key

    def sign(self, message: bytes) -> bytes:
        name = hexlify(sha256(self.letter.encode() + message)[:4]).decode()
        return unhexlify(self.signatures[name])


def refused(function: "Any", *arguments: "Any") -> str:
    # The reason of the refusal.
    try:
        function(*arguments)
    except TallyError as error:
        return error.reason
    raise AssertionError("accepted: %r" % (arguments,))
