"""What the gateway signs: custody receipts, heads of its log, batches. One key, one at a time."""

import threading
from collections.abc import Iterable

from tallystick.evidence import statement
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.statement import Signed
from tallystick.gateway.tracks import Track
from tallystick.hw.signer import Signer


class Signing:
    """The gateway's key behind a lock: a chip takes one message at a time."""

    def __init__(self, signer: Signer, iss: str, gateway: bytes) -> None:
        self._signer = signer
        self._lock = threading.Lock()
        self.iss = iss
        self.gateway = gateway
        self.key: PublicKey = signer.public_key()
        # Why nothing is signed now, for `tally gateway status`; empty when the key answers.
        self.error = ""

    def sign(self, unsigned: Signed, sub: bytes) -> tuple[bytes, bytes]:
        """(statement, its digest); blocks."""
        prepared = statement.prepare(self.key, self.iss, device_text(sub), unsigned.payload())
        with self._lock:
            try:
                signature = self._signer.sign(prepared.to_be_signed)
            except KeyDriverError as error:
                self.error = f"key: {error.message}"
                raise
            self.error = ""
        return prepared.finish(signature), sha256(prepared.to_be_signed)

    def close(self) -> None:
        """Give the key back."""
        self._signer.close()


def receipts_due(track: Track, now_ms: int) -> Iterable[CustodyReceipt]:
    """The receipts that say all that is true of a track now.

    Each speaks of as much as it can, from the first item on, so that the newest makes every older
    one superfluous: a device that lost one needs no other than the next. One with elided items
    cannot say `bodies`, so there may be two.
    """
    epoch, size, root = track.epoch, track.size, track.root
    elided = track.bodies_from > track.began and track.elided_to < track.bodies_from
    if track.bodies_from < size or track.began == size:
        yield CustodyReceipt(epoch, track.bodies_from, size, root, bodies=True, time_ms=now_ms)
    else:
        elided = True
    if elided:
        yield CustodyReceipt(epoch, track.began, size, root, bodies=False, time_ms=now_ms)
