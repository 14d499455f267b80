"""Guards of the product taken out, one at a time: the simulation must see each of them missing."""

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.engine import Connection

from simulation.gateway import Gateway
from support.powercut import CutFiles
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.gateway import forward
from tallystick.gateway.forward import Forwarder
from tallystick.gateway.signing import receipts_due
from tallystick.gateway.worker import Worker
from tallystick.recorder.ledger import Ledger
from tallystick.validator import ingest
from tallystick.validator.ingest import Ingest
from tallystick.validator.log import Log
from tallystick.validator.records import Records
from tallystick.validator.segments import Segments

Patch = pytest.MonkeyPatch
MUTANTS: dict[str, Callable[[Patch], None]] = {}


def mutant(change: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """Known by its name."""
    MUTANTS[change.__name__] = change
    return change


# --- gateways ------------------------------------------------------------------------------


@mutant
def custody_receipt_before_the_commit(patch: Patch) -> None:
    honest = Worker._commit

    def early(self: Worker, group: Any, poisoned: Any) -> Any:
        finish = self._applier.finish

        def receipted(connection: sqlite3.Connection, touched: Any) -> None:
            finish(connection, touched)
            for track, _ in touched:
                for receipt in receipts_due(track, 1_790_000_000_000):
                    data, _ = self._receipts._signing.sign(receipt, track.device)
                    self._link.publish(track.device, data)

        with patch.context() as within:
            within.setattr(self._applier, "finish", receipted)
            return honest(self, group, poisoned)

    patch.setattr(Worker, "_commit", early)


@mutant
def acknowledged_although_the_store_failed(patch: Patch) -> None:
    """A full disk is taken as if it had taken what it was given."""

    def once(self: Worker, work: Callable[[], None]) -> None:
        try:
            work()
        except (sqlite3.Error, OSError):
            # The tracks in memory are ahead of the store now.
            self._receipts.owe(self.core.take_dirty(), {})
            self._receipts.give()

    patch.setattr(Worker, "_until_stored", once)


@mutant
def memory_is_not_forgotten_when_the_store_fails(patch: Patch) -> None:
    patch.setattr(Worker, "_recover", lambda _self: None)


@mutant
def cursor_moves_before_the_answer(patch: Patch) -> None:
    honest = Forwarder._send

    def early(self: Forwarder, built: Any) -> None:
        with self._store.write_aside() as connection:
            connection.execute(
                "UPDATE validators SET cursor = ? WHERE name = ?", (built.to, self.name)
            )
        self.cursor = built.to
        self._pending = None
        honest(self, built)

    patch.setattr(Forwarder, "_send", early)


@mutant
def lost_store_goes_on_under_its_old_key(patch: Patch) -> None:
    """And nobody asks the validators what that key signed."""
    honest = Gateway._take_identity

    def same(self: Gateway) -> None:
        number, self._identity = self._identity, 1
        honest(self)
        self._identity = number

    patch.setattr(Gateway, "_take_identity", same)
    patch.setattr(forward, "check_signed", lambda *_: None)


# --- devices -------------------------------------------------------------------------------


@mutant
def sent_before_it_is_on_flash(patch: Patch) -> None:
    honest = Ledger.step

    def early(self: Ledger, now_ms: int) -> bool:
        worked = honest(self, now_ms)
        self.sendable = self.log.signed
        return worked

    patch.setattr(Ledger, "step", early)


@mutant
def nothing_is_synced(patch: Patch) -> None:
    """As a flash that says that it has what it has not: an index is used again after a cut."""
    patch.setattr(CutFiles, "_synced", lambda _self, _handle: None)


@mutant
def freed_without_a_custody_receipt(patch: Patch) -> None:
    from tallystick.recorder import freeing

    honest = freeing.release
    patch.setattr(
        freeing,
        "release",
        lambda journal, epoch, _size, before: honest(journal, epoch, 1 << 40, before),
    )


# --- validators ----------------------------------------------------------------------------


@mutant
def receipts_before_the_checkpoint_is_stored(patch: Patch) -> None:
    class Undone(Exception):
        pass

    def early(self: Ingest, taking: Any) -> bytes:
        answer = b""

        def do(connection: Connection) -> None:
            nonlocal answer
            entries = ingest._entries_of(connection, taking.wanted)
            made = self._log.receipts(connection, entries.values())
            answer = BatchAnswer(
                taking.size,
                [(digest, made[entry]) for digest, entry in entries.items()],
                taking.refused,
            ).encode()
            raise Undone

        try:
            self._log.publish(do)
        except Undone:
            return answer
        return answer

    patch.setattr(Ingest, "_answer", early)


@mutant
def claims_are_not_deduplicated(patch: Patch) -> None:
    patch.setattr(Records, "_is_known", staticmethod(lambda _work, _reference: False))


@mutant
def records_are_not_deduplicated(patch: Patch) -> None:
    patch.setattr(Segments, "_merge", lambda *_: None)


@mutant
def interrupted_log_begins_again_at_its_checkpoint(patch: Patch) -> None:
    """After a kill between integrating and publishing, indexes are given again."""
    honest = Log.reload

    def shorter(self: Log) -> None:
        honest(self)
        if self.head is not None and self.head.size < self.tree.size:
            with self._store.write() as connection:
                connection.exec_driver_sql(
                    "DELETE FROM entries WHERE entry >= ?", (self.head.size,)
                )
                connection.exec_driver_sql(
                    "DELETE FROM nodes WHERE ((at + 1) << level) > ?", (self.head.size,)
                )
            honest(self)

    patch.setattr(Log, "reload", shorter)
