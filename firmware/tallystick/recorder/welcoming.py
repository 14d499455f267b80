# What a welcome shows: whether a journal is older than what its device once sent.  It comes once a
# connection, so this is loaded when it does, and forgotten.

from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.kinds import CHECKPOINT, WELCOME
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX
from tallystick.recorder import filing, freeing
from tallystick.recorder.plain import EPOCH_SIZE, HASH_SIZE, Plain, are, values_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from tallystick.evidence.checkpoint import Checkpoint
    from tallystick.recorder.downlink import Downlink

    Work = Generator[None, None, None]

WELCOME_BYTES_MAX = 2 * CHECKPOINT_BYTES_MAX + 32
CHECKPOINT_VALUES = 10


class Greeting:
    """A welcome; the attributes of evidence/welcome.py."""

    def __init__(self, time_ms: int, checkpoint: bytes | None, custody: bytes | None) -> None:
        self.time_ms = time_ms
        self.checkpoint = checkpoint
        self.custody = custody


def read_welcome(data: bytes) -> "Greeting | None":
    """A welcome of the usual form."""
    try:
        values = decode(data) if len(data) <= WELCOME_BYTES_MAX else ()
    except (TallyError, ValueError):
        return None
    if type(values) is not list or len(values) != 4 or values[0] != WELCOME:
        return None
    _, time_ms, head, custody = values
    if type(time_ms) is not int or time_ms >> 63:
        return None
    for part in (head, custody):
        if part is not None and (type(part) is not bytes or len(part) > CHECKPOINT_BYTES_MAX):
            return None
    return Greeting(time_ms, head, custody)


def read_checkpoint(data: bytes, config: "dict[str, Any]", device: bytes) -> "Plain | None":
    """A checkpoint of the usual form, as far as a device looks at its own."""
    parts, values = values_of(data, config)
    if not are(values, (int, bytes, int, bytes)) or len(values) != CHECKPOINT_VALUES:
        return None
    kind, epoch, size, root = values[:4]
    if kind != CHECKPOINT or len(epoch) != EPOCH_SIZE or len(root) != HASH_SIZE or not size:
        return None
    found = Plain(device, epoch, root, parts)
    found.size = size
    return found


def welcome(down: "Downlink", message: bytes) -> "Work":
    """Act on a welcome: in steps, as all that comes down."""
    ledger = down._ledger
    found: "Any" = read_welcome(message)
    if found is None:
        from tallystick.evidence.welcome import parse  # noqa: PLC0415  # rarely

        found = parse(message)
    epoch = ledger.log.epoch
    if found.checkpoint is not None:
        yield from _own_head(down, found.checkpoint, found.custody)
    if found.custody is not None and ledger.log.epoch == epoch:
        yield from down.custody(found.custody)
    if ledger.log.epoch != epoch:
        return
    if not down._link.greeted:
        down._link.greeted = True
        # Without a receipt the gateway may have nothing of this log.
        known = ledger.log.custody if found.custody is not None else None
        down._sender.rewind(known[0] if known else 0)


def _own_head(down: "Downlink", data: bytes, custody: bytes | None) -> "Work":
    ledger = down._ledger
    log = ledger.log
    head: "Any" = read_checkpoint(data, down._config, ledger.device)
    if head is None:
        from tallystick.evidence.checkpoint import parse  # noqa: PLC0415  # rarely

        head = parse(data)
    if head.device != ledger.device:
        raise Unverified("wrong-device", "a welcome with a checkpoint of another device")
    if head.epoch == log.epoch:
        yield from _own_epoch(down, head)
    elif head.epoch not in log.past:
        yield from _verified(down, head)
        # Old heads are public: one that is replayed must not end one epoch after the other.
        if not log.fresh and (log.custody is not None or (yield from _in_custody(down, custody))):
            # The gateway knows this epoch, and knows a newer one.
            older(down, [head.epoch, head.size, head.root])
        else:
            with ledger.lock:
                ledger.append_control(filing.mark_past(log, head.epoch))


def _in_custody(down: "Downlink", data: bytes | None) -> "Generator[None, None, bool]":
    # Whether a pinned gateway has something of this very epoch: a welcome may be forged, or answer
    # a hello of an epoch that was left since.
    if data is None:
        return False
    receipt = down.receipt(data)
    key = down._gateways.get(receipt.received().kid)
    ledger = down._ledger
    if key is None or receipt.device != ledger.device or receipt.epoch != ledger.log.epoch:
        return False
    verifier = receipt.verifier(key)
    while not verifier.step():
        yield
    return True


def _own_epoch(down: "Downlink", head: "Checkpoint") -> "Work":
    ledger = down._ledger
    log = ledger.log
    if head.size <= log.sealed_size:
        root = yield from down.root_at(head.size)
        if root == head.root:
            return
        if not root and head.size < freeing.first_index(ledger.journal, log.epoch):
            return  # freed: it cannot be compared any more
    yield from _verified(down, head)
    older(down, [head.epoch, head.size, head.root])


def _verified(down: "Downlink", head: "Checkpoint") -> "Work":
    from tallystick.recorder.chipkeys import in_chip  # noqa: PLC0415  # rarely

    signer = down._ledger.signer
    verifier = head.verifier(in_chip(signer, signer.public_key()))
    while not verifier.step():
        yield


def older(down: "Downlink", previous: "list[Any]") -> None:
    """Leave the epoch of a journal that was put back from an older copy."""
    from tallystick.recorder import epochs  # noqa: PLC0415  # rarely

    # What it would sign contradicts what it sent.
    down._ledger.fault("journal", "older")
    epochs.begin(down._ledger, "rollback", previous)
    epochs.boot(down._ledger, down._config, {})
    down._sender.rewind(0)
    down._link.greet_again()
