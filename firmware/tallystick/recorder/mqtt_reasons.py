# Why there is no connection to a broker: one reason and one sentence for what OpenSSL, Mbed TLS and
# sockets say in many.  Loaded when a connection fails.

from tallystick.evidence.errors import TransportError
from tallystick.recorder.files import MICROPYTHON

AUTHORITY = "tls-authority"
HOST = "tls-host"
DATES = "tls-dates"
REFUSED = "tls-refused"
NO_TLS = "no-tls"
NO_ANSWER = "no-answer"
# Words of OpenSSL, words or numbers of Mbed TLS; the first that is found counts.  A certificate may
# be wrong in more than one way: who signed it comes first.
WORDS = (
    ("trusted CA", AUTHORITY),
    ("expected CN", HOST),
    ("ostname mismatch", HOST),
    ("address mismatch", HOST),
    ("validity", DATES),
    ("has expired", DATES),
    ("not yet valid", DATES),
    ("VERIFY_FAILED", AUTHORITY),
    ("-9984", AUTHORITY),  # 0x2700, where the words were left out of a board's Mbed TLS
    ("_ALERT_", REFUSED),
    ("-30592", REFUSED),  # 0x7780, a fatal alert
    ("WRONG_VERSION", NO_TLS),
    ("-29184", NO_TLS),  # 0x7200, no record of TLS
    ("timed out", NO_ANSWER),
    ("ImportError", "bad-tls"),  # MicroPython before 1.23 has no module `tls`
)
# What ends a connection: words, and numbers of sockets and of Mbed TLS.
PIPE = ("roken pipe", "(32,", "(-32,")
CLOSED = PIPE + ("closed", "reset", "EOF", "(103,", "(104,", "(-103,", "(-104,", "-29312", "(-80,")
# How far the connection had come; anything later is UP.
SHAKING, GREETING, UP = range(3)

# A microcontroller tells reasons alone.
if not MICROPYTHON:
    SENTENCES = {
        AUTHORITY: "%s shows a certificate that is not signed by the authority in tls.ca",
        HOST: "%s shows a certificate for another host than uplink names",
        DATES: "%s shows a certificate that is expired or not valid yet, or this clock is wrong",
        REFUSED: "%s refuses this device's certificate, or misses it; its log tells more",
        NO_TLS: "%s does not speak TLS on this port",
        NO_ANSWER: "%s does not answer",
        "bad-tls": "TLS with %s failed",
        "no-link": "no connection to %s",
        "not-allowed": "%s lets this device not subscribe: its user must be the device's id",
    }


def of_error(error: Exception, host: str, phase: int) -> TransportError:
    """What to raise for what was raised."""
    if isinstance(error, TransportError):
        return error
    return of_text(repr(error), host, phase)


def of_text(text: str, host: str, phase: int) -> TransportError:
    """As of_error, of what a library says."""
    reason = _reason(text, phase)
    said = " (%s)" % text if text and reason in ("bad-tls", "no-link") else ""
    return TransportError(reason, SENTENCES[reason] % host + said)


def _reason(text: str, phase: int) -> str:
    for word, reason in WORDS:
        if word in text:
            return reason
    if phase != UP:
        for word in CLOSED:
            if word in text:
                # In the middle of the handshake, or right after it, it is the certificate: clients
                # of TLS 1.3 learn then what became of theirs, and the alert may be lost with the
                # connection. A pipe breaks only after an answer.
                return REFUSED if phase == GREETING or word in PIPE else NO_TLS
    return "bad-tls" if "ValueError" in text else "no-link"


def not_allowed(host: str) -> TransportError:
    """The broker refused the subscription."""
    return TransportError("not-allowed", SENTENCES["not-allowed"] % host)
