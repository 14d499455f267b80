"""What a validator's log must be besides a tree: its entries, one after another (protocol, 6.3).

`LogCheck` takes entries in order and raises at the first that cannot stand where it stands. What
it cannot decide it counts. It remembers what later entries refer to, and what validators can be
compared by: the newest head of each device's log, the newest verdict on each party set.

Whether a device signed a checkpoint is not looked at here: an entry is its validator's word. The
keys that the log binds to devices are kept, so that heads that differ can be verified
(devicekeys.py, logcompare.py).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import enrolment, keychange
from tallystick.evidence import genesis as geneses
from tallystick.evidence import registration as registrations
from tallystick.evidence import verdict as verdicts
from tallystick.evidence.digest import sha256
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry, parse_entry, payload_kind
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.kinds import (
    CHECKPOINT,
    ENROLMENT,
    GENESIS,
    KEY_CHANGE,
    REGISTRATION_POLICY,
    VERDICT,
)
from tallystick.evidence.note import NoteKey
from tallystick.evidence.proof import verify_inclusion
from tallystick.evidence.statement import Statement
from tallystick.evidence.verdictproofs import decided
from tallystick.verify import devicekeys
from tallystick.verify.devicekeys import DeviceKeys

NO_POLICY = b""
DeviceLog = tuple[bytes, bytes]  # device, epoch
PartySet = tuple[str, bytes, bytes, bytes]  # namespace, interaction, profile, party set


@dataclass(frozen=True)
class LoggedHead:
    """A device checkpoint in a validator's log: `data` as it stands there, signature and all."""

    size: int
    root: bytes
    data: bytes
    entry: int


@dataclass(frozen=True)
class LoggedVerdict:
    """The newest verdict on a party set; `decided` is a digest of what its finding decides."""

    state: str
    inputs: bytes
    decided: bytes
    entry: int


@dataclass
class Told:
    """What a log says, as far as it was read."""

    heads: dict[DeviceLog, LoggedHead] = field(default_factory=dict)
    verdicts: dict[PartySet, LoggedVerdict] = field(default_factory=dict)
    keys: DeviceKeys = field(default_factory=dict)


class LogCheck:
    """Entries of one log, in order; `note_key` must be the one that its genesis names.

    first: where reading begins; what lies before is not known, and what refers to it not checked.
    """

    def __init__(self, origin: str, note_key: NoteKey | None, *, first: int = 0) -> None:
        self.origin = origin
        self.note_key = note_key
        self.first = first
        self.time_ms = 0
        self.counts: Counter[str] = Counter()
        self.not_checked: Counter[str] = Counter()
        self.told = Told()
        self.receipt_key: PublicKey | None = None
        # Where device checkpoints are logged, and claims: later entries name them by index.
        self._heads: dict[int, tuple[DeviceLog, int, bytes]] = {}
        self._claims: dict[int, int] = {}
        # The newest registration policy's digest; NO_POLICY at the beginning of a log.
        self._policies: bytes | None = NO_POLICY if first == 0 else None

    def resume(self, time_ms: int, receipt_key: PublicKey | None, told: Told) -> None:
        """Go on where an earlier reading ended, at `first`, with what it remembered."""
        self.time_ms = time_ms
        self.receipt_key = receipt_key
        self.told = told
        for log, head in told.heads.items():
            self._heads[head.entry] = (log, head.size, head.root)

    def entry(self, at: int, data: bytes) -> None:
        """The entry at an index; Malformed or Unverified when it cannot stand there."""
        try:
            self._entry(at, data)
        except TallyError as error:
            kind = Malformed if isinstance(error, Malformed) else Unverified
            raise kind(error.reason, f"entry {at}: {error.message}") from error

    def _entry(self, at: int, data: bytes) -> None:
        if at == 0:
            self._genesis(data)
            return
        made = parse_entry(data)
        if isinstance(made, TimeEntry):
            if made.time_ms < self.time_ms:
                raise Unverified("bad-value", f"its time {made.time_ms} is before {self.time_ms}")
            self.time_ms = made.time_ms
            self.counts["times"] += 1
        elif isinstance(made, LoggedClaim):
            self._claim(at, made)
        elif isinstance(made, Closing):
            self._closing(at, made)
        else:
            self._statement(at, made, data)

    def _genesis(self, data: bytes) -> None:
        made = geneses.parse(data)
        made.verify(made.receipt_key)
        if made.origin != self.origin:
            raise Unverified("wrong-key", f"the genesis is of {made.origin}, not {self.origin}")
        if self.note_key is not None and made.note_key != self.note_key:
            raise Unverified("wrong-key", "the genesis names another note key")
        self.receipt_key = made.receipt_key
        self.note_key = made.note_key
        self.time_ms = made.time_ms
        self.counts["genesis"] += 1

    def _claim(self, at: int, made: LoggedClaim) -> None:
        self.counts["claims"] += 1
        self._claims[at] = self.time_ms
        if made.checkpoint >= at:
            raise Unverified("bad-inclusion-proof", "the checkpoint that it names comes after it")
        found = self._heads.get(made.checkpoint)
        if found is None:
            if made.checkpoint >= self.first:
                raise Unverified("bad-inclusion-proof", "no device checkpoint is where it says")
            self.not_checked["claims under checkpoints that were not read"] += 1
            return
        log, size, root = found
        if log != (made.device, made.epoch):
            raise Unverified(
                "bad-inclusion-proof", "the checkpoint that it names is of another log"
            )
        verify_inclusion(made.leaf, made.index, size, made.path, root)

    def _closing(self, at: int, made: Closing) -> None:
        self.counts["closings"] += 1
        claimed_ms = self._claims.get(made.first)
        if claimed_ms is None:
            if made.first >= self.first or made.first >= at:
                raise Unverified("bad-value", "no claim is where it says that the first one is")
            self.not_checked["closings of claims that were not read"] += 1
        elif self.time_ms < claimed_ms + made.deadline_ms:
            raise Unverified("bad-value", "it was logged before the deadline passed")

    def _statement(self, at: int, made: Statement, data: bytes) -> None:
        kind = payload_kind(made.payload)
        if kind == CHECKPOINT:
            self._checkpoint(at, checkpoints.parse(data))
        elif kind == VERDICT:
            self._verdict(at, verdicts.of(made))
        elif kind == GENESIS:
            raise Unverified("unknown-kind", "a second genesis")
        elif kind == REGISTRATION_POLICY:
            self._policy(registrations.parse(data))
        else:
            self.counts["other statements"] += 1
            if kind in (ENROLMENT, KEY_CHANGE):
                self._keys(kind, data)

    def _keys(self, kind: int, data: bytes) -> None:
        if kind == ENROLMENT:
            devicekeys.enrol(self.told.keys, enrolment.parse(data))
            return
        change = keychange.parse(data)
        if isinstance(change, keychange.Rotation):
            devicekeys.rotate(self.told.keys, change)

    def _checkpoint(self, at: int, made: checkpoints.Checkpoint) -> None:
        self.counts["device checkpoints"] += 1
        log = (made.device, made.epoch)
        self._heads[at] = (log, made.size, made.root)
        known = self.told.heads.get(log)
        if known is None or made.size >= known.size:
            self.told.heads[log] = LoggedHead(made.size, made.root, made.encode(), at)

    def _policy(self, made: registrations.RegistrationPolicy) -> None:
        """The rules of the log are one chain (docs/protocol.md, 6.8): none is slipped in."""
        self.counts["registration policies"] += 1
        if self._policies is None:
            self.not_checked["which registration policy was before the first one read"] += 1
        elif (made.previous or NO_POLICY) != self._policies:
            raise Unverified("bad-value", "it names another registration policy before it")
        self._policies = made.digest
        key = self.receipt_key
        if key is None or made.received().kid != key.kid():
            self.not_checked["registration policies by another key than the genesis names"] += 1
        else:
            made.received().verify(key)

    def _verdict(self, at: int, made: verdicts.Verdict) -> None:
        self.counts["verdicts"] += 1
        if made.size > at:
            raise Unverified("bad-value", f"the verdict says that it read {made.size} entries")
        key = self.receipt_key
        if key is None or made.received().kid != key.kid():
            self.not_checked["verdicts by another key than the genesis names"] += 1
        else:
            made.verify(key)
        finding = made.finding
        where = (finding.namespace, finding.interaction, finding.profile, finding.party_set())
        self.told.verdicts[where] = LoggedVerdict(
            finding.state, finding.inputs, sha256(decided(finding)), at
        )
