"""Looks at the store for the page: in a thread of its own, by a connection that only reads.

However many look at the page, the store is read at most once in LOOK_S, and seldom while nobody
looks. What the ingest worker commits never waits for it.
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog
from msgspec.structs import asdict, replace

from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.gateway import conditions, expiries, lives, pagelimits, pagereads
from tallystick.gateway.capacity import Capacity
from tallystick.gateway.config import Config
from tallystick.gateway.pagedevices import Fleet, log_size
from tallystick.gateway.pagesince import Since
from tallystick.gateway.pagestate import (
    Condition,
    Conflict,
    Device,
    Disk,
    Expiry,
    History,
    Named,
    Sample,
    Snapshot,
    Status,
    Totals,
    Validator,
)

_log = structlog.get_logger("tallystick.gateway.page")


class Live(Protocol):
    """What the running process tells of itself; called from the page's threads."""

    def state(self) -> dict[str, Any]:
        """As `tally gateway status` shows it, and broker_error, store_error, key_error."""

    def capacity(self) -> Capacity:
        """How full the store is."""

    def config(self) -> Config:
        """What is in force now."""

    def urls(self) -> dict[str, str]:
        """The validators that are served now, and where they are."""

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Their circuits, by name."""

    def peers(self) -> list[dict[str, Any]]:
        """Imported peers."""

    def beat_s(self) -> float:
        """When the ingest worker took its last turn, in monotonic seconds."""


class Look(NamedTuple):
    """One look at everything, with what follows of it."""

    number: int
    snapshot: Snapshot
    status: Status
    data: bytes  # the status as JSON, made once for all who look
    devices: list[Device]  # those with trouble first


class Watch:
    """`run` in a thread; `newest` is the newest look; `told` is called after each."""

    def __init__(
        self,
        roots: dict[str, PublicKey],
        open_reader: Callable[[], sqlite3.Connection],
        live: Live,
        version: str,
        thresholds: conditions.Thresholds,
    ) -> None:
        self._open = open_reader
        self.live = live
        self._version = version
        self._thresholds = thresholds
        self.fleet = Fleet(roots)
        # Readers of a device's page share the connection's thread: see `ask`.
        self._connection: sqlite3.Connection | None = None
        self._turn = threading.Lock()
        self._conflicts = pagereads.Conflicts()
        self._counts = pagereads.Counts()
        self._files: list[Expiry] = []
        self._files_known = False
        self._since: dict[str, int] = {}
        self._process = Since()
        self._samples: deque[Sample] = deque(maxlen=pagelimits.HISTORY_STEPS_MAX)
        self._last: tuple[float, int, int] | None = None  # (monotonic, records, segments)
        self.newest: Look | None = None
        self.told: Callable[[], None] = lambda: None
        self._asked_s = float("-inf")
        self._wanted = lives.Event()
        self._stop = lives.Event()

    def reconfigure(self, thresholds: conditions.Thresholds) -> None:
        """Other thresholds; what ends is read anew at the next look."""
        self._thresholds = thresholds
        self._files_known = False

    # --- when to look ------------------------------------------------------------------------

    def wanted(self) -> None:
        """Somebody looks: the next looks come soon."""
        idle = time.monotonic() - self._asked_s > pagelimits.WATCHED_S
        self._asked_s = time.monotonic()
        if idle:
            self._wanted.set()

    def run(self) -> None:
        """Look until `stop`."""
        while not self._stop.is_set():
            self._wanted.clear()
            begin_s, begin_cpu_s = time.monotonic(), time.thread_time()
            try:
                self.look(time.time_ns() // 1_000_000, _awake_s())
            except (TallyError, sqlite3.Error, OSError) as error:
                _log.warning("the page cannot be brought up to date", error=str(error))
            except Exception:  # noqa: BLE001 - a defect of the page must not end the gateway
                _log.exception("the page failed and goes on")
            self.told()
            took_s, worked_s = time.monotonic() - begin_s, time.thread_time() - begin_cpu_s
            self._rest(rest_s(took_s, worked_s))
        with self._turn:
            if self._connection is not None:
                self._connection.close()

    def _rest(self, least_s: float) -> None:
        # Up to IDLE_LOOK_S where nobody asks.
        if self._stop.wait(least_s):
            return
        if time.monotonic() - self._asked_s > pagelimits.WATCHED_S:
            self._wanted.wait(pagelimits.IDLE_LOOK_S - pagelimits.LOOK_S)

    def stop(self) -> None:
        """End `run` soon."""
        self._stop.set()
        self._wanted.set()

    # --- one look ----------------------------------------------------------------------------

    def look(self, now_ms: int, mono_s: float) -> Look:
        """Look now; one thread's. mono_s: seconds that no clock setting moves."""
        try:
            snapshot = self._snapshot(now_ms, mono_s)
        except (TallyError, sqlite3.Error, OSError) as error:
            snapshot = self._blind(now_ms, mono_s, str(error))
        found = self._dated(conditions.holding(snapshot, self._thresholds), now_ms)
        sample = self._sample(snapshot, mono_s)
        shown = {name: value for name, value in asdict(snapshot).items() if name != "devices"}
        # Of a thousand devices only the next ones are told.
        shown["expiries"] = snapshot.expiries[: pagelimits.EXPIRIES_SHOWN_MAX]
        beside = conditions.beside(snapshot)
        status = Status(
            sentence=conditions.sentence(snapshot, found),
            well=not found and not beside,
            beside=beside,
            conditions=found,
            sample=sample,
            **shown,
        )
        devices = sorted(
            (
                replace(one, trouble=conditions.trouble(one, snapshot, self._thresholds))
                for one in snapshot.devices
            ),
            key=_trouble_first,
        )
        number = 1 if self.newest is None else self.newest.number + 1
        self.newest = Look(number, snapshot, status, msgspec.json.encode(status), devices)
        return self.newest

    def _snapshot(self, now_ms: int, mono_s: float) -> Snapshot:
        urls = self.live.urls()
        process = self._process.of(
            self.live.state(), now_ms, mono_s, str(self.live.config().broker)
        )
        with self._turn:
            connection = self._reader()
            # One snapshot: the numbers belong together. It ends soon, for the log's sake.
            connection.execute("BEGIN")
            try:
                self.fleet.read(connection)
                size = log_size(connection)
                counts = self._counts
                validators = pagereads.validators(connection, urls, size, counts, now_ms)
                validators = _with_circuits(validators, self.live.circuits())
                conflicts = self._conflicts.read(connection, urls, now_ms)
                quarantine = pagereads.quarantine(
                    counts.set_aside.get(connection),
                    counts.own_quarantine.get(connection),
                    urls,
                    self.fleet.ended(),
                )
                refused = counts.refused.get(connection)
                holds = pagereads.holds_in_force(connection)
                totals = self._totals(connection, size)
                gateway, name = connection.execute(
                    "SELECT (SELECT value FROM meta WHERE name = 'gateway'), "
                    "(SELECT value FROM meta WHERE name = 'name')"
                ).fetchone()
            finally:
                connection.execute("COMMIT")
            rows = self.fleet.rows(urls)
        capacity = self.live.capacity()
        return Snapshot(
            name=name.decode(),
            gateway=device_text(gateway),
            version=self._version,
            time_ms=now_ms,
            process=process,
            disk=Disk(
                level=capacity.level,
                used_bytes=capacity.used,
                allowed_bytes=capacity.allowed,
                since_ms=capacity.since_ms,
                bound=capacity.bound,
            ),
            totals=totals,
            devices=rows,
            validators=validators,
            conflicts=_called(conflicts, rows),
            expiries=self._expiries(rows),
            quarantine=quarantine,
            refused=refused,
            holds=holds,
        )

    def _blind(self, now_ms: int, mono_s: float, error: str) -> Snapshot:
        # What cannot be read must not look well: all else is as it was, and the sentence says so.
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        if self.newest is None:
            raise CouldNotCheck("store-full", error)
        state = self.live.state()
        state["store_error"] = state["store_error"] or f"it cannot be read: {error}"
        process = self._process.of(state, now_ms, mono_s, str(self.live.config().broker))
        return replace(self.newest.snapshot, time_ms=now_ms, process=process)

    def _reader(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._open()
        return self._connection

    def _totals(self, connection: sqlite3.Connection, size: int) -> Totals:
        logs, forks, parked, parked_bytes = connection.execute(
            "SELECT (SELECT count(*) FROM epochs), (SELECT count(*) FROM forks), "
            "(SELECT count(*) FROM parked), (SELECT coalesce(sum(size), 0) FROM parked)"
        ).fetchone()
        return Totals(
            devices=len(self.fleet.known),
            logs=logs,
            segments=size,
            records=self.fleet.records,
            custody_receipts=self._counts.custody.get(connection),
            parked_segments=parked,
            parked_bytes=parked_bytes,
            forks=forks,
        )

    def _expiries(self, rows: list[Device]) -> list[Expiry]:
        # Of the files that were read: a new one in its place is in force after a SIGHUP.
        if not self._files_known:
            self._files = expiries.of_config(self.live.config())
            self._files_known = True
        ends = [*self._files, *expiries.of_peers(self.live.peers()), *expiries.of_devices(rows)]
        return sorted(ends, key=lambda one: one.until_ms)

    def _dated(self, found: list[Condition], now_ms: int) -> list[Condition]:
        # Where nothing else says since when: since it was first seen.
        names = {one.name for one in found}
        self._since = {name: at for name, at in self._since.items() if name in names}
        for one in found:
            self._since.setdefault(one.name, now_ms)
        return [
            one
            if one.since_ms is not None
            else replace(one, since_ms=self._since[one.name], noticed=True)
            for one in found
        ]

    # --- plots -------------------------------------------------------------------------------

    def _sample(self, now: Snapshot, mono_s: float) -> Sample | None:
        if self._last is not None and mono_s - self._last[0] < pagelimits.HISTORY_STEP_S:
            return self._samples[-1]
        backlog = max((one.lag + one.held for one in now.validators), default=0)
        rates: tuple[float | None, float | None] = (None, None)
        if self._last is not None:
            last_s, records, segments = self._last
            step_s = mono_s - last_s
            rates = (
                max(0.0, (now.totals.records - records) / step_s),
                max(0.0, (now.totals.segments - segments) / step_s),
            )
        self._last = (mono_s, now.totals.records, now.totals.segments)
        self._samples.append(Sample(now.time_ms, *rates, backlog))
        return self._samples[-1]

    def history(self) -> History:
        """The points of the plots."""
        return History(step_s=pagelimits.HISTORY_STEP_S, samples=list(self._samples))

    # --- other questions ---------------------------------------------------------------------

    def ask(self, query: Callable[[sqlite3.Connection], Any]) -> Any:
        """What a short query on the same connection gives."""
        with self._turn:
            return query(self._reader())


def rest_s(took_s: float, worked_s: float) -> float:
    """How long to rest after a look that took and worked so long: never two within LOOK_S.

    Worked: processor time. A look that waited for a busy disk or core took nobody's time.
    """
    most_s = min(worked_s / pagelimits.LOOK_SHARE, pagelimits.LOOK_REST_S_MAX)
    return max(pagelimits.LOOK_S - took_s, most_s)


def _awake_s() -> float:
    # Unlike the monotonic clock it goes on while the machine sleeps, which sets no clock.
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return time.clock_gettime(clock)


def _called(conflicts: list[Conflict], rows: list[Device]) -> list[Conflict]:
    # Parties are called as their fleets call them, where they are ours.
    tags = {one.id: one.tag for one in rows if one.tag is not None}
    return [
        replace(one, devices=[Named(who.id, tags.get(who.id, who.name)) for who in one.devices])
        for one in conflicts
    ]


def _trouble_first(one: Device) -> tuple[bool, bool, bool, str, str]:
    return not one.suspect, not one.trouble, not (one.gaps or one.parked), one.tag or "~", one.id


def _with_circuits(rows: list[Validator], told: dict[str, dict[str, Any]]) -> list[Validator]:
    known = [(one, told.get(one.name)) for one in rows]
    return [
        one
        if seen is None
        else replace(one, circuit=seen["state"], circuit_since_ms=seen["since_ms"])
        for one, seen in known
    ]
