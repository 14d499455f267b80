"""Batches that wait, for workers to look at ahead of the one writer; on PostgreSQL only.

The queue in the sequencer's memory stays the truth: who waits for an answer, and whose turn it is.
What lies in the table is a copy. So nothing is lost with it, nothing is taken twice, and the writer
never waits for a worker: a batch whose facts are there when its turn comes costs it less, and
another one costs what it always did. A copy is made only while the writer is busy.

One thread talks to the server, over a session of its own that is no writer's.
"""

import secrets
import threading
import time
from collections import Counter

import structlog
from msgspec import Struct
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from tallystick.evidence.errors import Malformed
from tallystick.validator import ahead, schema
from tallystick.validator._postgresql import for_worker
from tallystick.validator.answers import Index
from tallystick.validator.lanes import STRANGERS
from tallystick.validator.limits import (
    INBOX_BATCH_BYTES_MIN,
    INBOX_BYTES_MAX,
    INBOX_LANE_BYTES_MAX,
    INBOX_LOOK_S,
    INBOX_POLL_S,
    INBOX_STOP_S_MAX,
    RETRY_S,
)
from tallystick.validator.place import Server
from tallystick.validator.rows import insert_rows
from tallystick.validator.workers import living

DUTY = "ingest"
NOTHING: frozenset[bytes] = frozenset()


class Ahead(Struct):
    """Verification ahead: who does it now, what waits for it, what it did since the start."""

    workers: Index
    waiting: Index  # copies of batches that wait
    looked_at: Index  # of them
    used: Index  # batches whose facts were there when their turn came
    too_late: Index  # batches whose turn came first


class Copy:
    """A batch that workers may look at; `take` and `drop` are for any thread."""

    def __init__(self, number: int, turn: int, lane: str, compressed: bytes) -> None:
        self.number = number
        self.turn = turn
        self.lane = lane
        self.size = len(compressed)
        self.compressed = compressed
        self.facts: bytes | None = None  # packed, as they came: of many batches they are many


class Inbox:
    """The sequencer's side; `offer` and `take` never wait for a server."""

    def __init__(self, server: Server) -> None:
        # Each statement is a transaction: rows that workers change meanwhile are no error.
        self._engine = for_worker(server).execution_options(isolation_level="AUTOCOMMIT")
        self._stopping = threading.Event()
        self._woken = threading.Condition()
        self._copies: dict[int, Copy] = {}
        self._new: list[Copy] = []
        self._bytes: Counter[str] = Counter()
        self._turns: Counter[str] = Counter()
        self._turn = 0
        # False: rows of a sequencer before this one may lie there.
        self._clean = False
        self._workers = 0
        self._counted_s = -INBOX_LOOK_S
        self._used = self._missed = 0
        self._log = structlog.get_logger("tallystick.validator.inbox")
        self._thread = threading.Thread(target=self._run, name="inbox", daemon=True)

    def start(self) -> None:
        """Begin to hand over."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is left in the table is the next one's to clear."""
        self._stopping.set()
        with self._woken:
            self._woken.notify()
        if self._thread.is_alive():
            # A server that does not answer holds up no stop: nothing is lost with this session.
            self._thread.join(INBOX_STOP_S_MAX)
        self._engine.dispose()

    # --- from other threads ----------------------------------------------------------------

    def offer(self, compressed: bytes, lane: str) -> Copy | None:
        """Have it looked at; None where that costs more than it saves, or there is no room."""
        size = len(compressed)
        with self._woken:
            lane_bytes, total = self._bytes[lane], self._bytes.total()
            if (
                # Nobody's time is spent on who is not known: one look at the gateway refuses it.
                lane == STRANGERS
                or size < INBOX_BATCH_BYTES_MIN
                or lane_bytes + size > INBOX_LANE_BYTES_MAX
                or total + size > INBOX_BYTES_MAX
            ):
                return None
            # As the lanes take turns, so do their copies: a flood is looked at in its turn.
            turn = max(self._turns[lane], self._turn) + 1
            self._turns[lane] = turn
            copy = Copy(secrets.randbits(62), turn, lane, compressed)
            self._copies[copy.number] = copy
            self._new.append(copy)
            self._bytes[lane] += size
            self._woken.notify()
        return copy

    def take(self, copy: Copy) -> frozenset[bytes]:
        """The facts as far as they are known now: its turn has come."""
        with self._woken:
            self._turn = max(self._turn, copy.turn)
            facts = None if copy.facts is None else _unpacked(copy.facts)
            if facts is None:
                self._missed += 1
            else:
                self._used += 1
        self.drop(copy)
        return facts or NOTHING

    def drop(self, copy: Copy) -> None:
        """It waits no more: answered, refused, or nobody wants the answer."""
        with self._woken:
            if self._copies.pop(copy.number, None) is None:
                return
            self._bytes[copy.lane] -= copy.size
            if not self._bytes[copy.lane]:
                # Who has nothing here is forgotten: lanes come and go.
                del self._bytes[copy.lane]
                del self._turns[copy.lane]
            self._woken.notify()

    def told(self) -> Ahead:
        """For /v1/status."""
        with self._woken:
            known = [copy.facts is not None for copy in self._copies.values()]
            return Ahead(self._workers, len(known), sum(known), self._used, self._missed)

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        away = False
        while not self._stopping.is_set():
            try:
                with self._engine.connect() as connection:
                    while not self._stopping.is_set():
                        self._turn_of(connection)
                        away = False
            except SQLAlchemyError as error:
                # Its copies are as good as not made, and the writer does without. Said once.
                if not away:
                    self._log.warning("inbox-away", error=type(error).__name__)
                away = True
                self._clean = False
                self._workers = 0
                self._stopping.wait(RETRY_S)

    def _turn_of(self, connection: Connection) -> None:
        new, wanted = self._wait()
        now_s = time.monotonic()
        if now_s - self._counted_s >= INBOX_LOOK_S:
            self._workers = living(connection, DUTY)
            self._counted_s = now_s
        if self._clean and not wanted:
            return
        if new and not self._workers:
            for one in new:
                self.drop(one)
            return
        insert_rows(connection, schema.inbox, [_row(one) for one in new])
        # Whatever is looked at, or is nobody's any more: of batches whose turn came first, and of a
        # sequencer before this one. What a worker holds now is for the next time.
        found = connection.exec_driver_sql(_COLLECT, {"wanted": wanted}).all()
        left = not wanted and connection.exec_driver_sql(_LEFT).scalar_one()
        self._clean = not wanted and not left
        with self._woken:
            for number, facts in found:
                copy = self._copies.get(number)
                if copy is not None and facts is not None:
                    copy.facts = facts

    def _wait(self) -> tuple[list[Copy], list[int]]:
        """What is new, and everything that still waits, once there is something to do."""
        with self._woken:
            if not self._new:
                waiting = any(copy.facts is None for copy in self._copies.values())
                self._woken.wait(INBOX_POLL_S if waiting else INBOX_LOOK_S)
            new, self._new = self._new, []
            new = [one for one in new if one.number in self._copies]
            return new, list(self._copies)


_COLLECT = (
    "DELETE FROM inbox WHERE number IN (SELECT number FROM inbox "
    "WHERE facts IS NOT NULL OR number <> ALL(%(wanted)s::bigint[]) FOR UPDATE SKIP LOCKED) "
    "RETURNING number, facts"
)
_LEFT = "SELECT EXISTS (SELECT 1 FROM inbox)"


def _row(copy: Copy) -> dict[str, object]:
    return {"number": copy.number, "turn": copy.turn, "batch": copy.compressed, "facts": None}


def _unpacked(facts: bytes) -> frozenset[bytes] | None:
    try:
        return ahead.unpack(facts)
    except Malformed:
        # None of ours found them, or one of another version: the writer does without.
        return None
