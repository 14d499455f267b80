"""Messages from files instead of a broker, by the same path: intake, COMMIT, custody receipts.

For the journals of devices without a network, for messages from another gateway's store, and for
the bytes that a damaged segment needs. The gateway itself does not run meanwhile: a store has one.
"""

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tallystick.evidence import custody
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.evidence.keys import device_text
from tallystick.gateway.apply import Applier
from tallystick.gateway.config import Config
from tallystick.gateway.down import Down
from tallystick.gateway.identity import open_signing
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Ingest, Message
from tallystick.gateway.store import Store, meta
from tallystick.gateway.view import StoreView
from tallystick.gateway.worker import Worker

_STATEMENT = 0xD2
_AT_ONCE = 64


@dataclass
class Imported:
    """What became of the messages. `receipts`: the newest of each log, by (device, epoch)."""

    messages: int = 0
    segments: int = 0  # that are in the store and were not before
    repaired: int = 0  # damaged segments whose bytes were among them
    refused: dict[str, int] = field(default_factory=dict)  # by reason, `replayed` included
    receipts: dict[tuple[bytes, bytes], CustodyReceipt] = field(default_factory=dict)


class _Link:
    # Nothing is acknowledged to anybody; of what goes down, custody receipts are kept.
    def __init__(self, imported: Imported) -> None:
        self._imported = imported

    def ack(self, group: list[Delivery]) -> None:
        """A file needs none."""

    def publish(self, device: bytes, data: bytes) -> bool:
        """Keep a receipt that says more than the one before."""
        if data[0] == _STATEMENT:
            try:
                receipt = custody.parse(data)
            except TallyError:
                return False  # a verdict
            known = self._imported.receipts.get((device, receipt.epoch))
            if known is None or known.to <= receipt.to:
                self._imported.receipts[device, receipt.epoch] = receipt
        return True


def _quiet(_done: int, _total: int | None) -> None:
    pass


def take_in(
    config: Config,
    messages: Iterable[tuple[bytes, bytes]],
    told: Callable[[int, int | None], None] = _quiet,
) -> Imported:
    """Take (device, message) pairs into a gateway's store, as if each came from its device.

    told: how many were taken, from time to time, of how many, which nobody knows before the end.

    :raises StoreBusy: the gateway runs.
    :raises CouldNotCheck: the store is another gateway's, fails, or has no room.
    """
    signing = open_signing(config, int(time.time()))
    try:
        store = Store(config.store)
    except BaseException:
        signing.close()
        raise
    imported = Imported()
    try:
        before = _counts(store)
        inbox = Inbox()

        def core(connection: object, applier: Applier) -> Ingest:
            view = StoreView(
                connection,  # type: ignore[arg-type]
                lambda: applier.write_pending(connection),  # type: ignore[arg-type]
            )
            return Ingest(view, dict(config.roots), config.broker.prefix)

        stop = threading.Event()
        worker = Worker(
            store,
            core,
            inbox,
            _Link(imported),
            signing,
            Down(inbox),
            stop,
            store_bytes_max=config.store_bytes_max,
        )
        with store.write() as connection:
            owner = meta(connection, "gateway")
        if owner not in {None, signing.gateway}:
            raise CouldNotCheck("wrong-key", f"{store.path} belongs to another gateway")
        for device, data in messages:
            topic = f"{config.broker.prefix}/{device_text(device)}/up"
            imported.messages += 1
            inbox.put(Delivery(Message(topic, data), imported.messages, 0, 0), lambda: None)
            if len(inbox) >= _AT_ONCE:
                _work(worker, inbox)
                told(imported.messages, None)
        _work(worker, inbox)
        worker.close()
        after = _counts(store)
        imported.segments = after.pop("segments") - before.pop("segments")
        imported.repaired = before.pop("damaged") - after.pop("damaged")
        imported.refused = {
            reason: count - before.get(reason, 0)
            for reason, count in after.items()
            if count > before.get(reason, 0)
        }
    finally:
        store.close()
        signing.close()
    return imported


def _work(worker: Worker, inbox: Inbox) -> None:
    while len(inbox):
        worker.turn(0)
        if not worker.capacity.taking:
            raise CouldNotCheck(
                "store-full", "the store has no room for this (docs/durability.md, section 2)"
            )
    worker.give_all()


def _counts(store: Store) -> dict[str, int]:
    with store.write() as connection:
        found = {
            name: int(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0])  # noqa: S608
            for name in ("segments", "damaged")
        }
        rows = connection.execute("SELECT reason, sum(count) FROM refusals GROUP BY reason")
        return {**dict(rows.fetchall()), **found}
