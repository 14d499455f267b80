"""A fleet root's line: `iss+<base64url of its COSE_Key>`, what policies and devices pin."""

from tallystick.evidence import keys
from tallystick.evidence._text import check_iss
from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import PublicKey

# Bytes of a COSE_Key by the number of characters of its text: Ed25519, P-256.
_SIZES = {54: 40, 100: 75}


def format_root(iss: str, key: PublicKey) -> str:
    """The line, without an end of line."""
    return check_iss(iss) + "+" + keys.b64u(encode(key.cose_key()))


def parse_root(text: str) -> tuple[str, PublicKey]:
    """(iss, key); two texts never mean one root."""
    if type(text) is not str or text.count("+") != 1:
        raise Malformed("bad-value", "a root's line is name+key")
    iss, encoded = text.split("+")
    size = _SIZES.get(len(encoded))
    if size is None:
        raise Malformed("bad-key", "a root's line does not hold a COSE key of P-256 or Ed25519")
    return check_iss(iss), keys.from_cose_key(decode(keys.from_b64u(encoded, size)))
