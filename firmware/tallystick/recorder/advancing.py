# Towards a durable signature, a bounded piece at a time: sync, sign, sync; and sealing when it is
# time.  Apart from ledger.py, so that it need not lie in a small heap while a journal is opened.

from gc import collect

from tallystick.evidence.errors import KeyDriverError
from tallystick.recorder.core import STRETCH_ROOM
from tallystick.recorder.files import MICROPYTHON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.recorder.ledger import Ledger

KEY_RETRY_MS_MIN = 500
SIGNATURE_SIZE = 64
# A wall clock that moves against uptime by more than this was set.
CLOCK_STEP_MS_MIN = 2000
# Shares of the journal that are told: when one is reached, and when it is left.
SPACE_PERCENT_LOW = 80
SPACE_PERCENT_RELIEVED = 70


def advance(ledger: "Ledger", now_ms: int) -> bool:
    """A bounded piece; False when there is nothing to do."""
    log = ledger.log
    if ledger._signing is not None:
        return _step_signing(ledger, now_ms)
    # A chip does one thing at a time.
    if ledger.counting is not None and ledger.counting.step(now_ms):
        return True
    if log.pending and log.pending[0][0] <= ledger._durable and _begin_signing(ledger, now_ms):
        return True
    if log.ordinal > ledger._durable or log.signed > ledger.sendable:
        return _sync(ledger, now_ms)
    if log.pending:
        # What comes while the key is away is safe from power cuts too.
        return ledger.policy.sync_due(now_ms, log.unsealed) and _sync(ledger, now_ms)
    room = log.stretch_room + STRETCH_ROOM - log.room_max
    if ledger.policy.due(now_ms, log.unsealed, room):
        _look_around(ledger)
        return bool(ledger.seal())
    return False


def _sync(ledger: "Ledger", now_ms: int) -> bool:
    if now_ms < ledger._sync_after_ms:
        return False
    with ledger.lock:
        durable, sendable = ledger.log.ordinal, ledger.log.signed
    try:
        ledger.journal.sync(ledger.lock)
    except Exception as error:  # noqa: BLE001  # a flash driver's; or closed by a repair
        ledger._sync_after_ms = ledger._troubles().sync_failed(ledger, now_ms, error)
        return False
    ledger._sync_after_ms = 0
    ledger.health.flash_ok = True
    ledger.works("flash:sync")
    ledger.works("flash:write")
    ledger._durable = durable
    ledger.sendable = sendable
    with ledger.lock:
        ready = [handle for ordinal, handle in ledger.waiters if ordinal <= sendable]
        ledger.waiters = [one for one in ledger.waiters if one[0] > sendable]
    for handle in ready:
        handle.done()
        if handle.fault:
            ledger.starved("half")
    return True


def _begin_signing(ledger: "Ledger", now_ms: int) -> bool:
    if now_ms < ledger.key_after_ms or (ledger.counting is not None and ledger.counting.holds):
        return False
    pending = ledger.log.pending[0]
    if MICROPYTHON:
        # A signature needs the largest pieces of heap, so what is free is put together now.
        collect()
    try:
        ledger.signer.begin(ledger.forms.to_be_signed(pending[1]))
    except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
        return bool(ledger._troubles().key_failed(ledger, now_ms, error))
    ledger._signing = pending
    return True


def _step_signing(ledger: "Ledger", now_ms: int) -> bool:
    if ledger._signing is None:
        return False
    ordinal, payload = ledger._signing
    try:
        if not ledger.signer.poll():
            # While a chip works there is nothing to do; a software key goes on by steps.
            return not getattr(ledger.signer, "waits", False)
        signature = ledger.signer.signature()
    except Exception as error:  # noqa: BLE001  # whatever a key's driver raises
        ledger._signing = None
        return bool(ledger._troubles().key_failed(ledger, now_ms, error))
    if type(signature) is not bytes or len(signature) != SIGNATURE_SIZE:
        ledger._signing = None
        wrong = KeyDriverError("bad-signature", "the key gave no signature of 64 bytes")
        return bool(ledger._troubles().key_failed(ledger, now_ms, wrong))
    ledger.key_retry_ms = KEY_RETRY_MS_MIN
    ledger.health.key_ok = True
    ledger.works("key:")
    ledger._signing = None
    return _keep_signature(ledger, ordinal, payload, signature)


def _keep_signature(ledger: "Ledger", ordinal: int, payload: bytes, signature: bytes) -> bool:
    with ledger.lock:
        if not ledger.log.pending or ledger.log.pending[0][0] != ordinal:
            return True  # of an epoch that was left meanwhile
        if not ledger.append(ledger.log.signature(ordinal, signature), reserved=True):
            # Asked for again later, over the same payload.
            return False
        ledger.log.signed_one(ordinal)
        for waiting, handle in ledger.waiters:
            if waiting == ordinal:
                handle.checkpoint = ledger.forms.checkpoint(payload, signature)
    return True


def _look_around(ledger: "Ledger") -> None:
    journal = ledger.journal
    percent = journal.used * 100 // journal.limit
    low = ledger.space_percent > SPACE_PERCENT_LOW
    if percent >= ledger.space_percent or (low and percent < SPACE_PERCENT_RELIEVED):
        ledger._troubles().space_changed(ledger, percent)
    wall = ledger.clock.wall()
    if wall is not None:
        offset = wall[0] - ledger.clock.uptime_ms()
        known = ledger.wall_offset_ms
        ledger.wall_offset_ms = offset
        if known is not None and abs(offset - known) > CLOCK_STEP_MS_MIN + wall[1]:
            ledger._troubles().clock_stepped(ledger, wall, known)
