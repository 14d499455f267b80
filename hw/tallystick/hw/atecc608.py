"""Keys in an ATECC608: `atecc608:bus=1;address=0x60;slot=0` (docs/hardware.md).

On Linux `bus=N` is /dev/i2c-N; on a board `id=N;scl=PIN;sda=PIN` are machine.I2C's. `board=NAME`
takes them from the packaged description of a board. `tcp=HOST:PORT` is a virtual chip elsewhere,
`virtual=PATH` one in this process. Then `address=` (0x60) and `slot=` (0).
"""

# What a device keeps after it opened its key; atecc608_open.py is forgotten there.

import sys

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.hw.atecc608_chip import IDLE, Chip, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey
    from tallystick.hw.atecc608_chip import Job, Work
    from tallystick.hw.signer import Secrets

NONCE = 0x16
SIGN = 0x41
VERIFY = 0x45
NONCE_MS = 20
SIGN_MS = (115, 220, 665)
VERIFY_MS = (105, 295, 1085)
# The watchdog may end a command after so long; the longest ones cannot be had then.
WATCHDOG_MS = 700
ES256 = -7
MISMATCH = 1

if sys.implementation.name != "micropython":
    from tallystick.hw.signer import Signer
else:
    # All that a signer needs is below, and the base class would cost heap.
    Signer = object  # type: ignore[assignment,misc]


def open_signer(rest: str, secrets: "Secrets | None" = None) -> "AteccKey":  # noqa: ARG001  # none
    """The key in a slot; KeyDriverError says what is wrong with chip, slot or bus."""
    from tallystick.hw.atecc608_open import open_key  # noqa: PLC0415  # forgotten again

    return open_key(rest)


def create_signer(
    rest: str,
    alg: "int | None" = None,
    secrets: "Secrets | None" = None,  # noqa: ARG001  # the chip has none
) -> "AteccKey":
    """Make the key of a slot that has none."""
    from tallystick.hw.atecc608_open import create_key  # noqa: PLC0415  # once

    return create_key(rest, alg)


class AteccKey(Signer):
    """The private key in one slot, which never leaves the chip."""

    alg = ES256
    custody = "secure-element"

    def __init__(self, chip: Chip, slot: int, raw: bytes) -> None:
        self.chip = chip
        self.slot = slot
        self._raw = raw
        self._job: "Job | None" = None
        self._counter: "Any" = None

    def __repr__(self) -> str:
        return "AteccKey(slot %d at 0x%02X)" % (self.slot, self.chip.address)

    @property
    def waits(self) -> int:  # type: ignore[override]  # what is fixed elsewhere depends on the chip
        return self.chip.idle_ms()

    def public_key(self) -> "PublicKey":
        from tallystick.evidence.keys import PublicKey  # noqa: PLC0415  # costs heap

        return PublicKey(ES256, self._raw)

    def begin(self, message: bytes) -> None:
        if self._job is not None and not self._job.done:
            raise KeyDriverError("busy", "the ATECC608 is still signing")
        self._job = self.chip.start(signing, self.chip, self.slot, sha256(message))

    def poll(self) -> bool:
        if self._job is None:
            raise KeyDriverError("not-signing", "the ATECC608 signs nothing: begin() first")
        try:
            return self._job.step()
        except Exception:
            self._job = None
            raise

    def signature(self) -> bytes:
        job = self._job
        if job is None or not job.done:
            raise KeyDriverError("not-ready", "the ATECC608 has no signature ready")
        self._job = None
        from tallystick.evidence._p256form import low_s  # noqa: PLC0415  # costs heap

        return low_s(job.result)

    def sign(self, message: bytes) -> bytes:
        self.begin(message)
        # Not a loop alone: it sleeps while the chip works.
        while not self.poll():
            self.chip.rest()
        return self.signature()

    def verifier(self, key: "PublicKey", signature: bytes, message: bytes) -> "Job | None":
        """A P-256 signature, checked in the chip; None where another way is shorter."""
        # A place is left for what only this chip can do.
        if key.alg != ES256 or VERIFY_MS[self.chip.divider] > WATCHDOG_MS or self.chip.full(1):
            return None
        from tallystick.evidence._p256form import check_signature  # noqa: PLC0415  # costs heap

        check_signature(signature)
        return self.chip.start(verifying, self.chip, key.raw, signature, sha256(message))

    def counter(self) -> "Any":
        """Counter 0 of the chip."""
        if self._counter is None:
            from tallystick.hw.atecc608_counter import AteccCounter  # noqa: PLC0415  # costs heap

            self._counter = AteccCounter(self.chip, 0)
        return self._counter

    def evidence(self, context: bytes) -> "list[list[Any]]":
        from tallystick.hw.atecc608_open import evidence  # noqa: PLC0415  # CPython's, at enrolment

        return evidence(self, context)

    def self_test(self) -> "list[str]":
        from tallystick.hw.atecc608_selftest import self_test  # noqa: PLC0415  # rarely

        return self_test(self)

    def close(self) -> None:
        if hasattr(self.chip.i2c, "close"):
            self.chip.i2c.close()


def signing(chip: Chip, slot: int, digest: bytes) -> "Work":
    """Sign a digest: load it into the chip's digest buffer, then sign what is there."""
    yield from chip.command(NONCE, 0x43, 0, digest, 1, NONCE_MS, IDLE)
    return (yield from chip.command(SIGN, 0xA0, slot, b"", 64, SIGN_MS))


def verifying(chip: Chip, raw: bytes, signature: bytes, digest: bytes) -> "Work":
    """Ends, or raises Unverified."""
    yield from chip.command(NONCE, 0x43, 0, digest, 1, NONCE_MS, IDLE)
    try:
        yield from chip.command(VERIFY, 0x22, 4, signature + raw, 1, VERIFY_MS)
    except Refused as error:
        if error.status != MISMATCH:
            raise
        raise Unverified("bad-signature", "P-256: the signature is not by this key")
