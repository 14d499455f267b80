"""What an ingest worker does: takes a batch that waits, and says which signatures in it are good.

One transaction a batch. Who takes it holds its row's lock until the facts stand beside it; another
worker passes over it, and where this one dies the server gives the row free.
"""

from collections.abc import Iterable

import sqlalchemy as sa
import structlog
from sqlalchemy.engine import Connection, Engine

from tallystick.evidence import credential
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.validator import ahead, schema, steps
from tallystick.validator.inbox import DUTY
from tallystick.validator.limits import HINTS_CACHED_MAX
from tallystick.validator.work import CHUNK, Recent

_LOG = structlog.get_logger("tallystick.validator.worker")


class IngestDuty:
    """For a worker process (workers.py): needs no key, no root and no configuration."""

    name = DUTY

    def __init__(self) -> None:
        # A key of a hint is a key for ever; who may use it is not asked here.
        self._known: Recent[bytes, list[PublicKey]] = Recent(HINTS_CACHED_MAX)

    def turn(self, engine: Engine) -> int:
        """One batch; 0 when none waits that nobody has taken."""
        table = schema.inbox
        # What changes between two statements is no error here: the row is locked, or it is not.
        with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
            row = connection.execute(
                sa.select(table.c.number, table.c.batch)
                .where(table.c.facts.is_(None))
                .order_by(table.c.turn, table.c.number)
                .limit(1)
                .with_for_update(skip_locked=True)
            ).one_or_none()
            if row is None:
                return 0
            steps.passed(steps.LOCKED)
            facts = self._facts(connection, row.batch)
            steps.passed(steps.LOOKED)
            connection.execute(
                sa.update(table).where(table.c.number == row.number).values(facts=ahead.pack(facts))
            )
        steps.passed(steps.HANDED)
        return 1

    def _facts(self, connection: Connection, compressed: bytes) -> list[bytes]:
        def keys(hints: Iterable[bytes]) -> list[PublicKey]:
            return self._keys(connection, hints)

        try:
            return ahead.prepare(compressed, keys)
        except TallyError:
            # The writer refuses it, and counts that; here it says nothing.
            return []
        except sa.exc.SQLAlchemyError:
            raise
        except Exception:  # noqa: BLE001 - a defect of ours: the batch is not tried again and again
            _LOG.exception("batch-not-looked-at")
            return []

    def _keys(self, connection: Connection, hints: Iterable[bytes]) -> list[PublicKey]:
        found: list[PublicKey] = []
        missing = []
        for hint in hints:
            known = self._known.get(hint)
            if known is None:
                missing.append(hint)
            else:
                found += known
        for at in range(0, len(missing), CHUNK):
            for hint, keys in self._read(connection, missing[at : at + CHUNK]).items():
                self._known.put(hint, keys)
                found += keys
        return found

    @staticmethod
    def _read(connection: Connection, hints: list[bytes]) -> dict[bytes, list[PublicKey]]:
        table, who = schema.keys, schema.identities
        rows = connection.execute(
            sa.select(table.c.kid, table.c.key, who.c.credential)
            .join(who, who.c.id == table.c.id)
            .where(table.c.kid.in_(hints))
        )
        found: dict[bytes, list[PublicKey]] = {}
        for row in rows:
            try:
                named = ahead.keys_of(credential.parse(row.credential).statements)
            except Malformed:
                continue
            found.setdefault(row.kid, []).extend(
                key for key in named if key.thumbprint() == row.key
            )
        return found
