# MicroPython only
# TLS for umqtt: the broker's certificate is always checked.  (micropython-lib's `ssl` does not.)

import os
from binascii import a2b_base64

import tls

from tallystick.evidence.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FILE_BYTES_MAX = 8192


def _der(path: str) -> bytes:
    # Boards' Mbed TLS is often built without PEM, so its text is taken apart here.
    try:
        # The size first: read(n) takes n bytes of heap before it reads.
        if os.stat(path)[6] > FILE_BYTES_MAX:
            raise TransportError("bad-tls", "%s is too long for one certificate or key" % path)
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise TransportError("bad-tls", "%s cannot be read (%s)" % (path, error))
    begin = data.find(b"-----BEGIN ")
    if begin < 0:
        return data
    begin = data.find(b"\n", begin)
    end = data.find(b"-----END ", begin)
    return a2b_base64(data[begin:end])


def wrap(raw: "Any", paths: dict[str, str], host: str) -> "Any":
    """The socket inside TLS; it shakes hands when it is first used, and checks against `ca`."""
    context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
    context.verify_mode = tls.CERT_REQUIRED
    try:
        context.load_verify_locations(_der(paths["ca"]))
        if "cert" in paths:
            context.load_cert_chain(_der(paths["cert"]), _der(paths["key"]))
        # Each use goes as far as the network lets it, so the handshake comes in steps too.
        return context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False)
    except ValueError as error:
        # What MicroPython raises for files that it cannot read.
        raise TransportError("bad-tls", str(error))
