"""Processes beside the sequencer: each does its duties in turns until it is stopped (ADR 15).

A worker holds no key and never adds to the log. What it does is one transaction a turn, so that
whoever is killed in the middle leaves nothing behind and another takes the same work. It says that
it lives after a turn that went well, by the server's clock: who is stopped, or cannot work, falls
silent, and the sequencer does its work without it.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from tallystick.evidence.errors import CouldNotCheck, TallyError
from tallystick.validator import schema
from tallystick.validator._postgresql import for_worker
from tallystick.validator.limits import (
    WORKER_BEAT_S,
    WORKER_IDLE_S_MAX,
    WORKER_IDLE_S_MIN,
    WORKER_RETRY_S_MAX,
    WORKER_SILENT_S,
)
from tallystick.validator.place import Server
from tallystick.validator.schema import BIG
from tallystick.validator.store import get_meta

_LOG = structlog.get_logger("tallystick.validator.worker")
# Two of us wanted the same row, or a snapshot was too old for it: nothing was done, so once more.
_AGAIN = frozenset(("40001", "40P01"))

NOW_MS = sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp()) * 1000), BIG)


class Duty(Protocol):
    """One kind of work, taken by any number of processes at once."""

    @property
    def name(self) -> str:
        """What the status calls it."""

    def turn(self, engine: Engine) -> int:
        """One bounded piece, in one transaction; how much was done, 0 when nothing waits.

        engine: one session, REPEATABLE READ; its commits need not be on disk when they return.
        """


class Worker:
    """One process's duties on one store."""

    def __init__(
        self, server: Server, duties: Sequence[Duty], stop: threading.Event | None = None
    ) -> None:
        self._server = server
        self._duties = duties
        self._stop = stop or threading.Event()
        self._engine = for_worker(server)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(3).hex()}"
        self._done: dict[str, int] = {}
        self._beaten_s: float | None = None
        self._told: str | None = None

    def run(self, parent: int | None = None) -> None:
        """Until it shall stop, or `parent`, the process that started it, is gone.

        Raises CouldNotCheck where the server does not answer at the start; later it is waited for.
        """
        self._reach()
        idle_s, retry_s = WORKER_IDLE_S_MIN, WORKER_IDLE_S_MAX
        while not self._stop.is_set() and parent in {None, os.getppid()}:
            try:
                done = self.turn()
            except TallyError as error:
                self._tell("worker-waits", reason=error.reason, message=error.message)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) in _AGAIN:
                    continue
                # Its server may be restarting: what this session was is gone.
                self._engine.dispose()
                self._tell("store-away", error=type(error.orig).__name__)
            except Exception:  # noqa: BLE001 - the sequencer does what a worker fails at, and says so
                _LOG.exception("worker-failed", worker=self.name)
            else:
                self._tell(None)
                retry_s = WORKER_IDLE_S_MAX
                idle_s = WORKER_IDLE_S_MIN if done else min(2 * idle_s, WORKER_IDLE_S_MAX)
                if not done:
                    self._stop.wait(idle_s)
                continue
            self._stop.wait(retry_s)
            retry_s = min(2 * retry_s, WORKER_RETRY_S_MAX)
        self.close()

    def turn(self) -> int:
        """One turn of each duty; how much was done. Any error leaves the work to others."""
        if self._beaten_s is None:
            # Before its first turn: a store of another version is not worked on.
            with self._engine.begin() as connection:
                _check_version(connection, self._server)
        done = 0
        for duty in self._duties:
            one = duty.turn(self._engine)
            self._done[duty.name] = self._done.get(duty.name, 0) + one
            done += one
        self._beat()
        return done

    def close(self) -> None:
        """Say farewell, as far as the server hears it, and end the session."""
        table = schema.workers
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.delete(table).where(table.c.worker == self.name))
        except DBAPIError as error:
            _LOG.info("no-farewell", worker=self.name, error=type(error.orig).__name__)
        self._engine.dispose()

    def _reach(self) -> None:
        try:
            with self._engine.begin() as connection:
                connection.execute(sa.select(sa.literal(1)))
        except DBAPIError as error:
            self._engine.dispose()
            # Not chained: nobody knows what a driver's own error repeats.
            raise CouldNotCheck(
                "bad-value", f"{self._server}: {self._server.hidden(str(error.orig))}"
            ) from None

    def _beat(self) -> None:
        now_s = time.monotonic()
        if self._beaten_s is not None and now_s < self._beaten_s + WORKER_BEAT_S:
            return
        table = schema.workers
        with self._engine.begin() as connection:
            _check_version(connection, self._server)
            for duty in self._duties:
                done = self._done.pop(duty.name, 0)
                row = {"worker": self.name, "duty": duty.name, "done": done}
                made = postgresql.insert(table).values(beat_ms=NOW_MS, since_ms=NOW_MS, **row)
                connection.execute(
                    made.on_conflict_do_update(
                        index_elements=[table.c.worker, table.c.duty],
                        set_={"beat_ms": NOW_MS, "done": table.c.done + done},
                    )
                )
        self._beaten_s = now_s

    def _tell(self, event: str | None, **said: str) -> None:
        # Once, until it is something else: a server may be away for hours.
        told = None if event is None else f"{event} {said}"
        if event is not None and told != self._told:
            _LOG.warning(event, worker=self.name, store=str(self._server), **said)
        self._told = told


def _check_version(connection: Connection, server: Server) -> None:
    if not sa.inspect(connection).has_table("meta"):
        raise CouldNotCheck("bad-value", f"{server} is empty: no validator has made its store yet")
    found = get_meta(connection, "schema")
    if found != str(schema.VERSION):
        raise CouldNotCheck(
            "bad-value",
            f"{server} has store version {found}, this program's workers know {schema.VERSION}; "
            "run the same version of tallystick everywhere",
        )


def living(connection: Connection, duty: str) -> int:
    """How many workers did a turn of this duty lately."""
    table = schema.workers
    found: int = connection.execute(
        sa.select(sa.func.count())
        .select_from(table)
        .where(table.c.duty == duty, table.c.beat_ms > NOW_MS - int(WORKER_SILENT_S * 1000))
    ).scalar_one()
    return found


def forget_silent(connection: Connection) -> None:
    """Drop the rows of who was killed; one that is locked by who is stopped stays."""
    table = schema.workers
    gone = (
        sa.select(table.c.worker, table.c.duty)
        .where(table.c.beat_ms < NOW_MS - int(WORKER_SILENT_S * 10_000))
        .with_for_update(skip_locked=True)
    ).subquery()
    connection.execute(
        sa.delete(table).where(table.c.worker == gone.c.worker, table.c.duty == gone.c.duty)
    )
