"""A gateway: the real store, core, worker and forwarders, driven by the world; its broker keeps
what is not acknowledged.
"""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from simulation.links import Links
from simulation.site import FLEET, site
from simulation.transport import Transport, Way
from simulation.truth import Truth
from simulation.world import Killed, Node, World, Wrong
from tallystick.evidence.keys import device_text
from tallystick.gateway.apply import Applier
from tallystick.gateway.down import Down
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Ingest, Message
from tallystick.gateway.peers import Peer
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.gateway.view import StoreView
from tallystick.gateway.worker import Worker

PREFIX = "tallystick/1"
GROUP_MS = 200
BOOT_MS = (2_000, 30_000)
FORWARD_MS = (150_000, 850_000)
CUSTODY = 0xD2
TURNS_MAX = 1_000
# The chance that the broker dies with it, and what it kept.
BROKER_TOO = 0.4


class Stop(threading.Event):
    """What the gateway's loops wait on. No time passes; `on_wait` is told of each wait."""

    def __init__(self, on_wait: Callable[[], None]) -> None:
        super().__init__()
        self._on_wait = on_wait

    def wait(self, timeout: float | None = None) -> bool:
        self._on_wait()
        return self.is_set()


class Gateway(Node):
    """A gateway with its broker; the broker outlives it."""

    def __init__(
        self,
        world: World,
        name: str,
        links: Links,
        truth: Truth,
        folder: Path,
        down: Callable[[str, bytes, bytes], None],
    ) -> None:
        super().__init__(world, name)
        self.links = links
        self.truth = truth
        self.forwarders: dict[str, Forwarder] = {}
        self._down_link = down
        self._folder = folder
        self._identity = 1
        self._mid = 0
        # Unacknowledged, in order: they are given again to a gateway that comes back.
        self._kept: dict[int, Delivery] = {}
        self._due = False
        # Waits of a worker whose disk is full, until there is room again.
        self._full_for = 0
        self.ways: dict[str, Way] = {}
        self.hurry = False
        self._take_identity()

    def _take_identity(self) -> None:
        signer, self.credential = site().gateways[f"{self.name}-{self._identity}"]
        self.id = signer.public_key().thumbprint()
        self.signing = Signing(signer, FLEET.name, self.id)
        self.path = self._folder / f"{self.name}-{self._identity}.sqlite"
        shutil.copyfile(site().gateway_store, self.path)

    # --- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Its process starts: the store opens, the broker gives again what it kept."""
        self.born()
        stop = Stop(self._waits)
        self.store = Store(self.path)
        # Another connection sees what is committed, and nothing else.
        self._look = self.store.reader()
        self.inbox = Inbox()
        self.down = Down(self.inbox)
        try:
            with self.world.acting(self):
                self.worker = Worker(
                    self.store, self._core, self.inbox, self, self.signing, self.down, stop,
                    on_commit=self._wake,
                )  # fmt: skip
                self.forwarders = {
                    name: self._forwarder(way, stop) for name, way in self.ways.items()
                }
        except Killed:
            self._fell()
            return
        for delivery in self._kept.values():
            self.inbox.put(delivery, lambda: None)
        self._soon()
        for name in self.forwarders:
            self._forward_in(name, self._pause_ms())

    def _core(self, connection: sqlite3.Connection, applier: Applier) -> Ingest:
        view = StoreView(connection, lambda: applier.write_pending(connection))
        return Ingest(view, dict(FLEET.roots), PREFIX)

    def _forwarder(self, way: Way, stop: threading.Event) -> Forwarder:
        peer = Peer(
            ValidatorConfig(name=way.validator.name, url="http://127.0.0.1:1"),
            way.validator.name,
            way.validator.key,
        )
        transport = Transport(self, way, self.links)
        return Forwarder(
            peer, self.store, self.signing, tuple(self.credential), self.down, stop,
            http=transport, urgent=self.worker.urgent,
        )  # fmt: skip

    def meet(self, way: Way) -> None:
        """Another validator is configured; a gateway reads that at its start."""
        self.ways[way.validator.name] = way
        if self.on:
            self.stop()
            self.start()

    def stop(self) -> None:
        """Its process ends at once; the kernel gives back what it had open."""
        for forwarder in self.forwarders.values():
            forwarder.close()
        self._look.close()
        self.store.close()
        self._full_for = 0
        self.gone()

    def _fell(self) -> None:
        self.stop()
        if self.world.chance.random() < BROKER_TOO:
            self.forget_session()
        self.world.after(self.world.chance.randint(*BOOT_MS), self.start)

    def restart(self) -> None:
        """It is killed between two steps, and started again."""
        self._fell()

    def disk_lost(self) -> None:
        """The store is gone for good; it goes on under a new identity."""
        self.stop()
        self.world.note(self.name, "loses its disk")
        self.truth.disk_lost(self.path)
        self._identity += 1
        self._kept.clear()
        self._take_identity()
        self.world.after(self.world.chance.randint(*BOOT_MS), self.start)

    @property
    def spare(self) -> bool:
        """Whether it has an identity left to go on under."""
        return self._identity == 1

    # --- the disk --------------------------------------------------------------------------

    def disk_full(self, waits: int) -> None:
        """SQLite gets no page more, until the worker has waited so often."""
        self._full_for = waits
        for connection in (self.store._main, self.store._aside):
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            connection.execute(f"PRAGMA max_page_count={pages}")

    def _waits(self) -> None:
        self.world.note(self.name, "waits")
        self._full_for -= 1
        if self._full_for <= 0:
            self.disk_has_room()

    def disk_has_room(self) -> None:
        """It may grow again."""
        self._full_for = 0
        for connection in (self.store._main, self.store._aside):
            connection.execute("PRAGMA max_page_count=1000000")

    # --- the broker ------------------------------------------------------------------------

    def arrived(self, device: bytes, message: bytes) -> None:
        """A message of a device reached the broker, which keeps it until it is acknowledged."""
        self._mid += 1
        topic = f"{PREFIX}/{device_text(device)}/up"
        delivery = Delivery(Message(topic, message, False), self._mid, 1, 1)
        self._kept[self._mid] = delivery
        if self.on:
            self.inbox.put(delivery, lambda: None)
            self._soon()

    def forget_session(self) -> None:
        """The broker loses what it kept."""
        self._kept.clear()

    def ack(self, group: list[Delivery]) -> None:
        """The worker's: these messages are on its disk."""
        for delivery in group:
            self._kept.pop(delivery.mid, None)

    def publish(self, device: bytes, data: bytes) -> bool:
        """The worker's: send this to a device."""
        if data[0] == CUSTODY:
            self.truth.down(self.name, device, data, self._look)
        self._down_link(self.name, device, data)
        return True

    # --- turns -----------------------------------------------------------------------------

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            self.later(GROUP_MS, self._turn)

    def gone(self) -> None:
        self._due = False
        super().gone()

    def _turn(self) -> None:
        self._due = False
        try:
            with self.world.acting(self):
                for _ in range(TURNS_MAX):
                    if not self.worker.turn(0):
                        return
        except Killed:
            self._fell()
            return
        raise Wrong(f"{self.name}: its worker does not come to rest")

    def _wake(self) -> None:
        # The worker's, after a COMMIT. Batches are let grow: a run is short of processor time.
        pass

    def _pause_ms(self) -> int:
        return 45_000 if self.hurry else self.world.chance.randint(*FORWARD_MS)

    def _forward_in(self, name: str, delay_ms: float) -> None:
        self.later(delay_ms, lambda: self._forward(name))

    def _forward(self, name: str) -> None:
        forwarder = self.forwarders[name]
        try:
            with self.world.acting(self):
                wait_s = forwarder.turn()
        except Killed:
            self._fell()
            return
        if forwarder.put_back is not None:
            raise Wrong(f"{self.name}: {forwarder.put_back}")
        if wait_s == 0:
            self._forward_in(name, 1)
        elif forwarder.backing_off:
            self._forward_in(name, max(1, wait_s * 1000))
        else:
            self._forward_in(name, max(wait_s * 1000, self._pause_ms()))
        # What the answers hold for devices waits for the worker.
        if len(self.down):
            self._soon()

    # --- looks -----------------------------------------------------------------------------

    def idle(self) -> bool:
        """Whether every validator has answered for all that is stored here."""
        if not self.on or self._kept:
            return False
        query = "SELECT coalesce(max(at) + 1, 0) FROM segments"
        (size,) = self._look.execute(query).fetchone()
        return all(forwarder.cursor == size for forwarder in self.forwarders.values())
