"""A batch in, an answer out: verified again from the ground, logged, receipted. Idempotent.

Three transactions at most: entries and state; the checkpoint over them, with the answer; both
durable before a receipt leaves. A batch that is sent again gives the stored answer.
"""

from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import batch
from tallystick.evidence.batch import Batch, VerifiedBatch
from tallystick.evidence.batchanswer import BatchAnswer
from tallystick.evidence.credential import Credential, digests_of
from tallystick.evidence.errors import TallyError
from tallystick.validator import publication, schema, steps
from tallystick.validator.answers import Published
from tallystick.validator.charging import Charging, Count
from tallystick.validator.checkpoints import Checkpoints
from tallystick.validator.custody import Custody
from tallystick.validator.devicelog import DeviceLogs
from tallystick.validator.gateways import GatewayFork, Gateways
from tallystick.validator.identities import Identities, Known
from tallystick.validator.limits import ANSWERS_KEPT_PER_GATEWAY_MAX, RECEIPTS_PER_ANSWER_MAX
from tallystick.validator.log import Log
from tallystick.validator.partysets import PartySets
from tallystick.validator.problem import Problem
from tallystick.validator.quotaconfig import parse_quotas
from tallystick.validator.quotas import Quotas
from tallystick.validator.records import Records
from tallystick.validator.refusals import Refusals
from tallystick.validator.rows import Among, Prepared, insert_rows
from tallystick.validator.segments import Segments
from tallystick.validator.store import Store
from tallystick.validator.work import Work


class Ingest:
    """What the sequencer does with batches."""

    def __init__(
        self,
        store: Store,
        log: Log,
        identities: Identities,
        sets: PartySets,
        refusals: Refusals,
        quotas: Quotas | None = None,
    ) -> None:
        self._store = store
        self._log = log
        self.identities = identities
        self.logs = DeviceLogs()
        self.custody = Custody(identities)
        self.sets = sets
        self._refusals = refusals
        self._gateways = Gateways(identities)
        self._charging = Charging(quotas or Quotas(parse_quotas({})), log.keys, identities)
        checkpoints = Checkpoints(self.custody)
        self._records = Records(identities, self.logs, checkpoints, sets)
        self._segments = Segments(identities, self.logs, checkpoints, self._records)
        # Devices whose logs came to name a custody receipt: time evidence for closed sets.
        self.heard: set[bytes] = set()

    def forget(self) -> None:
        """After a rollback: memory is made again from the store."""
        self.identities.forget()
        self.logs.forget()
        self.custody.forget()
        self._records.forget()
        self.sets.forget()

    def transaction(self, do: Callable[[Work], None]) -> Work:
        """Run `do` in one durable transaction that may add to the log; all of it or nothing."""
        try:
            with self._store.write() as connection:
                work = Work(connection, self._log.group(connection))
                do(work)
                work.flush()
        except BaseException:
            self.forget()
            self._log.reload()
            raise
        self._log.integrated(work.group)
        self._refusals.stored(work.refused)
        self.heard |= work.heard
        return work

    def defect(self) -> None:
        """Count a failure of ours that was no answer to anybody."""
        self._refusals.count("internal-error")

    def learn(self, credentials: Iterable[Iterable[bytes]]) -> None:
        """Log credentials that the operator configured; a bad one is an error at once."""

        def do(work: Work) -> None:
            for statements in credentials:
                self.identities.learn(work, list(statements))

        self.transaction(do)
        self._log.publish()

    def publish(self, received: list[Credential]) -> Published:
        """Learn credentials that somebody handed in; published before the answer is given."""
        found = Published([])

        def do(work: Work) -> None:
            nonlocal found
            found = publication.learn(work, self.identities, received)

        self.transaction(do)
        self._log.publish()
        return found

    def batch(self, data: bytes) -> bytes:
        """The encoded answer; TallyError when the batch is refused as a whole."""
        received = batch.parse(data)
        taking = _Taking(received)
        try:
            self.transaction(lambda work: self._take(work, taking))
        except GatewayFork as error:
            found = error
            self.transaction(lambda work: self._gateways.keep_fork(work, found))
            raise Problem("gateway-fork", str(found), size=found.size) from None
        if taking.stored is not None:
            return taking.stored
        return self._answer(taking)

    def _take(self, work: Work, taking: "_Taking") -> None:
        received = taking.received
        known = self._gateways.sender(work, received)
        verified, size = self._gateways.check(work, received, known)
        taking.gateway = known
        taking.digest = verified.digest
        taking.stored = stored_answer(work.connection, verified.digest)
        if taking.stored is not None:
            return
        self._charging.check(work, verified, known)
        count = self._charging.begin(work, known)
        self.identities.learn_all(work, received.credentials)
        self.custody.offer(work, received.receipts)
        self._take_segments(work, taking, verified, count)
        self.custody.late(work)
        taking.size = self._gateways.accept(work, verified, known, size)
        count.end(len(received.encode()), extends=taking.size > size)
        for statements in received.credentials:
            taking.wanted.extend(_digests(statements))
        taking.wanted.extend(work.custody)

    def _take_segments(
        self, work: Work, taking: "_Taking", verified: VerifiedBatch, count: Count
    ) -> None:
        for (index, data), parsed in zip(verified.segments, verified.parsed, strict=True):
            count.before(data)
            try:
                digest = self._segments.take(work, data, parsed)
            except TallyError as error:
                taking.refused.append((index, error.reason))
                work.refuse(error.reason)
            else:
                taking.wanted.append(digest)
                count.took(data, digest)

    def _answer(self, taking: "_Taking") -> bytes:
        answer = b""

        def do(connection: Connection) -> None:
            nonlocal answer
            entries = _entries_of(connection, taking.wanted[:RECEIPTS_PER_ANSWER_MAX])
            made = self._log.receipts(connection, entries.values())
            receipts = [(digest, made[entry]) for digest, entry in entries.items()]
            answer = BatchAnswer(taking.size, receipts, taking.refused).encode()
            self._store_answer(connection, taking, answer)

        self._log.publish(do)
        steps.passed(steps.ANSWERED)
        return answer

    @staticmethod
    def _store_answer(connection: Connection, taking: "_Taking", answer: bytes) -> None:
        if taking.gateway is None:
            return
        table = schema.answers
        gateway = taking.gateway.identity.id
        ((newest,),) = _NEWEST.rows(connection, gateway=gateway)
        number = (newest or 0) + 1
        row = {"batch": taking.digest, "gateway": gateway, "number": number, "answer": answer}
        insert_rows(connection, table, [row])
        oldest = number - ANSWERS_KEPT_PER_GATEWAY_MAX
        _FORGET.run_all(connection, [{"of": gateway, "oldest": oldest}])


_ANSWERS = schema.answers
_STORED = Prepared(sa.select(_ANSWERS.c.answer).where(_ANSWERS.c.batch == sa.bindparam("batch")))
_NEWEST = Prepared(
    sa.select(sa.func.max(_ANSWERS.c.number)).where(_ANSWERS.c.gateway == sa.bindparam("gateway"))
)
_FORGET = Prepared(
    sa.delete(_ANSWERS).where(
        _ANSWERS.c.gateway == sa.bindparam("of"), _ANSWERS.c.number <= sa.bindparam("oldest")
    )
)
_ENTRIES = Among(
    schema.entries.c.digest.type,
    lambda wanted: sa.select(schema.entries.c.digest, schema.entries.c.entry).where(
        schema.entries.c.digest.in_(wanted)
    ),
)


class _Taking:
    """A batch on its way."""

    def __init__(self, received: Batch) -> None:
        self.received = received
        self.gateway: Known | None = None
        self.digest = b""
        self.size = 0
        self.stored: bytes | None = None
        self.wanted: list[bytes] = []
        self.refused: list[tuple[int, str]] = []


def stored_answer(connection: Connection, digest: bytes) -> bytes | None:
    """The answer that a batch got before."""
    for (answer,) in _STORED.rows(connection, batch=digest):
        return bytes(answer)
    return None


def _digests(statements: list[bytes]) -> list[bytes]:
    try:
        return digests_of(Credential(statements))
    except TallyError:
        return []


def _entries_of(connection: Connection, digests: list[bytes]) -> dict[bytes, int]:
    """Where statements are logged, in the order that was asked for."""
    found: dict[bytes, int] = {}
    wanted = list(dict.fromkeys(digests))
    found.update({row.digest: row.entry for row in _ENTRIES.found(connection, wanted)})
    return {digest: found[digest] for digest in wanted if digest in found}
