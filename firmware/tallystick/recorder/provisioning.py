# What `tally device provision` has a board do, over its cable: make its key, show that it has it,
# open its recorder.  The key stays here.

from tallystick.evidence.errors import TallyError
from tallystick.recorder import ownkey

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def call(name: str, *arguments: "Any") -> "tuple[Any, ...]":
    """("ok", what came of it) or ("no", reason, message)."""
    try:
        return "ok", _CALLS[name](*arguments)
    except TallyError as error:
        return "no", error.reason, error.message


def _find(uri: str) -> "tuple[bytes, str]":
    return _shown(ownkey.open_key(uri, None, make=False))


def _make(uri: str) -> "tuple[bytes, str]":
    return _shown(ownkey.open_key(uri))


def _shown(signer: "Any") -> "tuple[bytes, str]":
    # (thumbprint, custody) of the key.
    try:
        return signer.public_key().thumbprint(), signer.custody
    finally:
        signer.close()


def _request(uri: str, iss: str, details: "dict[str, Any]") -> bytes:
    from tallystick.evidence import enrolmentrequest  # noqa: PLC0415  # costs heap

    signer = ownkey.open_key(uri, None, make=False)
    try:
        return enrolmentrequest.make(signer, iss, None, ownkey.with_serial(details)).encode()
    finally:
        signer.close()


def _set_up(uri: str, serial: "str | None") -> list[str]:
    # A new secure element; its locks cannot be undone.  Without a serial number nothing is done.
    from tallystick.hw.atecc608_setup import provision  # noqa: PLC0415  # rarely

    said: list[str] = []
    provision(uri, lambda _question: serial or "", said.append, serial is None)
    return said


def _opened(path: str) -> bytes:
    # The recorder opens with what was written: its device's id.
    from tallystick.recorder import Recorder  # noqa: PLC0415  # costs heap

    tally = Recorder.open(path)
    device: bytes = tally.device
    tally.close()
    return device


_CALLS: "dict[str, Any]" = {
    "find": _find,
    "make": _make,
    "request": _request,
    "set_up": _set_up,
    "opened": _opened,
}
