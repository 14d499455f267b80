"""Who has bodies erased: a fleet root that orders it, and this validator's own retention."""

from collections.abc import Callable

import sqlalchemy as sa

from tallystick.evidence import cose, erasure
from tallystick.evidence.enrolment import SUBJECT_DEVICE
from tallystick.evidence.erasure import REQUEST, RETENTION, Erasure
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import b64u
from tallystick.evidence.kinds import CHECKPOINT, CLAIM, ERASURE
from tallystick.evidence.limits import ERASURE_RANGES_MAX, STATEMENT_BYTES_MAX
from tallystick.validator import answers, erased, schema, store
from tallystick.validator.devicelog import held_over
from tallystick.validator.erasing import Chosen, Place, within_reach
from tallystick.validator.ingest import Ingest
from tallystick.validator.limits import (
    RETENTION_CHECKPOINTS_PER_TURN_MAX,
    RETENTION_LOOK_S,
    RETENTION_PASS_S,
)
from tallystick.validator.log import Log
from tallystick.validator.patience import Patience
from tallystick.validator.retention import Retention
from tallystick.validator.store import Store
from tallystick.validator.work import Work

_INDEXED = "copies-indexed"
_CURSOR = "retention-cursor"
_BEGAN = "retention-began-ms"


class Privacy:
    """What the one sequencer does about bodies that must go."""

    def __init__(
        self,
        opened: Store,
        log: Log,
        ingest: Ingest,
        retention: Retention,
        clock: Callable[[], int],
    ) -> None:
        self._store = opened
        self._log = log
        self._ingest = ingest
        self._retention = retention
        # Not the log's time: that never falls, and once a wrong clock was logged it stays wrong.
        self._clock = clock
        self._patience = Patience(clock())
        self._look_at_ms = 0
        # Whether the store's free pages and journal hold what was erased.
        self.unscrubbed = False

    def start(self) -> None:
        """After a start: a store from before copies were noted is looked through once."""

        def do(work: Work) -> None:
            if store.get_meta(work.connection, _INDEXED) is None:
                erased.index_copies(work)
                store.set_meta(work.connection, _INDEXED, "1")

        self._ingest.transaction(do)
        with self._store.read() as connection:
            newest = connection.execute(sa.select(sa.func.max(schema.entries.c.time_ms)))
            self._patience = Patience(newest.scalar_one() or self._clock())
        # A process that died between an erasure and its scrubbing left this to the next one.
        self.unscrubbed = True

    def scrub(self) -> None:
        """Have the store overwrite what was erased, as soon as no reader needs it."""
        if self.unscrubbed:
            self.unscrubbed = not self._store.scrub()

    # --- on request ------------------------------------------------------------------------

    def order(self, made: Erasure) -> answers.Erased:
        """A fleet root's order: verified, held against the holds, logged, done. Idempotent."""
        found: list[answers.Erased] = []

        def do(work: Work) -> None:
            found.append(self._order(work, made))

        self._ingest.transaction(do)
        self._ingest.logs.forget()
        self.unscrubbed = True
        self._log.publish()
        return found[0]

    def _order(self, work: Work, made: Erasure) -> answers.Erased:
        roots = self._ingest.identities.roots
        if made.cause != REQUEST or made.iss not in roots:
            raise Unverified("wrong-key", "an erasure is ordered by an accepted fleet root")
        if made.validator not in {None, self._log.keys.id}:
            raise Unverified("wrong-device", "the order is for another validator")
        verified = made.verify(roots[made.iss])
        device = verified.received().device or b""
        known = self._ingest.identities.get(work, device)
        if known is None or known.identity.subject != SUBJECT_DEVICE:
            raise Unverified("unknown-device", "no device of this id is known here")
        if known.identity.iss != made.iss:
            raise Unverified("not-enrolled", "the device is another fleet's")
        log = self._ingest.logs.open(work, device, verified.epoch)
        place = Place(log.log, device, verified.epoch, made.iss)
        within_reach(work, place, verified.ranges)
        chosen = Chosen(work, place, verified.ranges, _mask(verified.kinds), strict=True)
        entry = work.statement(ERASURE, verified.received().sign1, verified.digest)
        return answers.Erased(b64u(verified.digest), entry, chosen.erase(entry))

    # --- by age ----------------------------------------------------------------------------

    def tick(self) -> bool:
        """One bounded look for what grew too old; whether there may be more at once."""
        now_ms = self._clock()
        # Further away it was set by a clock that is right again.
        waits = 0 < self._look_at_ms - now_ms <= RETENTION_LOOK_S * 1000
        if waits or not self._retention.any:
            return False
        if not self._patience.trusts(now_ms):
            return False
        turn = _Turn(self._log, self._retention, now_ms)
        with self._store.read() as connection:
            due = turn.due(connection)
        if not due:
            self._look_at_ms = now_ms + int(RETENTION_LOOK_S * 1000)
            return False
        self._ingest.transaction(turn.run)
        if turn.erased:
            self._ingest.logs.forget()
            self.unscrubbed = True
            self._log.publish()
        return True


class _Turn:
    def __init__(self, log: Log, retention: Retention, now_ms: int) -> None:
        self._log = log
        self._retention = retention
        self._now_ms = now_ms
        self.erased = 0

    def due(self, connection: sa.Connection) -> bool:
        """Whether a kind has checkpoints that are old enough and not looked at."""
        return self._pass_is_over(connection) or any(
            self._aged(connection, kind) for kind in self._retention.kept_ms
        )

    def run(self, work: Work) -> None:
        """Look at the next ones of each kind."""
        if self._pass_is_over(work.connection):
            for kind in self._retention.kept_ms:
                store.set_meta(work.connection, f"{_CURSOR}-{kind}", "-1")
            store.set_meta(work.connection, _BEGAN, str(self._now_ms))
        for kind in sorted(self._retention.kept_ms):
            aged = self._aged(work.connection, kind)
            if aged:
                self._erase(work, kind, aged)
                store.set_meta(work.connection, f"{_CURSOR}-{kind}", str(aged[-1]))

    def _pass_is_over(self, connection: sa.Connection) -> bool:
        began = store.get_meta(connection, _BEGAN)
        return began is None or self._now_ms >= int(began) + int(RETENTION_PASS_S * 1000)

    def _aged(self, connection: sa.Connection, kind: int) -> list[int]:
        cursor = store.get_meta(connection, f"{_CURSOR}-{kind}")
        table = schema.entries
        return list(
            connection.execute(
                sa.select(table.c.entry)
                .where(
                    table.c.kind == CHECKPOINT,
                    table.c.entry > int(cursor or -1),
                    table.c.time_ms <= self._now_ms - self._retention.kept_ms[kind],
                )
                .order_by(table.c.entry)
                .limit(RETENTION_CHECKPOINTS_PER_TURN_MAX)
            ).scalars()
        )

    def _erase(self, work: Work, kind: int, entries: list[int]) -> None:
        heads = schema.checkpoints
        rows = work.connection.execute(
            sa.select(heads.c.digest, heads.c.log, heads.c.size).where(heads.c.entry.in_(entries))
        ).all()
        spans: dict[int, list[list[int]]] = {}
        for row in rows:
            held = held_over(work.connection, row.log, row.size - 1)
            if held is not None and held.to == row.size:
                spans.setdefault(row.log, []).append([held.first, held.to])
            elif kind == CLAIM:
                # Brought by a counterpart, under a checkpoint that ends no stretch here.
                claims = schema.claims
                spans.setdefault(row.log, []).extend(
                    [at, at + 1]
                    for at in work.connection.execute(
                        sa.select(claims.c.at).where(
                            claims.c.log == row.log, claims.c.checkpoint == row.digest
                        )
                    ).scalars()
                )
        for log, ranges in sorted(spans.items()):
            self._of_log(work, kind, log, joined(ranges))

    def _of_log(self, work: Work, kind: int, log: int, ranges: list[list[int]]) -> None:
        logs, known = schema.logs, schema.identities
        row = work.connection.execute(
            sa.select(logs.c.device, logs.c.epoch, known.c.iss)
            .join(known, known.c.id == logs.c.device, isouter=True)
            .where(logs.c.log == log)
        ).one()
        place = Place(log, row.device, row.epoch, row.iss)
        chosen = Chosen(work, place, ranges, 1 << kind, strict=False)
        wanted = chosen.ranges
        for at in range(0, len(wanted), ERASURE_RANGES_MAX):
            chosen.ranges = wanted[at : at + ERASURE_RANGES_MAX]
            if not chosen.has_bodies():
                continue
            self.erased += chosen.erase(self._say(work, place, kind, chosen.ranges))

    def _say(self, work: Work, place: Place, kind: int, ranges: list[list[int]]) -> int:
        keys = self._log.keys
        made = Erasure(place.epoch, ranges, [kind], RETENTION, keys.id, work.group.time_ms)
        data = made.sign(keys.signer, keys.name, place.device)
        sign1 = cose.parse(data, STATEMENT_BYTES_MAX)
        return work.statement(ERASURE, sign1, sign1.digest())


def joined(ranges: list[list[int]]) -> list[list[int]]:
    """Ascending, and apart from each other."""
    found: list[list[int]] = []
    for first, to in sorted(ranges):
        if found and first <= found[-1][1]:
            found[-1][1] = max(found[-1][1], to)
        else:
            found.append([first, to])
    return found


def look_again(connection: sa.Connection) -> None:
    """A hold was lifted: retention begins anew, with what it had passed over."""
    store.set_meta(connection, _BEGAN, "0")


def _mask(kinds: list[int]) -> int:
    return sum(1 << kind for kind in kinds)


def parse(data: bytes) -> Erasure:
    """An order as it was handed in; nothing is verified yet."""
    return erasure.parse(data)
