# What several device tests sign with: fixed Ed25519 keys, signed by our own pure-Python code, so
# that every interpreter makes the same bytes.
import _names
from tallystick.evidence import _ed25519, keys
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.steps import finish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


EPOCH, ISS = _names.EPOCH, _names.ISS


class Key:
    """A signer of a fixed secret."""

    def __init__(self, name: str) -> None:
        self.secret = sha256(name.encode())
        self._key = keys.from_raw(-8, finish(_ed25519.public_key(self.secret)))
        self.id = self._key.thumbprint()

    def public_key(self) -> keys.PublicKey:
        return self._key

    def sign(self, message: bytes) -> bytes:
        signature: bytes = finish(_ed25519.sign(self.secret, self._key.raw, message))
        return signature


def refused(function: "Any", *arguments: "Any", **named: "Any") -> str:
    """The reason of the TallyError that the call must raise."""
    try:
        function(*arguments, **named)
    except TallyError as error:
        return error.reason
    raise AssertionError("accepted: %r" % (arguments,))


def steps_of(work: "Any") -> int:
    """How many steps a stepwise verifier took."""
    count = 1
    while not work.step():
        count += 1
    return count
