"""Software keys in memory: libraries on CPython, pure Python in steps on MicroPython."""

# Apart from hw/file_key.py, so that a device need not keep what opens, checks and creates files.

import sys

from tallystick.evidence.errors import KeyDriverError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from tallystick.evidence.keys import PublicKey

# Steps of pure-Python Ed25519 in one poll(): about 3 point operations each, 152 a signature.
STEPS_A_POLL = 4

_MICROPYTHON = sys.implementation.name == "micropython"

if not _MICROPYTHON:
    from tallystick.hw.signer import Signer
else:
    # Loaded now, since it will be needed, and while the heap of a device is still whole.
    from tallystick.evidence import _ed25519
    from tallystick.evidence.steps import Steps

    # All that a signer needs is below, and the base class would cost heap.
    Signer = object  # type: ignore[assignment,misc]


def library() -> "Any":
    """The libraries that sign on CPython."""
    from tallystick.hw import _software  # noqa: PLC0415  # libraries that a device does not have

    return _software


class FileKey(Signer):
    """A private key in memory; neither repr nor errors show it."""

    custody = "software"

    def __init__(self, public: "PublicKey", secret: bytes) -> None:
        self.alg = public.alg
        self.steps_a_poll = STEPS_A_POLL
        # Not the object: a device that only signs need not keep the code that checks keys.
        self._raw = public.raw
        # What signs: the secret itself on MicroPython, a loaded key elsewhere.
        self._secret: "Any" = secret
        if not _MICROPYTHON:
            self._secret = library().signing(self.alg, secret)
        self._work: "Any" = None
        self._signature: bytes | None = None

    def __repr__(self) -> str:
        return "FileKey(%r)" % self.public_key()

    def public_key(self) -> "PublicKey":
        from tallystick.evidence.keys import PublicKey  # noqa: PLC0415  # costs heap

        return PublicKey(self.alg, self._raw)

    def begin(self, message: bytes) -> None:
        if self._work:
            raise KeyDriverError("busy", "the software key is still signing")
        self._signature = None
        self._work = self._signing(message)

    def _signing(self, message: bytes) -> "Any":
        if _MICROPYTHON:
            return Steps(_ed25519.sign(self._secret, self._raw, message))
        return _AtOnce(self._secret, message)

    def poll(self) -> bool:
        if not self._work:
            if self._signature is None:
                raise KeyDriverError("not-signing", "the software key signs nothing: begin() first")
            return True
        work = self._work
        # Where a step raises, as for want of heap, signing is over, and begin() may try again.
        self._work = None
        for _ in range(self.steps_a_poll):
            if work.step():
                self._signature = work.result
                return True
        self._work = work
        return False

    def signature(self) -> bytes:
        signature = self._signature
        if signature is None:
            raise KeyDriverError("not-ready", "the software key has no signature ready")
        self._signature = None
        return signature

    def sign(self, message: bytes) -> bytes:
        self.begin(message)
        while not self.poll():
            pass
        return self.signature()

    def counter(self) -> "Any":
        return None

    def close(self) -> None:
        self._work = None


class _AtOnce:
    # Where a library signs in microseconds there is nothing to cut.

    def __init__(self, sign: "Callable[[bytes], bytes]", message: bytes) -> None:
        self._sign = sign
        self._message = message
        self.result = b""

    def step(self) -> bool:
        self.result = self._sign(self._message)
        return True
