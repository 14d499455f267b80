# What comes down: welcome, custody receipts, resend requests, receipts and verdicts, notices.  Each
# is a generator that yields between bounded steps, so that verifying never holds up a control loop.

from tallystick.evidence import kinds
from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.recorder import filing, freeing, plain, stretches
from tallystick.recorder.files import forget
from tallystick.recorder.health import count, reason_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from tallystick.evidence.checkpoint import Checkpoint
    from tallystick.evidence.keys import PublicKey
    from tallystick.recorder.ledger import Ledger
    from tallystick.recorder.link import Link
    from tallystick.recorder.sending import Sender

    Work = Generator[None, None, None]

MESSAGE_BYTES_MAX = 65536
RECEIVED_MAX = 16
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
        # What evidence/ had to read, and not plain.py.
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
            count(self._ledger.health.refused, error.reason)
        except Exception as error:  # noqa: BLE001  # whatever a flash driver raises
            self._work = None
            self._ledger.fault("flash", reason_of(error), error)
        return True

    def _end(self) -> None:
        self._work = None
        if self._unusual:
            self._unusual = False
            forget(plain.GENERAL)

    def _handle(self, message: bytes) -> "Work":
        if len(message) > MESSAGE_BYTES_MAX or len(message) < 3:
            raise Malformed("too-large", "a message of %d bytes" % len(message))
        if message[0] == 0xD2:
            yield from self._statement(message)
            return
        # An array of less than 24 elements; kinds from 24 on take a byte more.
        kind = message[2] if message[1] == 0x18 else message[1]
        if kind == kinds.WELCOME:
            yield from self._welcome(message)
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
            yield from self._custody(message)
            return
        self._unusual = True
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

        count(self._ledger.health.notices, parse(message).reason)

    def _resend(self, message: bytes) -> None:
        self._unusual = True
        from tallystick.evidence.resend import parse  # noqa: PLC0415  # rarely

        request = parse(message)
        if not self._sender.request(request.epoch, request.from_, self._now_ms):
            count(self._ledger.health.refused, "over-quota")

    # Custody.

    def _root_at(self, size: int) -> "Generator[None, None, bytes]":
        # b"" when no payload of this size is here.
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

    def _receipt(self, message: bytes) -> "Any":
        found = plain.read_receipt(message, self._config, self._ledger.device)
        if found is not None:
            return found
        self._unusual = True
        from tallystick.evidence.custody import parse  # noqa: PLC0415  # rarely

        return parse(message)

    def _custody(self, message: bytes) -> "Work":
        ledger = self._ledger
        log = ledger.log
        receipt = self._receipt(message)
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
        root = yield from self._root_at(receipt.to)
        if root != receipt.root and receipt.to <= log.sealed_size:
            raise Unverified("bad-root", "a custody receipt over another root than ours")
        verifier = receipt.verifier(key)
        while not verifier.step():
            yield
        if receipt.to > log.sealed_size:
            self._older([receipt.epoch, receipt.to, receipt.root])
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
            frame = filing.mark_custody(log, receipt.to, receipt.digest, message, receipt.time_ms)
            ledger.append_control(frame)
            ledger.health.custody += 1
            sealed_ms = self._sender.sealed_ms(receipt.to)
            self._sender.confirmed(receipt.to, self._now_ms)
            freeing.release(ledger.journal, log.epoch, receipt.to, self._sender.reading)
        self._time(receipt.time_ms, sealed_ms)

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

    # Welcome.

    def _welcome(self, message: bytes) -> "Work":
        ledger = self._ledger
        welcome: "Any" = plain.read_welcome(message)
        if welcome is None:
            self._unusual = True
            from tallystick.evidence.welcome import parse  # noqa: PLC0415  # rarely

            welcome = parse(message)
        epoch = ledger.log.epoch
        if welcome.checkpoint is not None:
            yield from self._own_head(welcome.checkpoint, welcome.custody)
        if welcome.custody is not None and ledger.log.epoch == epoch:
            yield from self._custody(welcome.custody)
        if ledger.log.epoch != epoch:
            return
        if not self._link.greeted:
            self._link.greeted = True
            # Without a receipt the gateway may have nothing of this log.
            known = ledger.log.custody if welcome.custody is not None else None
            self._sender.rewind(known[0] if known else 0)

    def _own_head(self, data: bytes, custody: bytes | None) -> "Work":
        ledger = self._ledger
        log = ledger.log
        head: "Any" = plain.read_checkpoint(data, self._config, ledger.device)
        if head is None:
            self._unusual = True
            from tallystick.evidence.checkpoint import parse  # noqa: PLC0415  # rarely

            head = parse(data)
        if head.device != ledger.device:
            raise Unverified("wrong-device", "a welcome with a checkpoint of another device")
        if head.epoch == log.epoch:
            yield from self._own_epoch(head)
        elif head.epoch not in log.past:
            yield from self._verified(head)
            # Old heads are public: one that is replayed must not end one epoch after the other.
            if not log.fresh and (
                log.custody is not None or (yield from self._in_custody(custody))
            ):
                # The gateway knows this epoch, and knows a newer one.
                self._older([head.epoch, head.size, head.root])
            else:
                with ledger.lock:
                    ledger.append_control(filing.mark_past(log, head.epoch))

    def _in_custody(self, data: bytes | None) -> "Generator[None, None, bool]":
        # Whether a pinned gateway has something of this very epoch: a welcome may be forged, or
        # answer a hello of an epoch that was left since.
        if data is None:
            return False
        receipt = self._receipt(data)
        key = self._gateways.get(receipt.received().kid)
        log = self._ledger.log
        if key is None or receipt.device != self._ledger.device or receipt.epoch != log.epoch:
            return False
        verifier = receipt.verifier(key)
        while not verifier.step():
            yield
        return True

    def _own_epoch(self, head: "Checkpoint") -> "Work":
        log = self._ledger.log
        if head.size <= log.sealed_size:
            root = yield from self._root_at(head.size)
            if root == head.root:
                return
            if not root and head.size < freeing.first_index(self._ledger.journal, log.epoch):
                return  # freed: it cannot be compared any more
        yield from self._verified(head)
        self._older([head.epoch, head.size, head.root])

    def _verified(self, head: "Checkpoint") -> "Work":
        from tallystick.recorder.chipkeys import in_chip  # noqa: PLC0415  # rarely

        signer = self._ledger.signer
        verifier = head.verifier(in_chip(signer, signer.public_key()))
        while not verifier.step():
            yield

    def _older(self, previous: "list[Any]") -> None:
        # This journal was put back from an older copy: what it would sign contradicts what it sent.
        from tallystick.recorder import epochs  # noqa: PLC0415  # rarely

        self._ledger.fault("journal", "older")
        epochs.begin(self._ledger, "rollback", previous)
        epochs.boot(self._ledger, self._config, {})
        self._sender.rewind(0)
        self._link.greet_again()
