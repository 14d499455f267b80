"""Who is enrolled: credentials verified against the accepted fleet roots, and logged."""

from collections.abc import Sequence

import sqlalchemy as sa
import structlog

from tallystick.evidence import cose, credential, enrolment, keycustody
from tallystick.evidence.credential import Credential, Identity, KeyPeriod
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.kinds import ENROLMENT, KEY_CHANGE
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.validator import bodiless, nearby, schema
from tallystick.validator.limits import IDENTITIES_CACHED_MAX
from tallystick.validator.portable import BIG
from tallystick.validator.rows import Prepared
from tallystick.validator.settled import reason_left
from tallystick.validator.work import Recent, Work

_log = structlog.get_logger("tallystick.validator.identities")
COUNTED = ("decisions", "claims", "events", "halves")
_TABLE = schema.identities
_COUNT = Prepared(
    sa.update(_TABLE)
    .where(_TABLE.c.id == sa.bindparam("id_"))
    .values(
        {
            "heard_ms": sa.func.coalesce(sa.bindparam("heard_ms", type_=BIG), _TABLE.c.heard_ms),
            **{name: _TABLE.c[name] + sa.bindparam(name) for name in (*COUNTED, "refused")},
        }
    )
)


class Known:
    """A verified identity and what is counted of it."""

    def __init__(self, identity: Identity, suspect: str | None) -> None:
        self.identity = identity
        self.suspect = suspect
        self.counted = dict.fromkeys((*COUNTED, "refused"), 0)
        self.heard_ms: int | None = None
        self.changed = False

    @property
    def doubted(self) -> bool:
        """Whether another branch of its logs may be known: one forked, or a key of its ended."""
        return self.suspect is not None or any(period.ended for period in self.identity.keys)

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter; it is stored with the transaction."""
        self.counted[name] += number

    def make_suspect(self, work: Work, reason: str) -> None:
        """It contradicted itself; every finding that uses a claim of it is made again."""
        if self.suspect is not None:
            return
        self.suspect = reason
        self.changed = True
        touch(work, self.identity.id)

    def settle(self, work: Work) -> None:
        """After key changes: a key that is compromised makes no other key suspect."""
        identity = self.identity
        if self.suspect is None or identity.subject != enrolment.SUBJECT_DEVICE:
            return
        if not any(period.reason == "compromised" for period in identity.keys):
            return
        reason = reason_left(work, identity)
        self.changed = self.changed or reason != self.suspect
        self.suspect = reason

    def save(self, work: Work) -> None:
        """Write what changed."""
        table = schema.identities
        if self.heard_ms is not None or any(self.counted.values()):
            work.update(_COUNT, id_=self.identity.id, heard_ms=self.heard_ms, **self.counted)
        if self.changed:
            work.connection.execute(
                sa.update(table).where(table.c.id == self.identity.id).values(suspect=self.suspect)
            )
        self.counted = dict.fromkeys(self.counted, 0)
        self.heard_ms = None
        self.changed = False


def touch(work: Work, device: bytes) -> None:
    """Findings that use a claim of this device are due again."""
    sets = sa.select(schema.claims.c.party_set).where(schema.claims.c.device == device)
    work.connection.execute(
        sa.update(schema.party_sets)
        .where(schema.party_sets.c.party_set.in_(sets))
        .values(dirty=True)
    )
    ours = {row["party_set"] for row in work.waiting(schema.claims) if row["device"] == device}
    for row in work.waiting(schema.party_sets):
        if row["party_set"] in ours:
            row["dirty"] = True
    bodiless.touch(work, device)
    nearby.touch(work, device)


class Identities:
    """The known ones, by id."""

    def __init__(self, roots: dict[str, PublicKey]) -> None:
        self.roots = roots
        self._recent: Recent[bytes, Known] = Recent(IDENTITIES_CACHED_MAX)

    def forget(self) -> None:
        """After a rollback."""
        self._recent.clear()

    def get(self, work: Work, id_: bytes) -> Known | None:
        """A known identity; its counters are stored with this transaction."""
        known = work.known.get(id_)
        if known is None:
            known = self._recent.get(id_) or self._load(work, id_)
            if known is None:
                return None
            self._recent.put(id_, known)
            work.known[id_] = known
        return known

    def require(self, work: Work, id_: bytes, subject: int, at_s: int) -> Known:
        """The identity, enrolled as `subject` and valid now."""
        known = self.get(work, id_)
        if known is None:
            raise Unverified("unknown-device", "no enrolment is known for this id")
        if known.identity.subject != subject:
            raise Unverified(
                "not-enrolled", f"the id is enrolled, and not as {enrolment.SUBJECTS[subject]}"
            )
        known.identity.enrolment.check_time(at_s)
        return known

    def by_kid(self, work: Work, kid: bytes, subject: int) -> list[Known]:
        """Those that may have signed with this hint."""
        ids = work.connection.execute(
            sa.select(schema.keys.c.id).where(schema.keys.c.kid == kid)
        ).scalars()
        found = [self.get(work, id_) for id_ in ids]
        return [known for known in found if known and known.identity.subject == subject]

    def _load(self, work: Work, id_: bytes) -> Known | None:
        row = work.connection.execute(
            sa.select(schema.identities.c.credential, schema.identities.c.suspect).where(
                schema.identities.c.id == id_
            )
        ).one_or_none()
        if row is None:
            return None
        parsed = credential.parse(row.credential)
        try:
            identity = credential.verify_credential(parsed, self.roots, None)
        except Unverified:
            # Its root is not accepted any more: it is as unknown as on the first day.
            return None
        return Known(identity, row.suspect)

    def learn(self, work: Work, statements: Sequence[bytes]) -> Known:
        """Verify a credential, log its statements, keep the longer one of two that agree."""
        received = Credential(list(statements))
        id_ = enrolment.parse(received.statements[0]).device
        known = self.get(work, id_)
        if known is not None and known.identity.digest == credential.digests_of(received)[-1]:
            return known
        identity = credential.verify_credential(received, self.roots, None)
        if known is None:
            return self._first(work, identity, received)
        ours = known.identity.digests
        theirs = identity.digests
        if ours[: len(theirs)] == theirs:
            return known
        if theirs[: len(ours)] != ours:
            raise Unverified("already-enrolled", "this id is enrolled otherwise")
        self._check_keys(work, identity)
        self._log(work, received, identity, len(ours))
        work.connection.execute(
            sa.update(schema.identities)
            .where(schema.identities.c.id == identity.id)
            .values(credential=received.encode())
        )
        # Rotations and revocations bear on claims that are logged already.
        touch(work, identity.id)
        known.identity = identity
        known.settle(work)
        return known

    def _first(self, work: Work, identity: Identity, received: Credential) -> Known:
        if self._is_stored(work, identity.id):
            # What is logged of it was judged under that root: it is not taken over in silence.
            raise Unverified(
                "already-enrolled",
                "this id is enrolled by a root that is not accepted any more; "
                "accept that root again, or enrol a new key",
            )
        self._check_keys(work, identity)
        self._log(work, received, identity, 0)
        work.connection.execute(
            sa.insert(schema.identities),
            {
                "id": identity.id,
                "subject": identity.subject,
                "iss": identity.iss,
                "credential": received.encode(),
                "suspect": None,
                "since_ms": work.group.time_ms,
                "heard_ms": None,
            }
            | dict.fromkeys((*COUNTED, "refused"), 0),
        )
        known = Known(identity, None)
        self._recent.put(identity.id, known)
        work.known[identity.id] = known
        return known

    @staticmethod
    def _is_stored(work: Work, id_: bytes) -> bool:
        query = sa.select(_TABLE.c.id).where(_TABLE.c.id == id_)
        return work.connection.execute(query).first() is not None

    def _check_keys(self, work: Work, identity: Identity) -> None:
        for period in identity.keys:
            owner = work.connection.execute(
                sa.select(schema.keys.c.id).where(schema.keys.c.key == period.key.thumbprint())
            ).scalar_one_or_none()
            if owner not in {None, identity.id}:
                raise Unverified("already-enrolled", "the key is enrolled for another id")
            # On arrival: findings need what counts of its custody, and find it worked out.
            keycustody.of_period(identity, period)

    def _log(self, work: Work, received: Credential, identity: Identity, known: int) -> None:
        for at in range(known, len(received.statements)):
            kind = ENROLMENT if at == 0 else KEY_CHANGE
            sign1 = cose.parse(received.statements[at], STATEMENT_BYTES_MAX)
            work.statement(kind, sign1, identity.digests[at])
        have = set(
            work.connection.execute(
                sa.select(schema.keys.c.key).where(schema.keys.c.id == identity.id)
            ).scalars()
        )
        for period in identity.keys:
            key = period.key.thumbprint()
            if key not in have:
                work.connection.execute(
                    sa.insert(schema.keys), {"key": key, "kid": period.key.kid(), "id": identity.id}
                )
                self._count_custody(work, identity, period)

    @staticmethod
    def _count_custody(work: Work, identity: Identity, period: KeyPeriod) -> None:
        """Evidence that does not check refuses no credential: it is counted, and said once."""
        for kind, why in keycustody.of_period(identity, period).not_checked:
            work.refuse("bad-custody")
            _log.warning(
                "custody-not-counted",
                id=device_text(identity.id),
                key=device_text(period.key.thumbprint()),
                type=kind,
                why=why,
            )

    def learn_all(self, work: Work, credentials: Sequence[Sequence[bytes]]) -> None:
        """Learn what can be learnt; a bad one is counted and affects no other."""
        for statements in credentials:
            try:
                self.learn(work, statements)
            except (Malformed, Unverified) as error:
                work.refuse(error.reason)
