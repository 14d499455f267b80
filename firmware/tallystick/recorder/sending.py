# What to send next.  The cursor walks the journal; nothing is believed delivered before a custody
# receipt says so, and without one in time the cursor goes back to the last.

from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import TransportError
from tallystick.recorder import freeing, stretches
from tallystick.recorder.health import reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.link import Link

# Segments on their way without a custody receipt.
WINDOW_SEGMENTS_MAX = 16
RESEND_FACTOR_MAX = 8
# From the third time on the connection is made anew.
REFRESH_FACTOR = 4
REQUEST_MS_MIN = 5000
# No file is being read.
FREE = 1 << 30


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
        # journal is searched.  And the uptime at which each was sealed, -1 where in another boot.
        self.window: "list[tuple[int, bytes, int]]" = []
        self._now_ms = 0
        self._progress_ms = 0
        # What is under way, and the file that it reads.
        self._work: "Generator[None, None, bool] | None" = None
        self._busy_number = FREE
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
        work, self._work = self._work, None
        if work is not None:
            work.close()
        self.window.clear()

    @property
    def reading(self) -> int:
        """The number of the oldest file that is read now or from now on."""
        return min(self.position[0], self._busy_number)

    def let_go(self, number: int, link: "Link") -> bool:
        """Read nothing of this file, which becomes another one; False while it is handed over."""
        if self._work is not None:
            if self._busy_number == number and (link.greeted or link.uplink.busy):
                return False
            work, self._work = self._work, None
            work.close()
        if self.position[0] == number and self.position[1]:
            # Its frames lie elsewhere then; what went before is passed over.
            self.position = (number, 0)
            self._skip_to = max(self._skip_to, self._first)
            for file in self._ledger.journal.list:
                if file.number == number:
                    self._first = file.first
        return True

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

    def sealed_ms(self, size: int) -> int:
        """The uptime at which what is on its way with this size was sealed, -1 if unknown."""
        for one in self.window:
            if one[0] == size:
                return one[2]
        return -1

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

    def step(self, link: "Link", now_ms: int) -> bool:
        """A bounded piece of finding and handing over a stretch; False when there is none."""
        ledger = self._ledger
        self._now_ms = now_ms
        bucket = link.uplink.bucket
        if bucket is not None:
            # What is urgent is sent after what came before it, and none of that waits.
            bucket.hurry = self._ordinal < ledger.urgent
        if link.uplink.busy:
            # Link.step() hands it over; it is not yet late.
            self._progress_ms = now_ms
            return False
        self._busy_number = FREE
        if self._work is None:
            if self.window and now_ms - self._progress_ms >= self._resend_ms * self._factor:
                return self._again(link)
            if len(self.window) >= WINDOW_SEGMENTS_MAX or self._ordinal >= ledger.sendable:
                return False
            if bucket is not None and not bucket.room():
                return False
            self._work = self._sending(link)
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            return bool(end.value)
        except TransportError:
            self._work = None
            raise
        except Exception as error:  # noqa: BLE001  # a flash driver's
            self._work = None
            self._unreadable(error)
            # Not again at once: the same place would fail again.
            self._ordinal = ledger.sendable
            return False
        return True

    def _unreadable(self, error: Exception) -> None:
        self._ledger.fault("journal", reason_of(error, "read"), error)

    def _again(self, link: "Link") -> bool:
        ledger = self._ledger
        if self._factor >= REFRESH_FACTOR:
            # A client may hang and still say that it is connected.
            link.call(link.uplink.refresh)
        self._factor = min(2 * self._factor, RESEND_FACTOR_MAX)
        self._progress_ms = self._now_ms
        ledger.health.resent += 1
        self.rewind(ledger.log.custody[0] if ledger.log.custody else 0)
        return True

    def _sending(self, link: "Link") -> "Generator[None, None, bool]":
        # Finds the next stretch and hands it over; False: not now.
        ledger = self._ledger
        stretch = yield from stretches.read_stretch(ledger.journal, self.position, self._first)
        if stretch is None or stretch.ordinal > ledger.sendable:
            return False
        known = stretch.to <= self._skip_to if stretch.count else stretch.ordinal <= self._handed
        if not known:
            outgoing = yield from self._outgoing(stretch)
            # From here on the file is read until the last piece is taken.
            self._busy_number = stretch.number
            outgoing.failed = self._unreadable
            if not link.call(link.uplink.publish_pieces, outgoing.size, outgoing.pieces()):
                return False
            while link.uplink.busy:
                yield
            ledger.health.sent += 1
            self._handed = max(self._handed, stretch.ordinal)
            if stretch.count:
                if not self.window:
                    self._progress_ms = self._now_ms
                fields = decode(stretch.payload)
                sealed_ms = fields[6] if fields[5] == ledger.log.boot else -1
                self.window.append((stretch.to, fields[3], sealed_ms))
        self.position = (stretch.number, stretch.end)
        self._first = stretch.to
        self._ordinal = stretch.ordinal
        ledger.works("journal:")
        return True

    def _outgoing(self, stretch: stretches.Stretch) -> "Generator[None, None, stretches.Outgoing]":
        ledger = self._ledger
        journal = ledger.journal
        signature = yield from stretches.read_signature(
            journal, stretch.number, stretch.end, stretch.ordinal
        )
        edge = None
        if (
            stretch.first
            and (stretch.at == 0 or stretch.count)
            and stretch.first == freeing.first_index(journal, ledger.log.epoch)
        ):
            # The oldest index that is here: who asks for it may have no history. Where a repeated
            # head stands before it, that one was handed over and does not come again.
            ordinal, payload, old_signature, hashes = yield from stretches.read_edge(
                journal, stretch.number
            )
            edge = (
                ledger.forms.checkpoint(payload, old_signature, ordinal),
                hashes,
            )
        checkpoint = ledger.forms.checkpoint(stretch.payload, signature, stretch.ordinal)
        return stretches.Outgoing(
            journal, stretch, ledger.device, ledger.log.epoch, edge, checkpoint
        )
