# Who this device is, from its configuration: id, credential, and the form of its checkpoints.

import os

from tallystick.evidence import keys, statement
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.kinds import ENROLMENT, KEY_CHANGE
from tallystick.recorder.forms import Forms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.evidence.keys import PublicKey

CREDENTIAL_BYTES_MAX = 16384
ROTATION = 0


def read_credential(path: str | None) -> list[bytes]:
    """The statements of a credential file; empty where none is configured."""
    if path is None:
        return []
    try:
        # The size first: MicroPython's read(n) takes n bytes of heap before it reads.
        if os.stat(path)[6] > CREDENTIAL_BYTES_MAX:
            raise Malformed("bad-config", "credential %s is too long" % path)
        with open(path, "rb") as file:
            data = file.read()
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


def device_text(device: bytes) -> str:
    """The id's text."""
    return keys.device_text(device)


def forms(key: "PublicKey", iss: str, sub: str) -> Forms:
    """What stands around the payload in this device's checkpoints."""
    # Taken from a checkpoint that is never sent: both end with payload and signature.
    payload = b"p"
    unsigned = statement.prepare(key, iss, sub, payload)
    signature = bytes(64)
    signed = unsigned.finish(signature)
    cut = len(signed) - len(signature)
    # A byte string of 64 bytes has a head of two bytes, one of 1 byte a head of one.
    return Forms(unsigned.to_be_signed[:-2], signed[: cut - 4], signed[cut - 2 : cut])
