# What comes down: welcome, custody receipts, resend requests, receipts and verdicts, notices.  Each
# is a generator that yields between bounded steps, so that verifying never holds up a control loop.

from tallystick.evidence import kinds
from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.recorder import freeing, plain, stretches
from tallystick.recorder.files import forget
from tallystick.recorder.frames import CUSTODY, control
from tallystick.recorder.health import one_more, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from tallystick.evidence.keys import PublicKey
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.link import Link
    from tallystick.recorder.sending import Sender

    Work = Generator[None, None, None]

MESSAGE_BYTES_MAX = 65536
RECEIVED_MAX = 16
# What welcomes, and what is not of the usual form, need beside this module.
UNUSUAL = (
    "recorder.welcoming",
    "recorder.filing",
    "recorder.held",
    "evidence.devicehold",
    "evidence.notice",
    "evidence.resend",
    "evidence.welcome",
    "evidence.custody",
    "evidence.checkpoint",
    "evidence.statement",
    "evidence.cose",
    "evidence._shape",
    "evidence._wire",
)
# The second byte of a statement whose kind is 24 or above: a hold is the only one.
LONG_KIND = 0x18
# Between two receipts whose time is looked at.
HINT_MS_MIN = 60000


class Downlink:
    """Verifies what the gateway sends, and acts on what is verified."""

    def __init__(
        self,
        ledger: "Ledger",
        sender: "Sender",
        link: "Link",
        gateways: "dict[bytes, PublicKey]",
        config: "dict[str, Any]",
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._sender = sender
        self._link = link
        self._gateways = gateways
        self._work: "Work | None" = None
        # What needed more code than a custody receipt that plain.py reads.
        self._unusual = False
        self._epoch = ledger.log.epoch
        self._now_ms = 0
        # Receipts and verdicts of validators as they came; nothing of them is verified here.
        self.received: "list[tuple[str, bytes]]" = []
        self.listener: "Callable[[str, bytes], None] | None" = None

    @property
    def reading(self) -> bool:
        """Whether a message is being worked on, which may read the journal."""
        return self._work is not None

    def step(self, now_ms: int) -> bool:
        """One bounded piece of work; False when nothing came."""
        self._now_ms = now_ms
        if self._epoch != self._ledger.log.epoch:
            # What was begun was about a log that was left.
            self._epoch = self._ledger.log.epoch
            self._work = None
        try:
            if self._work is None:
                message = self._link.call(self._link.uplink.receive)
                if message is None:
                    return False
                self._work = self._handle(message)
            next(self._work)
        except StopIteration:
            self._end()
        except TransportError:
            raise  # the link's, not the message's
        except TallyError as error:
            self._end()
            one_more(self._ledger.health.refused, error.reason)
        except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
            self._end()
            self._ledger.fault("flash", reason_of(error), error)
        return True

    def _end(self) -> None:
        self._work = None
        if self._unusual:
            self._unusual = False
            forget(UNUSUAL)

    def _handle(self, message: bytes) -> "Work":
        if len(message) > MESSAGE_BYTES_MAX or len(message) < 3:
            raise Malformed("too-large", "a message of %d bytes" % len(message))
        if message[0] == 0xD2:
            yield from self._statement(message)
            return
        # An array of less than 24 elements; kinds from 24 on take a byte more.
        kind = message[2] if message[1] == 0x18 else message[1]
        if kind == kinds.WELCOME:
            self._unusual = True
            from tallystick.recorder.welcoming import welcome  # noqa: PLC0415  # once a connection

            yield from welcome(self, message)
        elif kind == kinds.RESEND_REQUEST:
            self._resend(message)
        elif kind == kinds.NOTARISED:
            self._keep("notarised", message)
        elif kind == kinds.NOTICE:
            self._notice(message)
        else:
            raise Malformed("unknown-kind", "a message that a device does not take")

    def _statement(self, message: bytes) -> "Work":
        kind = plain.payload_kind(message)
        if kind == kinds.CUSTODY_RECEIPT:
            yield from self.custody(message)
            return
        self._unusual = True
        if kind == LONG_KIND:
            from tallystick.recorder.held import hold  # noqa: PLC0415  # rarely

            yield from hold(self, message)
            return
        from tallystick.evidence.cose import parse  # noqa: PLC0415  # rarely

        payload = parse(message, MESSAGE_BYTES_MAX).payload or b"  "
        if payload[1] != kinds.VERDICT:
            raise Malformed("unknown-kind", "a statement that a device does not take")
        self._keep("verdict", message)

    def _keep(self, name: str, message: bytes) -> None:
        self.received = (self.received + [(name, message)])[-RECEIVED_MAX:]
        if self.listener is not None:
            try:
                self.listener(name, message)
            except Exception:  # noqa: BLE001  # the application's, not ours
                self._ledger.fault("listener", "raised")

    def _notice(self, message: bytes) -> None:
        self._unusual = True
        from tallystick.evidence.notice import parse  # noqa: PLC0415  # rarely

        one_more(self._ledger.health.notices, parse(message).reason)

    def _resend(self, message: bytes) -> None:
        self._unusual = True
        from tallystick.evidence.resend import parse  # noqa: PLC0415  # rarely

        request = parse(message)
        if not self._sender.request(request.epoch, request.from_, self._now_ms):
            one_more(self._ledger.health.refused, "over-quota")

    # Custody.

    def root_at(self, size: int) -> "Generator[None, None, bytes]":
        """The root that was sealed at this size; b"" when no payload of it is here."""
        log = self._ledger.log
        with self._ledger.lock:
            if size == log.sealed_size:
                return log.sealed_root
        for sent, sent_root, _ in self._sender.window:
            if sent == size:
                return sent_root
        for root in stretches.root_at(self._ledger.journal, log.epoch, size):
            if root is not None:
                return root
            yield
        return b""

    def receipt(self, message: bytes) -> "Any":
        """A custody receipt, parsed."""
        found = plain.read_receipt(message, self._config, self._ledger.device)
        if found is not None:
            return found
        self._unusual = True
        from tallystick.evidence.custody import parse  # noqa: PLC0415  # rarely

        return parse(message)

    def custody(self, message: bytes) -> "Work":
        """Verify a custody receipt, then free what it covers."""
        ledger = self._ledger
        log = ledger.log
        receipt = self.receipt(message)
        if receipt.device != ledger.device:
            raise Unverified("wrong-device", "a custody receipt for another device")
        if receipt.epoch != log.epoch:
            raise Unverified("frozen-epoch", "a custody receipt for a log that was left")
        if log.custody is not None:
            # An idle device's receipt covers nothing new, and its time bounds the next checkpoint.
            to, _, _, time_ms = log.custody
            if receipt.to < to or (receipt.to == to and receipt.time_ms <= time_ms):
                if receipt.digest == log.custody[1]:
                    self._sender.repeated(to)
                return
        key = self._gateways.get(receipt.received().kid)
        if key is None:
            raise Unverified("wrong-key", "a custody receipt by a gateway that is not pinned")
        root = yield from self.root_at(receipt.to)
        if root != receipt.root and receipt.to <= log.sealed_size:
            raise Unverified("bad-root", "a custody receipt over another root than ours")
        verifier = receipt.verifier(key)
        while not verifier.step():
            yield
        if receipt.to > log.sealed_size:
            from tallystick.recorder.welcoming import older  # noqa: PLC0415  # rarely

            self._unusual = True
            older(self, [receipt.epoch, receipt.to, receipt.root])
            return
        known = log.custody[0] if log.custody is not None else 0
        if not receipt.bodies and receipt.to > known and not self._hollow_in(receipt.to):
            # Where this device gave bodies up itself, what it still holds of those stretches it
            # held when it sent them, so the gateway has at least that.
            raise Unverified("bad-value", "a custody receipt over hashes frees no bodies")
        if receipt.from_ > known:
            if self._hollow_in(receipt.from_):
                return  # another one, over the hashes before it, frees
            raise Unverified("bad-value", "a custody receipt that begins behind a hole")
        with ledger.lock:
            log.custody = (receipt.to, receipt.digest, message, receipt.time_ms)
            ledger.append_control(control([CUSTODY] + list(log.custody)))
            ledger.health.custody += 1
            sealed_ms = self._sender.sealed_ms(receipt.to)
            self._sender.confirmed(receipt.to, self._now_ms)
            before = 0 if self._held(receipt.time_ms) else self._sender.reading
            freeing.release(ledger.journal, log.epoch, receipt.to, before)
        self._time(receipt.time_ms, sealed_ms)

    def _held(self, time_ms: int) -> bool:
        if not self._ledger.log.holds:
            return False
        from tallystick.recorder.held import keeps  # noqa: PLC0415  # seldom

        kept = keeps(self._ledger, time_ms)
        forget(("recorder.held",))
        return kept

    def _hollow_in(self, size: int) -> bool:
        log = self._ledger.log
        if not log.hollow:
            return False
        from tallystick.recorder.giving import hollow_in  # noqa: PLC0415  # seldom

        return hollow_in(log, size)

    def _time(self, time_ms: int, sealed_ms: int) -> None:
        # Only a clock that nobody has set needs a gateway's.
        clock = self._ledger.clock
        hint: "Any" = getattr(clock, "hint", False)
        if sealed_ms < 0 or hint is False or (hint is None and clock.wall() is not None):
            return
        if hint is None or self._now_ms - hint[2] >= HINT_MS_MIN:
            from tallystick.recorder import hinting  # noqa: PLC0415  # rarely

            hinting.heard(self._ledger, self._link.uplink, time_ms, sealed_ms)
            forget(("recorder.hinting",))
