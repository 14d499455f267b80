"""One end of a serial line: bytes in, messages out, and back (docs/protocol.md, section 3.5)."""

# No port and no clock: who reads and writes the bytes also says what time it is.  A device's end
# and a gateway's differ only in who opens a session (recorder/serial_uplink.py, the gateway's
# serialport.py).

from tallystick.evidence import serialframe
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.serialframe import ACK, AGAIN, CLOSED, LAST, OPEN, PIECE, SEQUENCES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Complete messages that wait here before the credit becomes 0.
MESSAGES_MAX = 4
IDLE_MS = 2000
RESEND_MS = 1000
RESEND_MS_MIN = 200
RESEND_MS_MAX = 8000
CONTROL_FRAMES_MAX = 8


class Line:
    """`feed()` what was read, take from `messages`; `send()`, and write what `output()` gives.

    `ours` is added to the kinds of what is sent; `credit`: pieces that may be on their way here.
    """

    def __init__(self, ours: int, credit: int, bytes_max: int) -> None:
        self._ours = ours
        self._window = credit
        self._bytes_max = bytes_max
        # What is kept for sending again, whatever the credit.
        self.pending_max = serialframe.CREDIT_MAX
        self.session = b""
        self.up = False
        self.heard_ms = 0
        self.messages: list[bytes] = []
        # Good frames; bytes that held no frame; how often a good one came after such; pieces that
        # came twice; pieces sent again; messages that were too long.
        self.frames = self.bad = self.resyncs = self.repeated = self.resent = self.oversized = 0
        self._held = b""
        self._overlong = False
        self._torn = False
        self._control: list[bytes] = []
        self._reset(b"", 0, 0)

    def _reset(self, session: bytes, credit: int, now_ms: int) -> None:
        # A new session, or none: whole messages stay, all else is forgotten.
        self.session = session
        self.up = bool(session)
        self.heard_ms = self._spoke_ms = now_ms
        self._expected = 0
        self._parts = bytearray()
        self._ahead = 0
        self._answer = 0
        self._full = False
        self._unacked: list[bytes] = []
        self._base = self._sent = 0
        self._credit = credit
        self._progress_ms = now_ms
        self._resend_ms = RESEND_MS
        # A piece that was sent once, and when: what tells how long an answer takes.
        self._timed = -1
        self._timed_ms = 0
        self._pieces: "Iterator[bytes] | None" = None
        self._left = 0
        self._chunk = b""
        self._at = 0

    # In.

    def feed(self, data: bytes, now_ms: int) -> None:
        """Bytes as they came; what is no frame is counted and dropped."""
        first = True
        for piece in bytes(data).split(b"\0"):
            if not first:
                self._ended(now_ms)
            first = False
            if len(self._held) + len(piece) > serialframe.ENCODED_BYTES_MAX:
                self._overlong = True
                self._held = b""
            elif piece and not self._overlong:
                self._held += piece

    def _ended(self, now_ms: int) -> None:
        held, self._held = self._held, b""
        overlong, self._overlong = self._overlong, False
        if not held and not overlong:
            return
        kind = self._ours
        if not overlong:
            try:
                kind, session, sequence, payload = serialframe.parse(held)
            except Malformed:
                pass
        if kind & serialframe.DOWN == self._ours:
            # No frame, or an echo of our own.
            self.bad += 1
            self._torn = True
            return
        self.frames += 1
        if self._torn:
            self._torn = False
            self.resyncs += 1
        self._frame(kind & ~serialframe.DOWN, session, sequence, payload, now_ms)

    def _frame(self, kind: int, session: bytes, sequence: int, payload: bytes, now_ms: int) -> None:
        if kind == OPEN:
            self._opened(session, payload[0], payload[1], now_ms)
        elif not self.up or session != self.session:
            self._unknown(kind, session, now_ms)
        else:
            self.heard_ms = now_ms
            if kind == CLOSED:
                self.end()
            elif kind in (PIECE, LAST):
                self._piece(sequence, payload, kind == LAST)
            else:
                self._acked(sequence, payload[0], kind == AGAIN, now_ms)

    def _opened(self, session: bytes, version: int, credit: int, now_ms: int) -> None:
        """An `open` came."""

    def _unknown(self, kind: int, session: bytes, now_ms: int) -> None:
        """A frame of another session, or of none, came."""

    def _piece(self, sequence: int, payload: bytes, last: bool) -> None:  # noqa: FBT001
        ahead = (sequence - self._expected) % SEQUENCES
        if ahead >= SEQUENCES // 2:
            self.repeated += 1
            self._answer = self._answer or ACK
        elif ahead:
            # Once each time that the sender passes the gap: then numbers no longer grow.
            if ahead <= self._ahead or not self._ahead:
                self._answer = AGAIN
            self._ahead = ahead
        elif len(self.messages) < MESSAGES_MAX + self._window:
            # Beyond that the sender passed its credit: dropped, and sent again when there is room.
            self._take(payload, last)

    def _take(self, payload: bytes, last: bool) -> None:  # noqa: FBT001
        if len(self._parts) + len(payload) > self._bytes_max:
            self.oversized += 1
            self.say(CLOSED, self.session)
            self.end()
            return
        self._expected = (self._expected + 1) % SEQUENCES
        self._ahead = 0
        self._answer = ACK
        self._parts += payload
        if last:
            self.messages.append(bytes(self._parts))
            self._parts = bytearray()

    def _acked(self, sequence: int, credit: int, again: bool, now_ms: int) -> None:  # noqa: FBT001
        count = (sequence - self._base) % SEQUENCES
        if count > len(self._unacked):
            # Late, or of nothing that was sent.
            return
        del self._unacked[:count]
        self._base = sequence
        self._sent = max(0, self._sent - count)
        self._credit = credit
        if count:
            self._progress_ms = now_ms
            if self._timed < 0:
                # What was sent again tells nothing of the time that an answer takes.
                self._resend_ms = max(RESEND_MS_MIN, self._resend_ms // 2)
            else:
                self._timed -= count
                if self._timed < 0:
                    wanted = self._resend_ms // 2 + 2 * (now_ms - self._timed_ms)
                    self._resend_ms = max(RESEND_MS_MIN, min(RESEND_MS_MAX, wanted))
        if again:
            self._rewind(now_ms)

    # Out.

    @property
    def busy(self) -> bool:
        """A message is being taken: nothing else can be sent."""
        return self._pieces is not None

    @property
    def pending(self) -> int:
        """Pieces that were sent and not acknowledged."""
        return len(self._unacked)

    def send(self, size: int, pieces: "Iterable[bytes]") -> bool:
        """Begin a message of `size` bytes; False while there is no session or one is begun."""
        if not self.up or self._pieces is not None:
            return False
        self._pieces = iter(pieces)
        self._left = size
        self._chunk = b""
        self._at = 0
        return True

    def say(self, kind: int, session: bytes, payload: bytes = b"") -> None:
        """A frame that is no piece, before all others."""
        if len(self._control) < CONTROL_FRAMES_MAX:
            self._control.append(serialframe.encode(self._ours | kind, session, 0, payload))

    def output(self, now_ms: int) -> bytes:
        """The next frame to be written, whole; b"" when there is none now.

        TransportError when a message is not as long as send() was told.
        """
        frame = self._next(now_ms)
        if frame:
            self._spoke_ms = now_ms
        return frame

    def written(self, now_ms: int) -> None:
        """The last frame is on its way whole: only now can it be answered."""
        self._progress_ms = now_ms

    def _next(self, now_ms: int) -> bytes:
        if self._control:
            return self._control.pop(0)
        if not self.up:
            return b""
        full = len(self.messages) >= MESSAGES_MAX
        if self._answer or (self._full and not full) or now_ms - self._spoke_ms >= IDLE_MS:
            self._full = full
            kind, self._answer = self._answer or ACK, 0
            credit = bytes((0 if full else self._window,))
            return serialframe.encode(self._ours | kind, self.session, self._expected, credit)
        if self._unacked and now_ms - self._progress_ms >= self._resend_ms:
            self._resend_ms = min(2 * self._resend_ms, RESEND_MS_MAX)
            self._rewind(now_ms)
            # What the other end holds of a torn frame must not swallow the next one.
            return b"\0"
        if self._sent < min(len(self._unacked), max(self._credit, 1)):
            self._sent += 1
            return self._unacked[self._sent - 1]
        if self._pieces is not None and len(self._unacked) < min(self._credit, self.pending_max):
            return self._new(now_ms)
        return b""

    def _rewind(self, now_ms: int) -> None:
        self.resent += self._sent
        self._sent = 0
        self._timed = -1
        self._progress_ms = now_ms

    def _new(self, now_ms: int) -> bytes:
        sequence = (self._base + len(self._unacked)) % SEQUENCES
        payload = self._payload()
        kind = PIECE if self._pieces is not None else LAST
        frame = serialframe.encode(self._ours | kind, self.session, sequence, payload)
        if not self._unacked:
            self._progress_ms = now_ms
        self._unacked.append(frame)
        self._sent = len(self._unacked)
        if self._timed < 0:
            self._timed = len(self._unacked) - 1
            self._timed_ms = now_ms
        return frame

    def _payload(self) -> bytes:
        out = bytearray()
        want = min(self._left, serialframe.PIECE_BYTES_MAX)
        while len(out) < want:
            if self._at == len(self._chunk):
                self._next_chunk()
            piece = self._chunk[self._at : self._at + want - len(out)]
            self._at += len(piece)
            out += piece
        self._left -= want
        if not self._left:
            self._finish()
        return bytes(out)

    def _next_chunk(self) -> None:
        try:
            self._chunk = next(self._pieces)  # type: ignore[arg-type]  # asked before
        except StopIteration:
            raise TransportError("wrong-size", "a message ends %d bytes early" % self._left)
        self._at = 0

    def _finish(self) -> None:
        # To its end, for a generator may have a file to close there.
        pieces, self._pieces = self._pieces, None
        rest = len(self._chunk) - self._at
        self._chunk = b""
        for piece in pieces or ():
            rest += len(piece)
        if rest:
            raise TransportError("wrong-size", "a message is %d bytes too long" % rest)

    def end(self) -> None:
        """Forget the session; complete messages stay."""
        self._reset(b"", 0, self.heard_ms)
