"""Starts the gateway's parts, watches them, and stops them: `run(config, stop)`."""

import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from tallystick.evidence.errors import TransportError
from tallystick.gateway import limits, lives, namedfiles
from tallystick.gateway.ahead import Ahead
from tallystick.gateway.apply import Applier
from tallystick.gateway.asideduties import scrubber_of
from tallystick.gateway.broker import Broker
from tallystick.gateway.built import Part
from tallystick.gateway.circle import Circle
from tallystick.gateway.config import Config
from tallystick.gateway.doors import joining_of, page_of
from tallystick.gateway.down import Down
from tallystick.gateway.folder import Folder
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.identity import check_owner, open_signing, peer_of
from tallystick.gateway.inbox import Inbox
from tallystick.gateway.ingest import Ingest
from tallystick.gateway.links import Links
from tallystick.gateway.peers import Peer
from tallystick.gateway.pruning import Pruner
from tallystick.gateway.reloading import Reloading
from tallystick.gateway.serialhub import SerialHub
from tallystick.gateway.shared import Shared
from tallystick.gateway.sharing import Sharing
from tallystick.gateway.signing import Signing
from tallystick.gateway.store import Store
from tallystick.gateway.telling import Telling
from tallystick.gateway.urgency import Urgent
from tallystick.gateway.view import StoreView
from tallystick.gateway.watchdog import Hang, Hanging, Watchdog
from tallystick.gateway.watched import PageCare, watched
from tallystick.gateway.way import Way
from tallystick.gateway.worker import Worker

_log = structlog.get_logger("tallystick.gateway")


def _nothing() -> None:
    pass


class Gateway:
    """All parts of one gateway in one process; `start`, then `stop`."""

    def __init__(self, config: Config) -> None:
        # Its roots are live: imported peers add to them while it runs (circle.py).
        self.reloading = Reloading(config, self._reconfigure)
        config = replace(config, roots=dict(config.roots))
        self.config = config
        self._stop = lives.Event()
        self._watchdog: Watchdog | None = None
        now_s = int(time.time())
        peers = [peer_of(validator, config.roots, now_s) for validator in config.validators]
        self.signing: Signing = open_signing(config, now_s)
        try:
            self.store = Store(config.store)
        except BaseException:
            self.signing.close()
            raise
        try:
            check_owner(self.store, self.signing.gateway, config.name)
            self.inbox = Inbox(config.inbox_bytes_max)
            self.ahead = Ahead(self.inbox, config.verify_workers, config.name)
            self._urgent = Urgent()
            self._shared: Shared[Part] = Shared()
            self.down = Down(self.inbox)
            self.broker = Broker(config.broker, self.inbox, Sharing(config.name, config.shared_by))
            self.serial = SerialHub(config.serial, config.broker.prefix, self.inbox)
            self.scrubber = scrubber_of(self, self._stop)
            self._configured = [self._way(peer, lives.Event()) for peer in peers]
            self.worker = Worker(
                self.store,
                self._core,
                self.inbox,
                Links(self.broker, self.serial) if config.serial else self.broker,
                self.signing,
                self.down,
                self._stop,
                self._wake,
                config.store_bytes_max,
                self.ahead,
                self._urgent,
            )
            self.worker.elsewhere = self._elsewhere
            self.circle = Circle(config, self.store, self._way, self.worker.forget_identities)
            self.circle.open()
            self.joining = joining_of(self)
            self.page = page_of(self)
            self.page_care = PageCare(self)
            self.pruner = Pruner(
                self.store,
                config.retention,
                lambda: self.worker.capacity,
                self._stop,
                self.scrubber.suspect,
            )
        except BaseException:
            self.store.close()
            self.signing.close()
            raise
        self._folder = Folder(config.enrolments)
        self._threads: list[threading.Thread] = []
        self.intake: threading.Thread | None = None
        self._telling = Telling(self)
        self._telling.remember()

    @property
    def ways(self) -> list[Way]:
        """To every validator: those of the configuration, and of imported peers."""
        return [*self._configured, *self.circle.ways.values()]

    @property
    def forwarders(self) -> list[Forwarder]:
        """What sends to each validator."""
        return [way.forwarder for way in self.ways]

    @property
    def threads(self) -> list[threading.Thread]:
        """All that must run, the MQTT client's and the page's apart."""
        ways = [thread for way in self.ways for thread in way.threads]
        return [*self._threads, *self.ahead.threads, *ways]

    def _way(self, peer: Peer, stop: threading.Event) -> Way:
        config = self.config
        way = Way(
            peer,
            self.store,
            self.signing,
            config.credential,
            self.down,
            stop,
            gateway=config.name,
            retry_s_max=config.retry_s_max,
            verdicts_poll_s=config.verdicts_poll_s,
            urgent=self._urgent,
            shared=self._shared,
        )
        way.forwarder.on_damage = self.scrubber.suspect
        return way

    def _elsewhere(self, device: bytes) -> bool:
        # One that is heard on a port of ours is ours, whoever shares the broker.
        return self.broker.sharing.elsewhere(device) and not self.serial.hears(device)

    def _core(self, connection: sqlite3.Connection, applier: Applier) -> Ingest:
        return Ingest(
            StoreView(connection, lambda: applier.write_pending(connection)),
            self.config.roots,
            self.config.broker.prefix,
            parked_device_bytes_max=self.config.parked_device_bytes_max,
            parked_bytes_max=self.config.parked_bytes_max,
        )

    @property
    def running(self) -> bool:
        """Whether nobody has stopped it."""
        return not self._stop.is_set()

    def _reconfigure(self, config: Config, peers: list[Peer], changed: set[str]) -> None:
        if changed & {"broker", namedfiles.BROKER}:
            # First, as the one that may refuse.
            self.broker.renew(config.broker)
        # The live dictionary of roots stays the one that everybody holds.
        self.config = replace(config, roots=self.config.roots)
        self.worker.gauge.bytes_max = config.store_bytes_max
        self.pruner.retention = config.retention
        self.broker.sharing.replace(config.shared_by)
        self.worker.look_at_parked()
        if "enrolments" in changed:
            self._folder = Folder(config.enrolments)
        if self.joining is not None and namedfiles.JOIN in changed:
            self.joining.door.renew()
        if self.page is not None and config.page is not None:
            self.page.reconfigure(config.page)
        self._rewire(config, peers, changed)

    def _rewire(self, config: Config, peers: list[Peer], changed: set[str]) -> None:
        self.circle.configure(config, roots_changed="roots" in changed)
        fresh = changed & {"retry_s_max", "verdicts_poll_s", "credential"}
        if fresh:
            self.circle.renew()
        kept = [
            way
            for way in self._configured
            if not fresh
            and way.peer in peers
            and namedfiles.of_validator(way.peer.config.name) not in changed
        ]
        gone = [way for way in self._configured if way not in kept]
        for way in gone:
            way.stop()
        until_s = time.monotonic() + limits.STOP_S_MAX
        for thread in [thread for way in gone for thread in way.threads]:
            thread.join(max(0.0, until_s - time.monotonic()))
        self._configured = kept
        known = [way.peer for way in kept]
        for peer in [peer for peer in peers if peer not in known]:
            way = self._way(peer, lives.Event())
            self._configured = [*self._configured, way]
            way.start()

    def _wake(self) -> None:
        for way in self.ways:
            way.wake()

    def start(self) -> None:
        """Start every part; returns at once."""
        parts: list[tuple[str, Callable[[], None]]] = [
            ("ingest", self.worker.run),
            ("pruning", self.pruner.run),
            ("scrubbing", self.scrubber.run),
        ]
        if self.config.serial:
            parts.append(("serial ports", self.serial.run))
        for name, target in parts:
            thread = threading.Thread(
                target=target, name=f"{self.config.name}: {name}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        self.intake = self._threads[0]
        for way in self.ways:
            way.start()
        self._read_folder()
        if self.joining is not None:
            self.joining.start()
            self._threads += self.joining.threads
        self.broker.start()
        if self.page is not None:
            self.page.start()
        _log.info(
            "started",
            gateway=self.config.name,
            page=None if self.page is None else self.page.url,
            broker=str(self.config.broker),
            serial=[item.port for item in self.config.serial],
            validators=[part.name for part in self.forwarders],
        )

    def watch(
        self,
        stop: threading.Event,
        alive: Callable[[], None] = _nothing,
        reload: threading.Event | None = None,
        ends: Callable[[Hang], None] = lambda _: None,
    ) -> None:
        """Watch until `stop`: the client's life, the enrolments folder, the threads.

        `alive` is called each second while everything that must run runs. Whenever `reload` is
        set the configuration is read again. Where a thread hangs and nobody can help it, `ends`
        is called by another thread, and Hanging is raised if this one still can.
        """
        read_s = time.monotonic()
        watching = threading.current_thread()
        watchdog = self._watchdog = Watchdog(
            self.config.name, lambda: watched(self, watching), ends
        )
        watchdog.start()
        while not stop.wait(limits.WATCHDOG_TICK_S):
            lives.moved()
            if watchdog.found is not None:
                raise Hanging(watchdog.found)
            self.broker.watch()
            if len(self.broker.hung) >= limits.CLIENTS_HUNG_MAX:
                watchdog.give_up(self.broker.hung[0], limits.WATCHDOG_S)
            if reload is not None and reload.is_set():
                reload.clear()
                self.reloading.turn()
            self.circle.turn()
            self._telling.turn()
            for forwarder in self.forwarders:
                if forwarder.put_back is not None:
                    raise forwarder.put_back
            if self.joining is not None:
                self.joining.watch()
            self.page_care.turn(watchdog.hanging)
            if time.monotonic() - read_s >= limits.ENROLMENTS_RESCAN_S:
                read_s = time.monotonic()
                self._read_folder()
            dead = [thread.name for thread in self.threads if not thread.is_alive()]
            if dead:
                raise TransportError("internal-error", f"{', '.join(dead)} ended by itself")
            if time.monotonic() - self.worker.beat_s < limits.WORKER_BEAT_S_MAX:
                alive()

    def _read_folder(self) -> None:
        for statements in self._folder.changed():
            self.worker.add_credential(statements)

    def stop(self) -> None:
        """Stop everything in order; what is not acknowledged stays with the broker."""
        lives.moved()
        self._stop.set()
        if self.page is not None:
            self.page.stop()
        self.broker.stop()
        self.serial.stop()
        if self.joining is not None:
            self.joining.stop()
        self.ahead.stop()
        self.inbox.close()
        ways = self.ways
        for way in ways:
            way.stop()
        threads = self.threads
        until_s = time.monotonic() + limits.STOP_S_MAX
        for thread in threads:
            thread.join(max(0.0, until_s - time.monotonic()))
        late = [thread.name for thread in threads if thread.is_alive()]
        if late:
            # A request to a slow validator: its thread is a daemon and holds nothing that matters.
            _log.warning("not waited for", threads=late)
        else:
            self.serial.close()
        self.worker.close()
        self._telling.turn()
        self.signing.close()
        self.store.close()
        if self._watchdog is not None:
            # Not before: an end that does not come is a hang, too.
            self._watchdog.stop()
        _log.info("stopped", gateway=self.config.name)


def _opened(config: Config, stop: threading.Event) -> Gateway | None:
    # A disk that is full at the start is waited for, not crashed over. None: stopped meanwhile.
    while True:
        try:
            return Gateway(config)
        except sqlite3.OperationalError as error:
            _log.error("the store cannot be opened; tried again", error=str(error))
        if stop.wait(limits.STORE_RETRY_S_MAX):
            return None


def run(
    config: Config,
    stop: threading.Event,
    ready: Callable[[Gateway], None] = lambda _: None,
    alive: Callable[[], None] = _nothing,
    reload: threading.Event | None = None,
    ends: Callable[[Hang], None] = lambda _: None,
) -> None:
    """Run a gateway until `stop` is set; a TallyError when it cannot start or must not go on.

    Several may run in one process, each with its own configuration and store. `ready` is called
    when it has started, `alive` each second while everything that must run runs. Whenever `reload`
    is set, by SIGHUP say, the configuration is read again. `ends` is called, by any thread, when
    one hangs and nobody can help it; it ends the process, or Hanging is raised where that can be,
    and then nothing was stopped.
    """
    gateway = _opened(config, stop)
    if gateway is None:
        return
    try:
        gateway.start()
        ready(gateway)
        gateway.watch(stop, alive, reload, ends)
    except Hanging:
        raise  # to stop would wait for the thread that hangs
    except BaseException:
        gateway.stop()
        raise
    gateway.stop()
