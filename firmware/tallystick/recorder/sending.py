# What to send next.  The cursor walks the journal; nothing is believed delivered before a custody
# receipt says so, and without one in time the cursor goes back to the last.

from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Malformed
from tallystick.recorder import freeing, stretches

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.uplink import Uplink

# Segments on their way without a custody receipt.
WINDOW_SEGMENTS_MAX = 16
RESEND_FACTOR_MAX = 8
# From the third time on the connection is made anew.
REFRESH_FACTOR = 4
REQUEST_MS_MIN = 5000


class Sender:
    """Streams sealed and signed stretches in order."""

    def __init__(self, ledger: "Ledger", resend_ms: int) -> None:
        self._ledger = ledger
        self._resend_ms = resend_ms
        self._factor = 1
        self.position = (0, 0)
        self._first = 0
        self._skip_to = 0
        # Of the stretch before the cursor, and the highest that was ever handed to the link.
        self._ordinal = 0
        self._handed = 0
        # Sizes and roots on their way to custody; a receipt is compared with these before the
        # journal is searched.
        self.window: "list[tuple[int, bytes]]" = []
        self._progress_ms = 0
        self._requested_ms = -REQUEST_MS_MIN
        self.rewind(0)

    def rewind(self, size: int) -> None:
        """Go on from the stretch that begins at `size`, or from the oldest that is still here."""
        journal = self._ledger.journal
        file = journal.list[freeing.index_of(journal, self._ledger.log.epoch, size)]
        self.position = (file.number, 0)
        self._first = file.first
        self._skip_to = size
        self._ordinal = 0
        self.window.clear()

    def request(self, epoch: bytes, size: int, now_ms: int) -> bool:
        """A resend request; harmless when forged, so only its rate is bounded."""
        log = self._ledger.log
        if epoch != log.epoch or size > log.sealed_size:
            return False
        if now_ms - self._requested_ms < REQUEST_MS_MIN:
            return False
        self._requested_ms = now_ms
        self._progress_ms = now_ms
        self.rewind(size)
        return True

    def confirmed(self, size: int, now_ms: int) -> None:
        """A verified custody receipt covers all below `size`."""
        self.window = [one for one in self.window if one[0] > size]
        self._progress_ms = now_ms
        self._factor = 1
        # What lies in custody is not sent again after a rewind that came too early.
        self._skip_to = max(self._skip_to, size)

    def repeated(self, size: int) -> None:
        """The newest custody receipt came again: what it covers need not be waited for."""
        # Else forged resend requests would keep the window full of what is known.  It is no
        # progress, so that replaying it does not put off a resend.
        self.window = [one for one in self.window if one[0] > size]
        self._skip_to = max(self._skip_to, size)

    def step(self, uplink: "Uplink", now_ms: int) -> bool:
        """Hand one stretch to the link; False when there is none or the window is full."""
        ledger = self._ledger
        if self.window and now_ms - self._progress_ms >= self._resend_ms * self._factor:
            if self._factor >= REFRESH_FACTOR:
                # A client may hang and still say that it is connected.
                uplink.refresh()
            self._factor = min(2 * self._factor, RESEND_FACTOR_MAX)
            self._progress_ms = now_ms
            ledger.health.resent += 1
            self.rewind(ledger.log.custody[0] if ledger.log.custody else 0)
            return True
        if len(self.window) >= WINDOW_SEGMENTS_MAX or self._ordinal >= ledger.sendable:
            return False
        try:
            stretch = stretches.read_stretch(ledger.journal, self.position, self._first)
            if stretch is None or stretch.ordinal > ledger.sendable:
                return False
            return self._hand(uplink, stretch, now_ms)
        except (OSError, Malformed) as error:
            ledger.fault("journal", getattr(error, "reason", "read"))
            # Not again at once: the same place would fail again.
            self._ordinal = ledger.sendable
            return False

    def _hand(self, uplink: "Uplink", stretch: stretches.Stretch, now_ms: int) -> bool:
        known = stretch.to <= self._skip_to if stretch.count else stretch.ordinal <= self._handed
        if not known:
            outgoing = self._outgoing(stretch)
            if not uplink.publish_pieces(outgoing.size, outgoing.pieces()):
                return False
            self._ledger.health.sent += 1
            self._handed = max(self._handed, stretch.ordinal)
            if stretch.count:
                if not self.window:
                    self._progress_ms = now_ms
                self.window.append((stretch.to, decode(stretch.payload)[3]))
        self.position = (stretch.number, stretch.end)
        self._first = stretch.to
        self._ordinal = stretch.ordinal
        return True

    def _outgoing(self, stretch: stretches.Stretch) -> stretches.Outgoing:
        ledger = self._ledger
        journal = ledger.journal
        signature = stretches.read_signature(journal, stretch.number, stretch.end, stretch.ordinal)
        edge = None
        if (
            stretch.first
            and stretch.at == 0
            and stretch.first == freeing.first_index(journal, ledger.log.epoch)
        ):
            # The oldest index that is here: who asks for it may have no history.
            _, payload, old_signature, hashes = stretches.read_edge(journal, stretch.number)
            edge = (
                ledger.forms.checkpoint(payload, old_signature),
                hashes,
            )
        checkpoint = ledger.forms.checkpoint(stretch.payload, signature)
        return stretches.Outgoing(
            journal, stretch, ledger.device, ledger.log.epoch, edge, checkpoint
        )
