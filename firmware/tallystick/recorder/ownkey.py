# The key of a device that has no enrolment yet: opened, or made where there is none.

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def open_key(uri: str, secrets: "Any" = None, make: bool = True) -> "Any":  # noqa: FBT001, FBT002  # on a board too
    """The signer that `uri` names; with `make` it is made where there is none, and never twice."""
    from tallystick.hw.signer import Signer  # noqa: PLC0415  # costs heap

    try:
        return Signer.from_uri(uri, secrets)
    except KeyDriverError as error:
        if error.reason != "no-key" or not make:
            raise
    return Signer.create(uri, None, secrets)


def with_serial(details: "dict[str, Any]") -> "dict[str, Any]":
    """What a device says of itself: on a board its number, unless a serial is given."""
    found = dict(details)
    if MICROPYTHON and "serial" not in found:
        try:
            from binascii import hexlify  # noqa: PLC0415  # here only

            from machine import unique_id  # noqa: PLC0415  # a board's

            found["serial"] = hexlify(unique_id()).decode()
        except ImportError:
            pass
    return found
