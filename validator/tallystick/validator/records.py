"""Bodies: claims and events are decoded strictly on arrival, decisions stay opaque.

An accepted half brings the claim of another device: it is logged under its maker's (device, epoch,
index), once, whichever way it comes first. A record that is refused is counted and kept by its
place; the log that holds it is signed and goes on.
"""

import sqlalchemy as sa

from tallystick.evidence import accepted, checkpoint, claim, entry, event, half, ids
from tallystick.evidence.cbor import encode
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.claim import Claim
from tallystick.evidence.credential import Credential, Keyring, digests_of
from tallystick.evidence.errors import TallyError, Unverified
from tallystick.evidence.half import Half, VerifiedHalf, verify_half
from tallystick.evidence.kinds import ACCEPTED_HALF, CHECKPOINT, CLAIM, EVENT
from tallystick.evidence.record import kind_of
from tallystick.validator import bodiless, erased, forks, keystatus, schema
from tallystick.validator.checkpoints import Checkpoints
from tallystick.validator.devicelog import DeviceLog, DeviceLogs
from tallystick.validator.identities import Identities, Known
from tallystick.validator.limits import CLAIMS_CACHED_MAX, REFUSED_RECORDS_KEPT_PER_BATCH_MAX
from tallystick.validator.partysets import PartySets
from tallystick.validator.work import Recent, Work
from tallystick.verify.partysets import set_key

COUNTER = {CLAIM: "claims", EVENT: "events", ACCEPTED_HALF: "halves"}


class Placed:
    """A record in its log, with what proves it: salt, and path to a logged checkpoint."""

    def __init__(
        self,
        log: DeviceLog,
        index: int,
        leaf: bytes,
        record: bytes,
        salt: bytes,
        path: list[bytes],
        head: Checkpoint,
        head_entry: int,
        *,
        unseen: bool = False,
    ) -> None:
        self.log = log
        self.index = index
        self.leaf = leaf
        self.record = record
        self.salt = salt
        self.path = path
        self.head = head
        self.head_entry = head_entry
        # A growing log, and no counterpart has brought a claim beyond its end: nothing to look up.
        self.unseen = unseen


class Records:
    """What is done with each body."""

    def __init__(
        self,
        identities: Identities,
        logs: DeviceLogs,
        checkpoints: Checkpoints,
        sets: PartySets,
    ) -> None:
        self._identities = identities
        self._logs = logs
        self._checkpoints = checkpoints
        self._sets = sets
        # References logged lately: who relies on a claim mostly does so at once.
        self._lately: Recent[bytes, bool] = Recent(CLAIMS_CACHED_MAX)
        # (log, index, erasure's entry) of accepted halves whose claims were erased.
        self._unwanted: list[tuple[int, int, int]] = []

    def forget(self) -> None:
        """After a rollback."""
        self._lately.clear()
        self._unwanted.clear()

    def take(self, work: Work, known: Known, placed: Placed, *, branch: bool) -> None:
        """One record; `branch`: of a fork's second branch, which counts for nothing but claims."""
        try:
            kind = kind_of(placed.record)
            if kind == CLAIM:
                self.claim(work, placed, claim.parse(placed.record), branch=branch)
            elif kind == ACCEPTED_HALF:
                self._half(work, placed, accepted.parse(placed.record).half)
            elif kind == EVENT:
                found = event.parse(placed.record)
                if found.event == "boot" and not branch:
                    self._booted(work, placed, found.details.get("boot"))
        except TallyError as error:
            self._refused(work, known, placed, error.reason)
        else:
            if not branch:
                known.count(COUNTER[kind])

    def _refused(self, work: Work, known: Known, placed: Placed, reason: str) -> None:
        work.refuse(reason)
        known.count("refused")
        log = placed.log
        if placed.record[1:2] == b"\x01":
            # It counts as a claim in the device's checkpoints, readable or not.
            log.claims += 1
            log.changed = True
        key = (log.log, placed.index)
        if key in work.refused_at or len(work.refused_at) >= REFUSED_RECORDS_KEPT_PER_BATCH_MAX:
            return
        work.refused_at.add(key)
        table = schema.refused_records
        found = None
        if not placed.unseen:
            found = work.connection.execute(
                sa.select(table.c.at).where(table.c.log == log.log, table.c.at == placed.index)
            ).first()
        if found is None:
            work.insert(table, log=log.log, at=placed.index, reason=reason)

    @staticmethod
    def _booted(work: Work, placed: Placed, boot: object) -> None:
        if type(boot) is not int or not 0 <= boot < 1 << 63:
            return
        table = schema.boots
        row = {"log": placed.log.log, "boot": boot, "at": placed.index}
        if not placed.unseen:
            known = work.written(table).execute(sa.select(table.c.at).filter_by(**row))
            if known.first() is not None:
                return
        work.insert(table, **row)

    # --- claims ----------------------------------------------------------------------------

    def claim(self, work: Work, placed: Placed, made: Claim, *, branch: bool) -> None:
        """Log a claim once."""
        log = placed.log
        made.check_maker(log.device)
        reference = ids.claim_reference(log.device, log.epoch, placed.index, placed.leaf)
        if not placed.unseen and self._is_known(work, reference):
            return
        key = set_key(made)
        self._sets.check(work, key, log.device)
        self._sets.nearby.check(work, made, log.device)
        at = work.group.add(
            entry.LoggedClaim(
                log.device, log.epoch, placed.index, placed.leaf, placed.head_entry, placed.path
            )
        )
        number = self._sets.place(work, made, key, log.device, at)
        work.insert(
            schema.claims,
            claim=reference,
            log=log.log,
            at=placed.index,
            leaf=placed.leaf,
            device=log.device,
            entry=at,
            time_ms=work.group.time_ms,
            party_set=number,
            salt=placed.salt,
            record=placed.record,
            path=encode(list(placed.path)),
            checkpoint=placed.head.digest,
        )
        self._lately.put(reference, value=True)
        self._sets.nearby.link(work, made, reference, log.device, number)
        bodiless.relied(work, [r for r in made.relied if self._lately.get(r) is None], number)
        if not placed.unseen:
            bodiless.read_now(work, reference)
        if not branch:
            if placed.index < log.size:
                log.claims += 1
            else:
                log.ahead += 1
            log.changed = True

    @staticmethod
    def _is_known(work: Work, reference: bytes) -> bool:
        table = schema.claims
        found = work.written(table).execute(
            sa.select(table.c.claim).where(table.c.claim == reference)
        )
        return found.first() is not None

    # --- halves ----------------------------------------------------------------------------

    def _half(self, work: Work, carrier: Placed, data: bytes) -> None:
        received = half.parse(data)
        maker = checkpoint.parse(received.checkpoint).device
        if isinstance(received.credential, list):
            known = self._identities.learn(work, received.credential)
            # By its digest it is verified once, not with every half.
            digest = digests_of(Credential(received.credential))[-1]
            received = Half(
                received.record,
                received.salt,
                received.index,
                received.path,
                received.checkpoint,
                digest,
            )
        else:
            found = self._identities.get(work, maker)
            if found is None:
                raise Unverified("unknown-device", "a half of a device whose enrolment is unknown")
            known = found
        keyring = Keyring(self._identities.roots)
        keyring.add(known.identity)
        verified = verify_half(received, keyring, revoked_too=True)
        log = self._logs.open(work, verified.device, verified.epoch)
        at = verified.index
        ranges = erased.of_log(work, log, at, at + 1)
        gone = erased.by_erasure(ranges, at, CLAIM)
        if gone is not None:
            self._unwanted.append((carrier.log.log, carrier.index, gone.entry))
            return
        reference = ids.claim_reference(log.device, log.epoch, at, verified.leaf)
        erased.note_copy(work, reference, carrier.log.log, carrier.index, unseen=carrier.unseen)
        self._of_maker(work, known, log, verified)

    def drop_unwanted(self, work: Work) -> None:
        """Accepted halves that came just now, of claims that were erased: gone as those are."""
        while self._unwanted:
            erased.forget_copy(work, *self._unwanted.pop())

    def _of_maker(self, work: Work, known: Known, log: DeviceLog, verified: VerifiedHalf) -> None:
        head = verified.checkpoint
        branch = False
        head_entry = self._checkpoints.known(work, head.digest)
        if head_entry is None:
            try:
                # What an ended key wrote beyond its end proves nothing against another key.
                branch = keystatus.is_beyond(work, known.identity, head)
                inside = not branch and forks.compare(work, log, head)
            except forks.Contradiction as found:
                forks.record(work, known, log, found, "fork", b"")
                branch = True
                head_entry = work.statement(CHECKPOINT, head.received().sign1, head.digest)
            else:
                if branch:
                    head_entry = work.statement(CHECKPOINT, head.received().sign1, head.digest)
                else:
                    head_entry = self._checkpoints.add(work, known, log, head, inside=inside)
        placed = Placed(
            log,
            verified.index,
            verified.leaf,
            verified.half.record,
            verified.half.salt,
            verified.half.path,
            head,
            head_entry,
        )
        self.claim(work, placed, verified.claim, branch=branch)
