# The gateways whose custody receipts free anything here.

from tallystick.evidence import keys
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

# Bytes of a COSE_Key by the number of characters of its text: Ed25519, P-256.
KEY_SIZES = {54: 40, 100: 75}


def pinned_gateways(gateways: "list[dict[str, Any]]") -> "dict[bytes, PublicKey]":
    """Keys of gateways by their hints."""
    pinned = {}
    for gateway in gateways:
        text = gateway["key"]
        if type(text) is not str or len(text) not in KEY_SIZES:
            raise Malformed("bad-config", "a gateway's key is the base64url of a COSE key")
        key = keys.from_cose_key(decode(keys.from_b64u(text, KEY_SIZES[len(text)])))
        pinned[key.kid()] = key
    return pinned
