"""What party sets come to, by what the store holds: the same for the sequencer and for workers.

Nothing is written here and nothing is signed. A worker's snapshot may be older than the
sequencer's turn, so everything that changes what is read here makes the set due again, in the
transaction that changes it, and what was found before is thrown away then (docs/adr/0015):

- claims of the set: PartySets.place;
- claims of its devices in other sets of the interaction: PartySets.place (_touch_others);
- leaves without a body that it relied on: bodiless.note, and bodiless.read_now for the body;
- claims of other interactions that a check reads: Nearby.link; without their bodies: Work.recall;
- key changes, suspicion, what a revocation settles: identities.touch, and nearby.touch for those
  that read the device's claims as neighbours;
- contradictions, and stretches, that place a compromised key's heads: keystatus.touch_placed;
- a log that is cut back to where its key ended: cutting.cut_back;
- an epoch's first record, which names the one before: Segments._opened; erased: Work.recall;
- silence: the sequencer's own tick, which keeps the evidence (setreads.keep_evidence);
- its closing: the sequencer's own tick;
- roots and profiles: the basis that a portion names (basis.py), and Reconciler.start.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tallystick.evidence import cbor, claim
from tallystick.evidence.claim import Claim
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import TallyError
from tallystick.evidence.finding import Finding
from tallystick.evidence.profile import Profile
from tallystick.validator import bodiless, setreads
from tallystick.validator.identities import Known
from tallystick.validator.limits import OTHERS_PER_SET_MAX
from tallystick.validator.nearby import Nearby
from tallystick.validator.reads import Reads
from tallystick.verify.inputs import KnownClaim, PartySetInputs
from tallystick.verify.reconcile import find

PENDING = "pending"
Row = Any  # a row of a query
Who = Callable[[bytes], Known | None]


class Conclusion:
    """One finding: its state, its bytes unless it is pending, and whose logs it waits for."""

    def __init__(self, state: str, data: bytes | None, unheard: list[bytes]) -> None:
        self.state = state
        self.data = data
        self.unheard = unheard

    @classmethod
    def of(cls, made: Finding) -> "Conclusion":
        """A finding that was made here."""
        data = None if made.state == PENDING else made.encode()
        unheard = {gone.device for gone in made.missing if gone.absence == "unheard"}
        return cls(made.state, data, sorted(unheard))

    def digest(self) -> bytes:
        """What a set remembers of what was signed last."""
        return sha256(self.data or b"")


class Computed:
    """What a set came to: now, and `closed` if its closing were logged, where that falls due."""

    def __init__(
        self,
        found: Conclusion | None,
        closed: Conclusion | None = None,
        *,
        refused: str | None = None,
        erased: bool = False,
    ) -> None:
        self.found = found
        self.closed = closed
        # Why the engine refused it; then nothing was found.
        self.refused = refused
        # Bodies of its claims were erased: the last verdict read them, and no later one can.
        self.erased = erased
        # Maps of other sets of the interaction, for the verdict; a worker's are read again.
        self.siblings: list[bytes] = []


def due_ms(row: Row) -> int | None:
    """When a set without its closing falls due; None: no profile says."""
    if row.closing is not None or row.deadline_ms is None:
        return None
    when: int = row.first_ms + row.deadline_ms
    return when


class Findings:
    """Computes findings under these profiles."""

    def __init__(self, profiles: dict[bytes, Profile]) -> None:
        self.profiles = profiles
        self.nearby = Nearby(profiles)

    def compute(
        self, reads: Reads, who: Who, rows: Sequence[Row], now_ms: int
    ) -> dict[int, Computed]:
        """What these party sets come to, by number; `who` knows a device.

        now_ms: the log's time; a set that is past its deadline then is computed as closed as well.
        """
        numbers = [row.party_set for row in rows]
        connection = reads.connection
        claims = setreads.claims_of(connection, numbers)
        silences = setreads.silences_of(connection, numbers)
        siblings = setreads.siblings_of(connection, numbers)
        unread = bodiless.relied_on(connection, numbers)
        known = _Knowing(reads, who)
        computed = {}
        for row in rows:
            others = siblings.get(row.party_set, [])
            ours = claims.get(row.party_set, [])
            parties = cbor.decode(row.parties)
            made = [known.claim(found) for found in ours]
            made += [
                known.leaf(found)
                for found in unread.get(row.party_set, [])
                if any(found.device in devices for devices in parties.values())
            ]
            inputs = PartySetInputs(
                self.profiles.get(row.profile),
                row.namespace,
                row.interaction,
                parties,
                made,
                [*known.others(ours, others), *self._neighbours(reads, known, row, made)],
                row.closing is not None,
                silences.get(row.party_set, []),
            )
            one = _concluded(inputs, row, now_ms)
            one.erased = not all(found.record for found in ours)
            one.siblings = [other.parties_digest for other in others]
            computed[row.party_set] = one
        return computed

    def _neighbours(
        self, reads: Reads, known: "_Knowing", row: Row, made: Iterable[KnownClaim]
    ) -> list[KnownClaim]:
        """Claims of other interactions that a check may read."""
        return self.nearby.others(reads, row.interaction, made, known.claim)


def _concluded(inputs: PartySetInputs, row: Row, now_ms: int) -> Computed:
    try:
        made = find(inputs)
        closed = None
        due = due_ms(row)
        if made.state == PENDING and due is not None and due <= now_ms:
            closed = Conclusion.of(find(inputs._replace(closed=True)))
        return Computed(Conclusion.of(made), closed)
    except TallyError as error:
        # A set that the engine refuses must not stop the others; it is counted and shown.
        return Computed(None, refused=error.reason)


class _Knowing:
    # Rows of claims, with how their devices stand.

    def __init__(self, reads: Reads, who: Who) -> None:
        self._reads = reads
        self._who = who

    def claim(self, row: Row) -> KnownClaim:
        # An erased one is known by its leaf.
        return self._make(row, claim.parse(row.record) if row.record else None)

    def leaf(self, row: Row) -> KnownClaim:
        return self._make(row, None)

    def _make(self, row: Row, made: Claim | None) -> KnownClaim:
        status, custody = setreads.standing(self._reads, self._who(row.device), row.checkpoint)
        return KnownClaim(row.claim, row.device, row.epoch, row.at, row.leaf, made, status, custody)

    def others(self, claims: Sequence[Row], siblings: Sequence[Row]) -> list[KnownClaim]:
        """Claims of the same devices in other sets of the interaction."""
        if not siblings:
            return []
        numbers = [row.party_set for row in siblings]
        devices = sorted({row.device for row in claims})
        found = setreads.claims_of(self._reads.connection, numbers, devices)
        flat = [row for number in sorted(found) for row in found[number]]
        return [self.claim(row) for row in flat[:OTHERS_PER_SET_MAX]]
