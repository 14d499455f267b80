"""Findings and verdicts: what is due is computed again, closed, signed, and only when it changed.

Work a tick is bounded. Sets are found by index (dirty, or past their deadline), so the cost of a
claim does not grow with the number of open interactions.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from tallystick.evidence import cbor, claim, cose, entry, verdict
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.finding import Finding
from tallystick.evidence.kinds import VERDICT
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.evidence.profile import Profile
from tallystick.validator import bodiless, schema, setreads
from tallystick.validator.ingest import Ingest
from tallystick.validator.limits import OTHERS_PER_SET_MAX, PARTY_SETS_PER_TICK_MAX
from tallystick.validator.log import Log
from tallystick.validator.nearby import Nearby, used_erased
from tallystick.validator.store import Store
from tallystick.validator.work import CHUNK, Work
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.partysets import uninvited
from tallystick.verify.reconcile import find

PENDING = "pending"
Found = Any  # a row of a query

_SETS = schema.party_sets
# What a tick begins with; both are found by index, whatever is open (a test reads the plans).
DIRTY = sa.select(_SETS).where(_SETS.c.dirty).order_by(_SETS.c.party_set)
LATE = sa.select(_SETS).where(_SETS.c.due_ms <= sa.bindparam("now_ms")).order_by(_SETS.c.due_ms)


class Reconciler:
    """What the sequencer does between batches."""

    def __init__(
        self, store: Store, log: Log, ingest: Ingest, profiles: dict[bytes, Profile]
    ) -> None:
        self._store = store
        self._log = log
        self._ingest = ingest
        self._profiles = profiles
        self._nearby = Nearby(profiles)

    def start(self) -> None:
        """After a start: profiles that came to be known make findings due, and so does silence."""
        table = schema.party_sets

        def do(work: Work) -> None:
            for digest, profile in self._profiles.items():
                work.connection.execute(
                    sa.update(table)
                    .where(table.c.profile == digest, table.c.deadline_ms.is_(None))
                    .values(
                        deadline_ms=profile.deadline_ms,
                        due_ms=table.c.first_ms + profile.deadline_ms,
                        dirty=True,
                    )
                )
            self._nearby.index_known(work)
            work.heard.update(
                work.connection.execute(sa.select(schema.unheard.c.device).distinct()).scalars()
            )

        self._ingest.transaction(do)
        self._log.publish()

    def due(self) -> bool:
        """Whether a tick has something to do."""
        if self._ingest.heard:
            return True
        now = {"now_ms": self._log.now_ms()}
        with self._store.read() as connection:
            return (
                connection.execute(DIRTY.limit(1)).first() is not None
                or connection.execute(LATE.limit(1), now).first() is not None
            )

    def tick(self) -> int:
        """One bounded piece of work; returns how many party sets it looked at."""
        if not self.due():
            return 0
        tick = _Tick(self._log, self._ingest, self._profiles, self._nearby)
        work = self._ingest.transaction(tick.run)
        self._ingest.heard = (self._ingest.heard - tick.listened) | work.heard
        self._log.publish()
        return tick.looked_at


class _Tick:
    def __init__(
        self, log: Log, ingest: Ingest, profiles: dict[bytes, Profile], nearby: Nearby
    ) -> None:
        self._nearby = nearby
        self._log = log
        self._ingest = ingest
        self._profiles = profiles
        self.listened: set[bytes] = set()
        self.looked_at = 0

    def run(self, work: Work) -> None:
        self._listen(work)
        now = {"now_ms": self._log.now_ms()}
        rows = list(work.connection.execute(LATE.limit(PARTY_SETS_PER_TICK_MAX), now))
        # What is late comes first, or a flood of claims would keep deadlines open.
        room = PARTY_SETS_PER_TICK_MAX - len(rows)
        if room:
            have = {row.party_set for row in rows}
            dirty = work.connection.execute(DIRTY.limit(room))
            rows += [row for row in dirty if row.party_set not in have]
        self.looked_at = len(rows)
        if rows:
            self._find(work, rows)

    # --- time evidence ---------------------------------------------------------------------

    def _listen(self, work: Work) -> None:
        """Closed sets that wait for a device whose log is complete past their deadline."""
        room = PARTY_SETS_PER_TICK_MAX
        table = schema.unheard
        for device in sorted(self._ingest.heard):
            if room <= 0:
                return
            newest = setreads.newest_evidence(work.connection, device)
            if newest is None or not self._complete(work, device):
                self.listened.add(device)
                continue
            rows = list(
                work.connection.execute(
                    sa.select(table.c.party_set, table.c.due_ms)
                    .where(table.c.device == device, table.c.due_ms < newest)
                    .order_by(table.c.due_ms)
                    .limit(room)
                )
            )
            for row in rows:
                if not setreads.keep_evidence(work, row.party_set, device, row.due_ms):
                    continue
                work.dirty.add(row.party_set)
                work.connection.execute(
                    sa.delete(table).where(
                        table.c.device == device, table.c.party_set == row.party_set
                    )
                )
            room -= len(rows)
            if room > 0:
                self.listened.add(device)
        mark = set(work.dirty)
        if mark:
            # Seen by this very tick.
            _mark(work, mark)

    def _complete(self, work: Work, device: bytes) -> bool:
        logs = self._ingest.logs.of(work, device)
        return bool(logs) and all(log.complete for log in logs if log.newest is not None)

    # --- findings --------------------------------------------------------------------------

    def _find(self, work: Work, rows: Sequence[Found]) -> None:
        numbers = [row.party_set for row in rows]
        claims = setreads.claims_of(work.connection, numbers)
        silences = setreads.silences_of(work.connection, numbers)
        siblings = setreads.siblings_of(work.connection, numbers)
        unread = bodiless.relied_on(work.connection, numbers)
        concluded = []
        for row in rows:
            others = siblings.get(row.party_set, [])
            ours = claims.get(row.party_set, [])
            parties = cbor.decode(row.parties)
            known = [self._known(work, found) for found in ours]
            known += [
                self._unread(work, found)
                for found in unread.get(row.party_set, [])
                if any(found.device in devices for devices in parties.values())
            ]
            inputs = PartySetInputs(
                self._profiles.get(row.profile),
                row.namespace,
                row.interaction,
                parties,
                known,
                [*self._others(work, ours, others), *self._neighbours(work, row, known)],
                row.closing is not None,
                silences.get(row.party_set, []),
            )
            one = self._conclude(work, row, inputs, others)
            one.erased = not all(found.record for found in ours)
            concluded.append(one)
        # All closings are logged; what the verdicts read is below this size.
        size = work.group.tree.size
        self._write(work, [self._sign_if_changed(work, one, size) for one in concluded])

    def _conclude(
        self, work: Work, row: Found, inputs: PartySetInputs, others: list[Found]
    ) -> "Concluded":
        closing = row.closing
        try:
            finding = find(inputs)
            if (
                finding.state == PENDING
                and row.due_ms is not None
                and row.due_ms <= work.group.time_ms
            ):
                closing = work.group.add(
                    entry.Closing(
                        row.namespace,
                        row.interaction,
                        row.parties_digest,
                        row.first,
                        row.deadline_ms,
                    )
                )
                finding = find(inputs._replace(closed=True))
        except TallyError as error:
            # A set that the engine refuses must not stop the others; it is counted and shown.
            work.refuse(error.reason)
            return Concluded(row, None, closing, others)
        return Concluded(row, finding, closing, others)

    def _sign_if_changed(self, work: Work, one: "Concluded", size: int) -> dict[str, Any]:
        row, finding = one.row, one.finding
        state = row.state if finding is None else finding.state
        change: dict[str, Any] = {
            "number": row.party_set,
            "to_state": state,
            "to_closing": one.closing,
            # Complete, or closed: nothing falls due any more.
            "to_due": row.due_ms if state == PENDING and one.closing is None else None,
            "to_finding": row.finding,
            "to_verdict": row.verdict,
            "to_entry": row.verdict_entry,
        }
        if finding is None or finding.state == PENDING:
            return change
        self._wait_for(work, row, finding)
        if one.erased and row.verdict is not None:
            # Else a party would have its claim erased, and say something else in its place.
            return change | {"to_state": row.state}
        digest = sha256(finding.encode())
        if digest == row.finding:
            return change
        if row.verdict_entry is not None and used_erased(work, row.verdict_entry):
            # As above: what speaks against a party in another interaction may have been erased.
            return change | {"to_state": row.state}
        made = verdict.Verdict(
            finding,
            size,
            row.verdict,
            uninvited(row.parties_digest, (other.parties_digest for other in one.others)),
            work.group.time_ms,
        )
        try:
            signed, at = self._sign(work, made)
        except Malformed as error:
            work.refuse(error.reason)
            return change
        work.insert(
            schema.verdicts, entry=at, party_set=row.party_set, digest=signed, state=finding.state
        )
        for device in sorted({d for devices in finding.parties.values() for d in devices}):
            work.insert(schema.verdict_parties, device=device, entry=at)
        return change | {"to_finding": digest, "to_verdict": signed, "to_entry": at}

    def _sign(self, work: Work, made: verdict.Verdict) -> tuple[bytes, int]:
        keys = self._log.keys
        data = made.sign(keys.signer, keys.name, made.subject())
        sign1 = cose.parse(data, STATEMENT_BYTES_MAX)
        return sign1.digest(), work.group.add_statement(VERDICT, sign1)

    def _wait_for(self, work: Work, row: Found, finding: Finding) -> None:
        """Who is unheard may turn out to be silent, when its log arrives past the deadline."""
        if row.deadline_ms is None:
            return
        due_ms = row.first_ms + row.deadline_ms
        for device in sorted({gone[1] for gone in finding.missing if gone[3] == "unheard"}):
            table = schema.unheard
            # A set that is closed only now cannot wait already.
            if row.closing is not None:
                known = work.connection.execute(
                    sa.select(table.c.device).where(
                        table.c.device == device,
                        table.c.due_ms == due_ms,
                        table.c.party_set == row.party_set,
                    )
                )
                if known.first() is not None:
                    continue
            work.insert(table, device=device, due_ms=due_ms, party_set=row.party_set)
            work.heard.add(device)

    @staticmethod
    def _write(work: Work, changes: list[dict[str, Any]]) -> None:
        table = schema.party_sets
        work.connection.execute(
            sa.update(table)
            .where(table.c.party_set == sa.bindparam("number"))
            .values(
                state=sa.bindparam("to_state"),
                closing=sa.bindparam("to_closing"),
                due_ms=sa.bindparam("to_due"),
                finding=sa.bindparam("to_finding"),
                verdict=sa.bindparam("to_verdict"),
                verdict_entry=sa.bindparam("to_entry"),
                dirty=False,
            ),
            changes,
        )

    # --- claims ----------------------------------------------------------------------------

    def _known(self, work: Work, row: Found) -> KnownClaim:
        known = self._ingest.identities.get(work, row.device)
        status, custody = setreads.standing(work, known, row.checkpoint)
        return KnownClaim(
            row.claim,
            row.device,
            row.epoch,
            row.at,
            row.leaf,
            claim.parse(row.record) if row.record else None,  # erased: known by its leaf
            status,
            custody,
        )

    def _unread(self, work: Work, row: Found) -> KnownClaim:
        known = self._ingest.identities.get(work, row.device)
        status, custody = setreads.standing(work, known, row.checkpoint)
        return KnownClaim(row.claim, row.device, row.epoch, row.at, row.leaf, None, status, custody)

    def _others(
        self, work: Work, claims: Sequence[Found], siblings: Sequence[Found]
    ) -> list[KnownClaim]:
        """Claims of the same devices in other sets of the interaction."""
        if not siblings:
            return []
        numbers = [row.party_set for row in siblings]
        devices = sorted({row.device for row in claims})
        found = setreads.claims_of(work.connection, numbers, devices)
        flat = [row for number in sorted(found) for row in found[number]]
        return [self._known(work, row) for row in flat[:OTHERS_PER_SET_MAX]]

    def _neighbours(self, work: Work, row: Found, known: Sequence[KnownClaim]) -> list[KnownClaim]:
        """Claims of other interactions that a check may read."""
        return self._nearby.others(
            work, row.interaction, known, lambda found: self._known(work, found)
        )


class Concluded:
    """What a set came to, before anything is signed."""

    def __init__(
        self, row: Found, finding: Finding | None, closing: int | None, others: list[Found]
    ) -> None:
        self.row = row
        self.finding = finding
        self.closing = closing
        self.others = others
        # Bodies of its claims were erased: the last verdict read them, and no later one can.
        self.erased = False


def _mark(work: Work, numbers: set[int]) -> None:
    table = schema.party_sets
    waiting = sorted(numbers)
    for at in range(0, len(waiting), CHUNK):
        work.connection.execute(
            sa.update(table)
            .where(table.c.party_set.in_(waiting[at : at + CHUNK]))
            .values(dirty=True)
        )
    work.dirty -= numbers
