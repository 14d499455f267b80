"""Party sets in the store: which set a claim belongs to, and which findings it makes due."""

import sqlalchemy as sa

from tallystick.evidence import cbor
from tallystick.evidence.claim import Claim
from tallystick.evidence.errors import Unverified
from tallystick.evidence.profile import Profile
from tallystick.validator import schema
from tallystick.validator.limits import (
    CLAIMS_PER_SET_AND_DEVICE_MAX,
    INTERACTIONS_CACHED_MAX,
    SETS_PER_DEVICE_MAX,
    SETS_PER_FLEET_MAX,
)
from tallystick.validator.nearby import Nearby
from tallystick.validator.rows import Prepared
from tallystick.validator.work import Recent, Work
from tallystick.verify.inputs import SetKey

_OF_INTERACTION = Prepared(
    sa.select(
        schema.party_sets.c.profile,
        schema.party_sets.c.parties_digest,
        schema.party_sets.c.party_set,
    ).where(
        schema.party_sets.c.namespace == sa.bindparam("namespace"),
        schema.party_sets.c.interaction == sa.bindparam("interaction"),
    )
)


def _check_made(work: Work, key: SetKey, device: bytes) -> None:
    """That neither the device nor its fleet made too many sets of an interaction."""
    claims, sets, who = schema.claims, schema.party_sets, schema.identities
    work.written(sets)
    connection = work.written(claims)
    fleet = sa.select(who.c.iss).where(who.c.id == device).scalar_subquery()
    # Who made the first claim of a set made the set.
    made = (
        sa.select(sa.func.count())
        .select_from(sets)
        .join(claims, (claims.c.party_set == sets.c.party_set) & (claims.c.entry == sets.c.first))
        .join(who, who.c.id == claims.c.device)
        .where(sets.c.namespace == key.namespace, sets.c.interaction == key.interaction)
    )
    for whose, most, condition in (
        ("a device", SETS_PER_DEVICE_MAX, claims.c.device == device),
        ("a fleet", SETS_PER_FLEET_MAX, who.c.iss == fleet),
    ):
        if connection.execute(made.where(condition)).scalar_one() >= most:
            raise Unverified(
                "over-quota", f"more than {most} party maps of {whose} in an interaction"
            )


_COUNTED = Prepared(
    sa.select(schema.claims.c.device, sa.func.count())
    .where(schema.claims.c.party_set == sa.bindparam("party_set"))
    .group_by(schema.claims.c.device)
)


class KnownSet:
    """A party set, and how many claims each device has in it; None: not counted yet."""

    def __init__(self, number: int, counts: dict[bytes, int] | None) -> None:
        self.number = number
        self._counts = counts

    def claims_of(self, work: Work, device: bytes) -> int:
        """How many this device made."""
        if self._counts is None:
            # Nothing of it waits to be written: each claim is counted here before it is placed.
            rows = _COUNTED.rows(work.connection, party_set=self.number)
            self._counts = {row[0]: row[1] for row in rows}
        return self._counts.get(device, 0)

    def count(self, work: Work, device: bytes) -> None:
        """One claim more."""
        known = self.claims_of(work, device)
        if self._counts is not None:
            self._counts[device] = known + 1


# By profile and parties.
_Sets = dict[tuple[bytes, bytes], KnownSet]


class PartySets:
    """Finds or makes the party set of a claim; a fixed number of look-ups whatever is open."""

    def __init__(self, profiles: dict[bytes, Profile]) -> None:
        self._profiles = profiles
        self.nearby = Nearby(profiles)
        # By namespace and interaction.
        self._recent: Recent[tuple[str, bytes], _Sets] = Recent(INTERACTIONS_CACHED_MAX)
        self._next: int | None = None

    def forget(self) -> None:
        """After a rollback."""
        self._recent.clear()
        self.nearby.forget()
        self._next = None

    def check(self, work: Work, key: SetKey, device: bytes) -> None:
        """Unverified("over-quota") where the interaction or the set takes no more of a device."""
        sets = self._sets(work, key.namespace, key.interaction)
        found = sets.get((key.profile, key.parties))
        if found is None:
            if len(sets) >= SETS_PER_DEVICE_MAX:
                _check_made(work, key, device)
        elif found.claims_of(work, device) >= CLAIMS_PER_SET_AND_DEVICE_MAX:
            raise Unverified(
                "over-quota",
                f"more than {CLAIMS_PER_SET_AND_DEVICE_MAX} claims of a device in a party set",
            )

    def place(self, work: Work, claim: Claim, key: SetKey, device: bytes, entry: int) -> int:
        """The set of a claim that was logged at `entry`; its finding is due."""
        sets = self._sets(work, key.namespace, key.interaction)
        found = sets.get((key.profile, key.parties))
        if len(sets) > (found is not None):
            # One device, two sets of one interaction: its two claims may contradict each other.
            self._touch_others(work, sets, device)
        if found is not None:
            work.dirty.add(found.number)
            found.count(work, device)
            return found.number
        return self._make(work, claim, key, sets, entry, device)

    def _make(
        self,
        work: Work,
        claim: Claim,
        key: SetKey,
        sets: _Sets,
        entry: int,
        device: bytes,
    ) -> int:
        if self._next is None:
            newest = work.written(schema.party_sets).execute(
                sa.select(sa.func.max(schema.party_sets.c.party_set))
            )
            self._next = (newest.scalar_one() or 0) + 1
        number = self._next
        self._next += 1
        sets[key.profile, key.parties] = KnownSet(number, {device: 1})
        profile = self._profiles.get(claim.profile)
        deadline_ms = None if profile is None else profile.deadline_ms
        work.insert(
            schema.party_sets,
            party_set=number,
            namespace=claim.namespace,
            interaction=key.interaction,
            parties_digest=key.parties,
            parties=cbor.encode(claim.parties),
            profile=claim.profile,
            first=entry,
            first_ms=work.group.time_ms,
            due_ms=None if deadline_ms is None else work.group.time_ms + deadline_ms,
            deadline_ms=deadline_ms,
            closing=None,
            dirty=True,
            state="pending",
            finding=None,
            verdict=None,
            verdict_entry=None,
        )
        return number

    def _sets(self, work: Work, namespace: str, interaction: bytes) -> _Sets:
        key = (namespace, interaction)
        known = work.interactions.get(key)
        if known is None:
            known = self._recent.get(key)
            if known is None:
                # Sets that this transaction makes are in `work` and need not be written for it.
                rows = _OF_INTERACTION.rows(
                    work.connection, namespace=namespace, interaction=interaction
                )
                known = {(row[0], row[1]): KnownSet(row[2], None) for row in rows}
                self._recent.put(key, known)
            work.interactions[key] = known
        return known

    @staticmethod
    def _touch_others(work: Work, sets: _Sets, device: bytes) -> None:
        table = schema.claims
        numbers = [found.number for found in sets.values()]
        work.dirty.update(
            work.written(table)
            .execute(
                sa.select(table.c.party_set)
                .where(table.c.device == device, table.c.party_set.in_(numbers))
                .distinct()
            )
            .scalars()
        )
