# MicroPython only
# A socket inside TLS: part of mqtt_tls.py that is forgotten before hands are shaken, which takes
# heap too.  The broker's certificate is always checked.  (micropython-lib's `ssl` does not.)

import os
from binascii import a2b_base64

import tls

from tallystick.evidence.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.mqtt_tls import Secure

FILE_BYTES_MAX = 8192


def wrapped(secure: "Secure", raw: "Any") -> "Any":
    """See Secure.wrap."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    paths = secure.paths
    context.verify_mode = tls.CERT_NONE if secure.looks else tls.CERT_REQUIRED
    try:
        context.load_verify_locations(_der(paths["ca"], b"CERTIFICATE"))
        if "cert" in paths:
            context.load_cert_chain(
                _der(paths["cert"], b"CERTIFICATE"), _der(paths["key"], b"PRIVATE KEY")
            )
        if secure.valid_s:
            from tallystick.recorder.clockput import Put  # noqa: PLC0415  # rarely

            secure.clock = Put(secure.valid_s)
        # Each use goes as far as the network lets it, so the handshake comes in steps too.
        return context.wrap_socket(raw, server_hostname=secure.host, do_handshake_on_connect=False)
    except ValueError as error:
        # What MicroPython raises for files that it cannot read.
        raise TransportError("bad-tls", "the files of tls cannot be used: %s" % error)


def _der(path: str, kind: bytes) -> bytes:
    # Boards' Mbed TLS is often built without PEM, so its text is taken apart here.
    try:
        # The size first: read(n) takes n bytes of heap before it reads.
        if os.stat(path)[6] > FILE_BYTES_MAX:
            raise TransportError("bad-tls", "%s is too long for one certificate or key" % path)
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise TransportError("bad-tls", "%s cannot be read (%s)" % (path, error))
    # What OpenSSL writes before a key tells its curve, which the key does too.
    begin = data.find(kind + b"-----")
    if begin < 0:
        return data
    begin = data.find(b"\n", begin)
    return a2b_base64(data[begin : data.find(b"-----END ", begin)])
