# MicroPython only
# TLS for umqtt: the broker's certificate is always checked.  (micropython-lib's `ssl` does not.)
#
# Its dates are checked by the device's clock.  Many boards have none that is set, and some ports'
# Mbed TLS refuses every certificate then.  There the board's clock is put to the certificate's own
# first day while hands are shaken, and back afterwards; so everything but the dates is checked, and
# the recorder says that they were not.  Other ports check no dates at all: there it is done here.

import os
from binascii import a2b_base64

import tls

from tallystick.evidence.errors import TransportError
from tallystick.recorder import clock
from tallystick.recorder.files import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.clockput import Put

FILE_BYTES_MAX = 8192
DAY_S = 86400
# In each record's header.
TLS_MAJOR = 3
DATES = "tls-dates"
# Of a port that does not keep the certificate.
UNKNOWN = (0, 1 << 40)


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


class Secure:
    """What is known of one broker's TLS from one connection to the next."""

    def __init__(self, paths: dict[str, str], host: str) -> None:
        self._paths = paths
        self._host = host
        # This connection is made to see the certificate: nothing is believed, nothing is sent.
        self.looks = False
        self._seen = False
        # A second at which the broker's certificate is valid, where this device knows none.
        self._valid_s = 0
        self._clock: "Put | None" = None

    def wrap(self, raw: "Any") -> "Any":
        """The socket inside TLS; it shakes hands when it is first used, and checks against `ca`."""
        context = tls.SSLContext(tls.PROTOCOL_TLS_CLIENT)
        paths = self._paths
        context.verify_mode = tls.CERT_NONE if self.looks else tls.CERT_REQUIRED
        try:
            context.load_verify_locations(_der(paths["ca"], b"CERTIFICATE"))
            if "cert" in paths:
                context.load_cert_chain(
                    _der(paths["cert"], b"CERTIFICATE"), _der(paths["key"], b"PRIVATE KEY")
                )
            if self._valid_s:
                from tallystick.recorder.clockput import Put  # noqa: PLC0415  # rarely

                self._clock = Put(self._valid_s)
            # Each use goes as far as the network lets it, so the handshake comes in steps too.
            return context.wrap_socket(
                raw, server_hostname=self._host, do_handshake_on_connect=False
            )
        except ValueError as error:
            # What MicroPython raises for files that it cannot read.
            raise TransportError("bad-tls", "the files of tls cannot be used: %s" % error)

    def look(self, sock: "Any") -> bool:
        """Shake hands with whom it may be; when its certificate is seen that is the end."""
        sock.read(1)
        certificate = sock.getpeercert(True)  # noqa: FBT003  # its only form
        if not certificate:
            return False
        first_s, last_s = _dates(certificate)
        # A day later, since its authority may have begun on the same day.
        self._valid_s = min(first_s + DAY_S, last_s)
        self._seen = True
        raise TransportError(DATES, "seen")

    def spoken(self, sock: "Any", raw: "Any") -> bool:
        """Whether the other end of a connection that failed speaks TLS."""
        try:
            # Its certificate is here; or an alert is, which came while something was sent to it.
            return bool(sock.getpeercert(True)) or raw.recv(2)[1] == TLS_MAJOR  # noqa: FBT003  # its only form
        except Exception:  # noqa: BLE001  # nothing is
            return False

    def established(self, sock: "Any") -> "tuple[int, int] | None":
        """Hands were shaken; the dates that could not be checked, None where they are right."""
        self._valid_s = 0
        self.ended()
        certificate = sock.getpeercert(True)  # noqa: FBT003  # its only form
        if not certificate:
            return UNKNOWN
        first_s, last_s = _dates(certificate)
        now_s = clock.machine_s()
        if now_s is None:
            return first_s, last_s
        if not first_s <= now_s <= last_s:
            raise ValueError("validity")
        return None

    def failed(self, reason: str) -> bool:
        """Why it ended; True to connect again at once: without a clock, dates are no reason."""
        again = self._seen
        if not again:
            # Once: a certificate that is not valid at its own dates is its authority's fault.
            again = reason == DATES and not self._valid_s and clock.machine_s() is None
            self._valid_s = 0
        self.looks = again and not self._seen
        self._seen = False
        return again

    def ended(self) -> None:
        """Nobody's hands are shaken: the board's clock goes back to what it was."""
        put, self._clock = self._clock, None
        if put is not None:
            put.back()


def _dates(certificate: bytes) -> "tuple[int, int]":
    from tallystick.recorder.tls_dates import dates  # noqa: PLC0415  # forgotten again

    found = dates(certificate)
    forget(("recorder.tls_dates",))
    return found
