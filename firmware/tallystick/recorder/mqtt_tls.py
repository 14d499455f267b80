# MicroPython only
# TLS for umqtt, from the handshake on: the broker's certificate is always checked.
#
# Its dates are checked by the device's clock.  Many boards have none that is set, and some ports'
# Mbed TLS refuses every certificate then.  There the board's clock is put to the certificate's own
# first day while hands are shaken, and back afterwards; so everything but the dates is checked, and
# the recorder says that they were not.  Other ports check no dates at all: there it is done here.

from tallystick.evidence.errors import TransportError
from tallystick.recorder import clock
from tallystick.recorder.files import forget

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.recorder.clockput import Put

DAY_S = 86400
# In each record's header.
TLS_MAJOR = 3
DATES = "tls-dates"
# Of a port that does not keep the certificate.
UNKNOWN = (0, 1 << 40)


class Secure:
    """What is known of one broker's TLS from one connection to the next."""

    def __init__(self, paths: dict[str, str], host: str) -> None:
        self.paths = paths
        self.host = host
        # This connection is made to see the certificate: nothing is believed, nothing is sent.
        self.looks = False
        self._seen = False
        # A second at which the broker's certificate is valid, where this device knows none.
        self.valid_s = 0
        # Put to that second while hands are shaken.
        self.clock: "Put | None" = None

    def wrap(self, raw: "Any") -> "Any":
        """The socket inside TLS; it shakes hands when it is first used, and checks against `ca`."""
        made = _wrapped(self, raw)
        forget(("recorder.tls_wrapping",))
        return made

    def look(self, sock: "Any") -> bool:
        """Shake hands with whom it may be; when its certificate is seen that is the end."""
        sock.read(1)
        certificate = sock.getpeercert(True)  # noqa: FBT003  # its only form
        if not certificate:
            return False
        first_s, last_s = _dates(certificate)
        # A day later, since its authority may have begun on the same day.
        self.valid_s = min(first_s + DAY_S, last_s)
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
        self.valid_s = 0
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
            again = reason == DATES and not self.valid_s and clock.machine_s() is None
            self.valid_s = 0
        self.looks = again and not self._seen
        self._seen = False
        return again

    def ended(self) -> None:
        """Nobody's hands are shaken: the board's clock goes back to what it was."""
        put, self.clock = self.clock, None
        if put is not None:
            put.back()


def _wrapped(secure: Secure, raw: "Any") -> "Any":
    from tallystick.recorder.tls_wrapping import wrapped  # noqa: PLC0415  # forgotten again

    return wrapped(secure, raw)


def _dates(certificate: bytes) -> "tuple[int, int]":
    from tallystick.recorder.tls_dates import dates  # noqa: PLC0415  # forgotten again

    found = dates(certificate)
    forget(("recorder.tls_dates",))
    return found
