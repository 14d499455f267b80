"""Code: what lets a device ask to join a fleet (docs/protocol.md, 5.5)."""

# 30 bytes: a secret of 15, a commitment to the fleet root's line of 13, a check of 2.  As text 12
# groups of four, in RFC 4648's base32 in lower case.  The secret never travels: three values are
# derived from it, and two of them are keys that only prove that it is known.

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.root import parse_root

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

SECRET_SIZE = 15
COMMITMENT_SIZE = 13
CHECK_SIZE = 2
SIZE = 30
CHARS = 48
GROUP_CHARS = 4
NAME_SIZE = 16
TEXT_CHARS_MAX = 96  # with whatever people put between the groups
_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_BLOCK_SIZE = 64


class Code:
    """secret, commitment: bytes; neither repr nor errors show the secret."""

    def __init__(self, secret: bytes, commitment: bytes) -> None:
        if len(secret) != SECRET_SIZE or len(commitment) != COMMITMENT_SIZE:
            raise Malformed("bad-value", "a code has 15 bytes of secret and 13 of commitment")
        self._secret = secret
        self.commitment = commitment

    def __repr__(self) -> str:
        return "Code(...)"

    def text(self) -> str:
        """The secret itself, as people hand it over."""
        data = self._secret + self.commitment
        data += _check(data)
        value = int.from_bytes(data, "big")
        chars = bytearray()
        for at in range(CHARS):
            if at and at % GROUP_CHARS == 0:
                chars += b"-"
            chars.append(_ALPHABET[value >> 5 * (CHARS - 1 - at) & 31])
        return bytes(chars).decode()

    def name(self) -> bytes:
        """16 bytes by which a gateway finds the invitation; they tell nothing of the secret."""
        return sha256(b"tallystick join name" + self._secret)[:NAME_SIZE]

    def door_key(self) -> bytes:
        """32 bytes that the gateway holds: a request made with the code passes its door."""
        return sha256(b"tallystick join door" + self._secret)

    def fleet_key(self) -> bytes:
        """32 bytes that the fleet holds, and no gateway: whose request is a code's holder's."""
        return sha256(b"tallystick join fleet" + self._secret)

    def check_root(self, line: str) -> "tuple[str, PublicKey]":
        """(iss, key) of a root's line; Unverified unless it is the one that the code is of."""
        if type(line) is not str or commit(line) != self.commitment:
            raise Unverified("wrong-key", "this is not the fleet root that the code is of")
        return parse_root(line)


def commit(line: str) -> bytes:
    """13 bytes of a root's line: no other root has them."""
    return sha256(b"tallystick join root" + line.encode())[:COMMITMENT_SIZE]


def _check(data: bytes) -> bytes:
    return sha256(b"tallystick join code" + data)[:CHECK_SIZE]


def parse(text: str) -> Code:
    """A code as people type it, in any case, with blanks or hyphens; errors never show it."""
    wrong = Malformed("bad-value", "this is no code, or it is mistyped; one has 12 groups of four")
    if type(text) is not str or len(text) > TEXT_CHARS_MAX:
        raise wrong
    value = count = 0
    for char in text.lower():
        if char in "- \r\n\t":
            continue
        digit = _ALPHABET.find(char.encode()) if char < "\x80" else -1
        if digit < 0 or count == CHARS:
            raise wrong
        value = value << 5 | digit
        count += 1
    if count != CHARS:
        raise wrong
    data = value.to_bytes(SIZE, "big")
    if _check(data[:-CHECK_SIZE]) != data[-CHECK_SIZE:]:
        raise wrong
    return Code(data[:SECRET_SIZE], data[SECRET_SIZE:-CHECK_SIZE])


def hmac(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA-256 (RFC 2104) with a key of at most 64 bytes; boards have no module for it."""
    key += bytes(_BLOCK_SIZE - len(key))
    inner = sha256(bytes([byte ^ 0x36 for byte in key]) + message)
    return sha256(bytes([byte ^ 0x5C for byte in key]) + inner)


def same(given: "Any", wanted: bytes) -> bool:
    """Whether these are the same bytes; how long it takes tells nothing of where they differ."""
    if type(given) is not bytes or len(given) != len(wanted):
        return False
    differ = 0
    for at in range(len(wanted)):
        differ |= given[at] ^ wanted[at]
    return differ == 0
