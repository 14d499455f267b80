# Who this device is, from its configuration: id, credential, pinned gateways.

from tallystick.evidence import keys, statement
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.kinds import ENROLMENT, KEY_CHANGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

CREDENTIAL_BYTES_MAX = 16384
ROTATION = 0
# Bytes of a COSE_Key by the number of characters of its text: Ed25519, P-256.
KEY_SIZES = {54: 40, 100: 75}


def read_credential(path: str | None) -> list[bytes]:
    """The statements of a credential file; empty where none is configured."""
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            data = file.read(CREDENTIAL_BYTES_MAX + 1)
    except OSError as error:
        raise Malformed("bad-config", "credential %s cannot be read (%s)" % (path, error))
    statements = decode(data)
    if type(statements) is not list or not statements:
        raise Malformed("bad-config", "credential %s holds no enrolment" % path)
    return statements


def device_id(credential: list[bytes], fleet: str, key: "PublicKey") -> bytes:
    """The enrolled id, when the credential is this key's; else that of a key not yet enrolled."""
    if not credential:
        return key.thumbprint()
    # Nothing is verified: it is our own, and who receives it verifies it.
    first = statement.parse(credential[0], ENROLMENT)
    current = keys.from_cose_key(first.values[2])
    for data in credential[1:]:
        change = statement.parse(data, KEY_CHANGE)
        if change.values[0] == ROTATION:
            current = keys.from_cose_key(change.values[3])
    if current != key:
        raise KeyDriverError("wrong-key", "the credential is for another key than the device's")
    if first.iss != fleet:
        raise Malformed("bad-config", "the credential is by %s and not by fleet" % first.iss)
    device: bytes = first.values[1]
    return device


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
