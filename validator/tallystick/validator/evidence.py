"""Evidence files: everything that an offline check of an interaction or of a record needs.

All receipts of a file are at one published size, and the log checkpoint of that size is in it.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from tallystick.evidence import cbor, checkpoint, credential
from tallystick.evidence.credential import Identity, verify_credential
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.evidence.kinds import CLAIM
from tallystick.evidence.profile import Profile
from tallystick.evidence.tree import proof_from_nodes
from tallystick.validator import erased, policies, schema
from tallystick.validator.access import EVERYTHING, Scope, denied
from tallystick.validator.cosigned import head_above
from tallystick.validator.devicelog import held_over
from tallystick.validator.elide import record_at
from tallystick.validator.forks import portable
from tallystick.validator.limits import FORKS_ANSWERED_MAX, HALVES_PER_EVIDENCE_MAX
from tallystick.validator.namedheads import NamedHeads, first_record
from tallystick.validator.nearby import used_rows
from tallystick.validator.problem import Problem
from tallystick.validator.proven import proven
from tallystick.validator.reading import Reader, reads_record
from tallystick.validator.work import CHUNK
from tallystick.verify.standing import EPOCHS_FOLLOWED_MAX, previous_of

Found = Any  # a row of a query


class Exporter:
    """Builds evidence files from one snapshot of the store."""

    def __init__(
        self,
        roots: dict[str, PublicKey],
        profiles: dict[bytes, Profile],
        own: Sequence[bytes] | None,
    ) -> None:
        self._roots = roots
        self._profiles = profiles
        self._own = own

    def interaction(
        self,
        connection: Connection,
        namespace: str,
        interaction: bytes,
        scope: Scope = EVERYTHING,
    ) -> bytes:
        """All party sets of an interaction, and the bodies that a scope covers.

        Problem 404 where there is none, 403 where none is covered, be there any or not.
        """
        table = schema.party_sets
        sets = connection.execute(
            sa.select(table)
            .where(table.c.namespace == namespace, table.c.interaction == interaction)
            .order_by(table.c.party_set)
        ).all()
        whole = scope.about(namespace, interaction)
        readers = {row.party_set: Reader(connection, scope, row, whole=whole) for row in sets}
        if not whole and not any(reader.any for reader in readers.values()):
            raise denied()
        if not sets:
            raise Problem("bad-value", "no such interaction is known here", status=404)
        sets = [row for row in sets if readers[row.party_set].any]
        file = _File(connection, self._roots)
        numbers = [row.party_set for row in sets]
        # Each set has its share, or a stranger's would take the place of the parties'.
        share = max(2, HALVES_PER_EVIDENCE_MAX // len(numbers))
        for number in numbers[:CHUNK]:
            file.claims(number, share, readers[number])
        for row in sets:
            file.want(row.first, row.closing, row.verdict_entry)
            file.used(row.verdict_entry, scope)
            for devices in cbor.decode(row.parties).values():
                file.who(*devices)
            profile = self._profiles.get(row.profile)
            if profile is not None:
                file.profiles[profile.digest] = profile.encode()
        file.silences(numbers[:CHUNK])
        return file.encode(self._own)

    def record(
        self,
        connection: Connection,
        device: bytes,
        epoch: bytes,
        index: int,
        scope: Scope = EVERYTHING,
    ) -> bytes:
        """One record, with its salt and no neighbour's.

        Problem 404 where its body is not held, 410 where it was erased, 403 where the scope does
        not cover it, be it there or not.
        """
        if not reads_record(connection, scope, device, epoch, index):
            raise denied()
        log = connection.execute(
            sa.select(schema.logs.c.log).where(
                schema.logs.c.device == device, schema.logs.c.epoch == epoch
            )
        ).scalar_one_or_none()
        if log is None:
            raise Problem("bad-value", "no such record is known here", status=404)
        file = _File(connection, self._roots)
        file.held(log, device, index, alone=True)
        return file.encode(self._own)


class _File:
    def __init__(self, connection: Connection, roots: dict[str, PublicKey]) -> None:
        self._connection = connection
        self._roots = roots
        self._identities: dict[bytes, tuple[list[bytes], Identity] | None] = {}
        self._entries: set[int] = {0}
        self._halves: list[Half] = []
        # The same records under the heads that revocations name: at most as many again.
        self._named: list[Half] = []
        self._heads = NamedHeads(connection)
        self._left_out = 0
        self._withheld = 0
        self._erased = 0
        self._shown: set[tuple[int, int]] = set()
        self.profiles: dict[bytes, bytes] = {}

    # --- what goes in ----------------------------------------------------------------------

    def want(self, *entries: int | None) -> None:
        """Entries of the log, by index."""
        self._entries.update(entry for entry in entries if entry is not None)

    def who(self, *ids: bytes) -> None:
        """Credentials of these."""
        for id_ in ids:
            if id_ not in self._identities:
                self._identities[id_] = self._identity(id_)

    def _identity(self, id_: bytes) -> tuple[list[bytes], Identity] | None:
        data = self._connection.execute(
            sa.select(schema.identities.c.credential).where(schema.identities.c.id == id_)
        ).scalar_one_or_none()
        if data is None:
            return None
        parsed = credential.parse(data)
        try:
            return parsed.statements, verify_credential(parsed, self._roots, None)
        except TallyError:
            return None

    def claims(self, party_set: int, share: int, reader: Reader) -> None:
        """The claims of a party set, as halves, with their log entries."""
        table = schema.claims
        rows = self._connection.execute(
            # The lowest references are those that count (docs/reconciliation.md, 2.1).
            sa.select(table)
            .where(table.c.party_set == party_set)
            .order_by(table.c.claim)
            .limit(share)
        )
        for row in rows:
            self._claim(row, reader)

    def used(self, verdict_entry: int | None, scope: Scope) -> None:
        """Claims of other interactions that a signed finding used, where the scope covers them."""
        for row, of in used_rows(self._connection, verdict_entry):
            whole = scope.about(of.namespace, of.interaction)
            self._claim(row, Reader(self._connection, scope, of, whole=whole))

    def _claim(self, row: Found, reader: Reader) -> None:
        # With the rules that it was admitted under.
        self.want(row.entry, policies.place(self._connection, row.entry))
        if not reader.reads(row.device):
            self._withheld += 1
        elif not row.record:
            self._gone(row)
        else:
            path = cbor.decode(row.path)
            self.disclose(row.device, row.record, row.salt, row.at, path, row.checkpoint)
            self._boot(row)

    def _gone(self, row: Found) -> None:
        """A claim whose body was erased: where it is logged, under which head, and who erased."""
        self._erased += 1
        self.who(row.device)
        head = self._entry_of(row.checkpoint)
        ranges = erased.covering(self._connection, row.log, row.at, row.at + 1)
        gone = erased.by_erasure(ranges, row.at, CLAIM)
        self.want(None if head is None else head.entry, None if gone is None else gone.entry)

    def _boot(self, row: Found) -> None:
        """The boot event before a claim, once: it says which firmware made the claim."""
        head = self._entry_of(row.checkpoint)
        if head is None:
            return
        table = schema.boots
        at = self._connection.execute(
            sa.select(sa.func.max(table.c.at)).where(
                table.c.log == row.log,
                table.c.boot == checkpoint.parse(head.data).boot,
                table.c.at < row.at,
            )
        ).scalar_one()
        if at is not None and (row.log, at) not in self._shown:
            self._shown.add((row.log, at))
            self.held(row.log, row.device, at)

    def held(self, log: int, device: bytes, index: int, *, alone: bool = False) -> None:
        """One record that is held, with its salt and no neighbour's.

        alone: Problem where it is not held; beside others it is left out then.
        """
        try:
            self._held(log, device, index)
        except Problem:
            ranges = erased.covering(self._connection, log, index, index + 1)
            if not alone:
                self._left_out += 1
            elif ranges:
                raise Problem(
                    "erased", f"its body was erased, by entry {ranges[0].entry} of the log"
                ) from None
            else:
                raise

    def _held(self, log: int, device: bytes, index: int) -> None:
        held = held_over(self._connection, log, index)
        if held is None:
            raise Problem("bad-value", "no such record is known here", status=404)
        try:
            salt = held.stretch.salt_of(index)
        except TallyError:
            raise Problem(
                "bad-value", "only the leaf hash of this record is held here", status=404
            ) from None
        record = record_at(held.stretch.items, held.first, index)
        if record is None:
            raise Problem("bad-value", "no such record is known here", status=404)
        path = proof_from_nodes(held.reader(), index, held.to)
        digest = self._connection.execute(
            sa.select(schema.stretches.c.checkpoint).where(
                schema.stretches.c.log == log, schema.stretches.c.first == held.first
            )
        ).scalar_one()
        self.disclose(device, record, salt, index, path, digest)

    def disclose(
        self,
        device: bytes,
        record: bytes,
        salt: bytes,
        index: int,
        path: list[bytes],
        checkpoint_digest: bytes,
    ) -> None:
        """One record under its logged checkpoint."""
        self.who(device)
        known = self._identities[device]
        row = self._entry_of(checkpoint_digest)
        if known is None or row is None or len(self._halves) >= HALVES_PER_EVIDENCE_MAX:
            self._left_out += 1
            return
        self.want(row.entry)
        head = checkpoint.parse(row.data)
        try:
            digest = _credential_digest(known[1], head)
            half = Half(record, salt, index, path, row.data, digest)
            half.encode()
        except TallyError:
            # Longer than a half may be.
            self._left_out += 1
        else:
            self._halves.append(half)
            self._under_named(known[1], head, half)

    def _under_named(self, identity: Identity, head: checkpoint.Checkpoint, half: Half) -> None:
        """Of a compromised key: the record under the head that its revocation names, too."""
        found = self._heads.path_to(identity, head, half)
        if found is None:
            return
        digest = _credential_digest(identity, checkpoint.parse(found.checkpoint))
        made = Half(half.record, half.salt, half.index, found.path, found.checkpoint, digest)
        try:
            made.encode()
        except TallyError:
            return  # longer than a half may be: then the file does not show it there
        self._named.append(made)
        self.want(found.entry)

    def silences(self, numbers: Sequence[int]) -> None:
        """The time evidence that findings used: checkpoints and custody receipts."""
        table = schema.silences
        rows = self._connection.execute(sa.select(table).where(table.c.party_set.in_(numbers)))
        for row in rows:
            self.who(row.device)
            for digest in (row.checkpoint, row.receipt):
                found = self._entry_of(digest)
                if found is not None:
                    self.want(found.entry)
            gateway = self._connection.execute(
                sa.select(schema.custody.c.gateway).where(schema.custody.c.digest == row.receipt)
            ).scalar_one_or_none()
            if gateway is not None:
                self.who(gateway)

    def _entry_of(self, digest: bytes) -> Found:
        table = schema.entries
        return self._connection.execute(
            sa.select(table.c.entry, table.c.data).where(table.c.digest == digest)
        ).one_or_none()

    # --- what comes out --------------------------------------------------------------------

    def encode(self, own: Sequence[bytes] | None) -> bytes:
        """The file's bytes."""
        head, text = head_above(self._connection, max(self._entries, default=0))
        for found in list(self._identities.values()):
            if found is not None:
                self._ends(found[1])
        credentials = [list(found[0]) for found in self._identities.values() if found]
        if own is not None:
            credentials.append(list(own))
        note = " ".join(
            f"{count} records are not disclosed: {why}."
            for count, why in (
                (self._left_out, "too long, too many, or unvouched"),
                (self._withheld, "not for this reader"),
                (self._erased, "erased, as the log says"),
            )
            if count
        )
        return EvidenceFile(
            credentials,
            [self.profiles[digest] for digest in sorted(self.profiles)],
            [*self._halves, *self._named],
            proven(self._connection, self._entries, head),
            [],
            [text],
            note or None,
            [],
            self._forks(),
        ).encode()

    def _ends(self, identity: Identity) -> None:
        """What shows where a key ended: its revocation in the log, and the epochs before."""
        for period in identity.keys:
            if period.ended_by is not None:
                found = self._entry_of(period.ended_by)
                self.want(None if found is None else found.entry)
            if period.end is not None:
                self._lineage(identity.id, period.end[0])

    def _lineage(self, device: bytes, epoch: bytes) -> None:
        table = schema.logs
        logs = sa.select(table.c.log).where(table.c.device == device).limit(2)
        if len(self._connection.execute(logs).all()) < 2:
            return
        for _ in range(EPOCHS_FOLLOWED_MAX):
            log = self._connection.execute(
                sa.select(table.c.log).where(table.c.device == device, table.c.epoch == epoch)
            ).scalar_one_or_none()
            first = first_record(self._connection, device, epoch)
            previous = None if first is None else previous_of(first)
            if log is None or previous is None:
                return
            if (log, 0) not in self._shown:
                self._shown.add((log, 0))
                self.held(log, device, 0)
            epoch = previous[0]

    def _forks(self) -> list[bytes]:
        ids = sorted(id_ for id_, found in self._identities.items() if found is not None)
        table = schema.forks
        proofs = []
        for at in range(0, len(ids), CHUNK):
            query = sa.select(table).where(table.c.device.in_(ids[at : at + CHUNK]))
            for row in self._connection.execute(query.order_by(table.c.time_ms, table.c.fork)):
                proof = portable(row)
                if proof is not None:
                    proofs.append(proof.encode())
        return proofs[:FORKS_ANSWERED_MAX]


def _credential_digest(identity: Identity, head: checkpoint.Checkpoint) -> bytes:
    """The newest statement of the credential after which the head's key was the current one."""
    key = identity.own_key_of(head)
    for digest in reversed(identity.digests):
        if identity.key_at(digest) == key:
            return digest
    raise Problem("wrong-key", f"no key of {device_text(identity.id)} signed this head")
