"""What libraries say of a connection that failed, and the one reason that is told of it."""

import ssl

import pytest

from tallystick.evidence.errors import TransportError
from tallystick.recorder import mqtt_reasons
from tallystick.recorder.mqtt_reasons import GREETING, SHAKING, UP

FAILED = "certificate verify failed: "


@pytest.mark.parametrize(
    ("error", "phase", "reason"),
    [
        # Mbed TLS, in MicroPython's words and numbers.
        (
            ValueError("\nThe certificate is not correctly signed by the trusted CA\n"),
            0,
            "authority",
        ),
        (
            ValueError("\nThe certificate Common Name (CN) does not match with the expected CN\n"),
            0,
            "host",
        ),
        (ValueError("\nThe certificate validity has expired\n"), 0, "dates"),
        (ValueError("\nThe certificate validity starts in the future\n"), 0, "dates"),
        (OSError(-9984), SHAKING, "authority"),
        (OSError(-30592), GREETING, "refused"),
        (OSError(-29184), SHAKING, "no-tls"),
        # Who signed it comes before what else is wrong with it.
        (
            ValueError("validity has expired\nnot correctly signed by the trusted CA\n"),
            0,
            "authority",
        ),
        # OpenSSL, in Python's words.
        (
            ssl.SSLError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {FAILED}unable to get"),
            0,
            "authority",
        ),
        (ssl.SSLError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {FAILED}Hostname mismatch"), 0, "host"),
        (
            ssl.SSLError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {FAILED}IP address mismatch"),
            0,
            "host",
        ),
        (
            ssl.SSLError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {FAILED}certificate has expired"),
            0,
            "dates",
        ),
        (
            ssl.SSLError(
                1, f"[SSL: CERTIFICATE_VERIFY_FAILED] {FAILED}certificate is not yet valid"
            ),
            0,
            "dates",
        ),
        (ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] alert"), UP, "refused"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), SHAKING, "no-tls"),
        # An end without a word: what it means depends on when it comes.
        (ConnectionResetError(104, "Connection reset by peer"), SHAKING, "no-tls"),
        (ConnectionResetError(104, "Connection reset by peer"), GREETING, "refused"),
        (BrokenPipeError(32, "Broken pipe"), SHAKING, "refused"),
        (ConnectionResetError(104, "Connection reset by peer"), UP, "no-link"),
        (TimeoutError("timed out"), SHAKING, "no-answer"),
        (ConnectionRefusedError(111, "Connection refused"), SHAKING, "no-link"),
        (ImportError("no module named 'tls'"), SHAKING, "bad-tls"),
        (ValueError("something else"), SHAKING, "bad-tls"),
    ],
)
def test_one_reason(error: Exception, phase: int, reason: str) -> None:
    told = mqtt_reasons.of_error(error, "broker", phase)
    tls = ("authority", "host", "dates", "refused")
    assert told.reason == (f"tls-{reason}" if reason in tls else reason)
    assert "broker" in told.message


def test_what_is_told_already_stays() -> None:
    error = TransportError("refused", "the broker refused the connection")
    assert mqtt_reasons.of_error(error, "broker", UP) is error


def test_numbers_as_micropython_writes_them() -> None:
    for text, phase, reason in (
        ("OSError(-32,)", SHAKING, "tls-refused"),
        ("OSError(104,)", SHAKING, "no-tls"),
        ("OSError(-104,)", GREETING, "tls-refused"),
        ("OSError(-29312,)", SHAKING, "no-tls"),
        # Another number that begins alike.
        ("OSError(-32512,)", SHAKING, "no-link"),
    ):
        assert mqtt_reasons.of_text(text, "broker", phase).reason == reason
