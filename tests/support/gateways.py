"""A gateway without network: the real store, core and worker, and a link in memory."""

import threading
from pathlib import Path

from support.devices import Device, Fleet
from tallystick.evidence import custody, enrolment, notice, resend, welcome
from tallystick.evidence.custody import CustodyReceipt
from tallystick.evidence.kinds import NOTICE, RESEND_REQUEST, WELCOME
from tallystick.evidence.notice import Notice
from tallystick.evidence.resend import Resend
from tallystick.evidence.welcome import Welcome
from tallystick.gateway.ahead import Ahead
from tallystick.gateway.apply import Applier
from tallystick.gateway.down import Down
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Ingest, Message
from tallystick.gateway.signing import Signing
from tallystick.gateway.status import status_of
from tallystick.gateway.store import Store
from tallystick.gateway.view import StoreView
from tallystick.gateway.worker import Worker


def kind_of(data: bytes) -> int:
    """The kind of a message that came down; -1 for a signed statement."""
    if data[0] == 0xD2:
        return -1
    return data[2] if data[1] == 0x18 else data[1]


class MemoryLink:
    """A broker that never fails: acknowledgements and messages down are kept."""

    def __init__(self) -> None:
        self.acked: list[int] = []
        self.down: list[tuple[bytes, bytes]] = []

    def ack(self, group: list[Delivery]) -> None:
        self.acked += [delivery.mid for delivery in group]

    def publish(self, device: bytes, data: bytes) -> bool:
        self.down.append((device, data))
        return True


class MemoryGateway:
    """`send`, then `turn`; then look at what came down and at what is stored."""

    def __init__(
        self, folder: Path, *fleets: Fleet, name: str = "gate", workers: int = 0, **core: int
    ) -> None:
        self.roots = {name: key for fleet in fleets for name, key in fleet.roots.items()}
        self.path = folder / "gateway.sqlite"
        self._core = core
        self._workers = workers
        signer, self.credential = fleets[0].member(name, enrolment.SUBJECT_GATEWAY)
        self.key = signer.public_key()
        self.signing = Signing(signer, fleets[0].name, self.key.thumbprint())
        self.link = MemoryLink()
        self.mid = 0
        self.open()

    def open(self) -> None:
        """Open the store, as a started process does."""
        self.store = Store(self.path)
        self.inbox = Inbox()
        self.ahead = Ahead(self.inbox, self._workers, "gate")
        self.down_queue = Down(self.inbox)
        self.worker = Worker(
            self.store,
            self._make_core,
            self.inbox,
            self.link,
            self.signing,
            self.down_queue,
            threading.Event(),
            ahead=self.ahead,
        )

    def reopen(self) -> None:
        """What a restart leaves: the store, and nothing that was only in memory."""
        self.store.close()
        self.open()

    def _make_core(self, connection: object, applier: Applier) -> Ingest:
        view = StoreView(connection, lambda: applier.write_pending(connection))  # type: ignore[arg-type]
        return Ingest(view, self.roots, **self._core)  # type: ignore[arg-type]

    # --- in ---------------------------------------------------------------------------------

    def send(
        self, device: Device, *messages: bytes, topic: str | None = None, retained: bool = False
    ) -> None:
        """Messages of a device, to be handled with the next turn."""
        for data in messages:
            self.mid += 1
            message = Message(topic or f"tallystick/1/{device.text}/up", data, retained)
            self.inbox.put(Delivery(message, self.mid, 1, 1), lambda: None)

    def turn(self) -> None:
        """Handle everything that was sent."""
        while self.worker.turn(0):
            pass

    def give(self, device: Device, *messages: bytes) -> None:
        """Send and handle."""
        self.send(device, *messages)
        self.turn()

    def know(self, *devices: Device) -> None:
        """Enrol devices, as a file in the enrolments folder does."""
        for device in devices:
            self.worker.add_credential(device.credential)
        self.worker.turn(0)

    # --- out --------------------------------------------------------------------------------

    def custody(self, device: Device) -> list[CustodyReceipt]:
        """Every custody receipt that a device got, verified."""
        return [
            custody.parse(data).verify(self.key)
            for to, data in self.link.down
            if to == device.id and data[0] == 0xD2
        ]

    def _of_kind(self, device: Device, kind: int) -> list[bytes]:
        return [data for to, data in self.link.down if to == device.id and kind_of(data) == kind]

    def resends(self, device: Device) -> list[Resend]:
        return [resend.parse(data) for data in self._of_kind(device, RESEND_REQUEST)]

    def notices(self, device: Device) -> list[Notice]:
        return [notice.parse(data) for data in self._of_kind(device, NOTICE)]

    def welcomes(self, device: Device) -> list[Welcome]:
        return [welcome.parse(data) for data in self._of_kind(device, WELCOME)]

    def refused(self) -> dict[str, int]:
        """Refusals by reason."""
        self.worker.close()
        found = status_of(self.path)["refused"]
        return {reason: row["count"] for reason, row in found.items()}

    def status(self) -> dict[str, object]:
        self.worker.close()
        return status_of(self.path)

    def began_late(self) -> list[dict[str, int]]:
        """Where knowledge begins."""
        found: list[dict[str, int]] = status_of(self.path)["began_late"]
        return found

    def ranges(self) -> list[tuple[int, int, int]]:
        """(track, first, until) of every stored segment, in the order of the gateway's log."""
        reader = self.store.reader()
        rows = reader.execute("SELECT track, first, until FROM segments ORDER BY at").fetchall()
        reader.close()
        return [tuple(row) for row in rows]

    def tracks(self) -> list[tuple[int, int, bytes]]:
        """(began, size, head) of every track."""
        reader = self.store.reader()
        rows = reader.execute("SELECT began, size, head FROM tracks ORDER BY began").fetchall()
        reader.close()
        return [tuple(row) for row in rows]
