"""Errors carry a reason to count and a message to read."""

from tallystick.evidence.errors import (
    CouldNotCheck,
    KeyDriverError,
    Malformed,
    TallyError,
    TransportError,
    Unverified,
)


def test_every_error_is_a_tally_error_with_reason_and_message() -> None:
    for kind in (Malformed, Unverified, CouldNotCheck, TransportError, KeyDriverError):
        try:
            raise kind("too-deep", "nesting beyond the limit at byte 3")
        except TallyError as error:
            assert error.reason == "too-deep"
            assert error.message == "nesting beyond the limit at byte 3"
            assert str(error) == error.message
            assert type(error) is kind
