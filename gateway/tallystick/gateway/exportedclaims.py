"""Evidence files from what one gateway's store holds (docs/protocol.md, 7; docs/operations.md).

A gateway has claims and verdicts under different keys, and no index from one to the other: both are
laid into a scratch file, by interaction, while the store is walked once. So memory stays bounded.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tallystick.evidence import accepted, claim, event, half
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError
from tallystick.evidence.half import Half
from tallystick.evidence.ids import claim_reference, interaction_id
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, EVENT
from tallystick.evidence.record import kind_of
from tallystick.evidence.segment import Segment
from tallystick.evidence.tree import Tree, node_hash, proof_from_nodes
from tallystick.gateway import limits
from tallystick.gateway.exportedevidence import Credentials, Custody, Evidence, Receipts

_SCRATCH = """
CREATE TABLE halves (namespace TEXT, interaction BLOB, claim BLOB, own INTEGER, device BLOB,
  epoch BLOB, at INTEGER, boot INTEGER, half BLOB,
  PRIMARY KEY (namespace, interaction, claim)) WITHOUT ROWID;
CREATE TABLE boots (device BLOB, epoch BLOB, boot INTEGER, at INTEGER, half BLOB,
  PRIMARY KEY (device, epoch, boot, at)) WITHOUT ROWID;
CREATE TABLE verdicts (namespace TEXT, interaction BLOB, validator TEXT, entry INTEGER, digest BLOB,
  state TEXT, data BLOB, PRIMARY KEY (namespace, interaction, validator, entry)) WITHOUT ROWID;
"""


class Interaction(NamedTuple):
    """One evidence file, and what is known to lack in it."""

    namespace: str
    interaction: bytes
    states: list[str]
    claims: int
    lacking: int  # claims that a verdict names and that are not in it
    profile: bool  # whether the profile of each verdict is in it
    cut: bool  # whether anything was left out for want of room
    data: bytes | None  # None: nobody would read it, credentials alone are too long


class Claims:
    """Collects claims, boots and verdicts in a scratch file; `close` ends that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._scratch = sqlite3.connect(path, isolation_level=None)
        self._scratch.execute("PRAGMA journal_mode=OFF")
        self._scratch.execute("PRAGMA synchronous=OFF")
        self._scratch.executescript(_SCRATCH)
        self._scratch.execute("BEGIN")

    def close(self) -> None:
        """Nothing of the scratch file stays."""
        self._scratch.close()
        self._path.unlink(missing_ok=True)

    # --- in ---------------------------------------------------------------------------------

    def add(self, segment: Segment, base: Tree, identity: Identity | None) -> bool:
        """The claims, accepted halves and boots of one stored segment; base: the tree at first.

        False where they are left out: nobody vouches for the key that signed its head.
        """
        wanted = list(_wanted(segment))
        if not wanted:
            return True
        nodes = _Nodes(segment, base)
        head = segment.stretches[-1].checkpoint
        signed = checkpoints.parse(head)
        digest = None if identity is None else _credential_digest(identity, signed)
        if digest is None:
            return False
        for index, kind, record, salt in wanted:
            try:
                if kind == ACCEPTED_HALF:
                    self._accepted(accepted.parse(record).half)
                    continue
                path = proof_from_nodes(nodes.read, index, segment.to)
                made = Half(record, salt, index, path, head, digest)
                if kind == EVENT:
                    self._boot(segment, index, event.parse(record), made.encode())
                else:
                    self._claim(claim.parse(record), signed, made, own=True)
            except (TallyError, KeyError):
                continue  # not to be read, or longer than a half may be: its segment has it
        return True

    def _accepted(self, data: bytes) -> None:
        got = half.parse(data)
        self._claim(claim.parse(got.record), checkpoints.parse(got.checkpoint), got, own=False)

    def _claim(self, said: claim.Claim, head: Checkpoint, made: Half, *, own: bool) -> None:
        leaf = leaves_of.leaf(made.salt, made.record)
        reference = claim_reference(head.device, head.epoch, made.index, leaf)
        which = interaction_id(said.profile, said.namespace, said.interaction)
        # What its maker sent itself comes with the checkpoint that validators receipted.
        verb = "REPLACE" if own else "IGNORE"
        self._scratch.execute(
            f"INSERT OR {verb} INTO halves VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                *(said.namespace, which, reference, own),
                *(head.device, head.epoch, made.index, head.boot, made.encode()),
            ),
        )

    def _boot(self, segment: Segment, index: int, said: event.Event, data: bytes) -> None:
        boot = said.details.get("boot")
        if said.event == "boot" and isinstance(boot, int):
            self._scratch.execute(
                "INSERT OR IGNORE INTO boots VALUES (?, ?, ?, ?, ?)",
                (segment.device, segment.epoch, boot, index, data),
            )

    def verdict(self, row: tuple[str, int, bytes, str, bytes, str, bytes]) -> None:
        """A verdict: validator, entry, digest, namespace, interaction, state, data."""
        validator, entry, digest, namespace, interaction, state, data = row
        self._scratch.execute(
            "INSERT OR IGNORE INTO verdicts VALUES (?, ?, ?, ?, ?, ?, ?)",
            (namespace, interaction, validator, entry, digest, state, data),
        )

    # --- out --------------------------------------------------------------------------------

    def unjudged(self) -> int:
        """Interactions with claims here and no verdict."""
        (count,) = self._scratch.execute(
            "SELECT count(*) FROM (SELECT DISTINCT namespace, interaction FROM halves EXCEPT "
            "SELECT namespace, interaction FROM verdicts)"
        ).fetchone()
        return int(count)

    def files(
        self,
        credentials: Credentials,
        receipts: Receipts,
        custody: Custody,
        profiles: dict[bytes, bytes],
        own: list[list[bytes]],
    ) -> Iterator[Interaction]:
        """One evidence file for each interaction of which claims and verdicts are here.

        own: credentials of the gateway and of validators. profiles: by digest.
        """
        found = self._scratch.execute(
            "SELECT DISTINCT h.namespace, h.interaction FROM halves h JOIN verdicts v "
            "ON v.namespace = h.namespace AND v.interaction = h.interaction ORDER BY 1, 2"
        )
        for namespace, interaction in found:
            most = limits.EXPORT_EVIDENCE_BYTES
            while True:
                made = Evidence(receipts, custody)
                one = self._file(made, namespace, interaction, profiles, most)
                data = made.encode(credentials, own, one.lacking, cut=one.cut)
                if data is not None or most < limits.EXPORT_EVIDENCE_BYTES_MIN:
                    break
                most //= 2  # credentials take the rest
            yield one._replace(data=data)

    def _file(
        self,
        made: Evidence,
        namespace: str,
        interaction: bytes,
        profiles: dict[bytes, bytes],
        bytes_max: int,
    ) -> Interaction:
        # Verdicts take half of the room at most, so that claims have some.
        where = (namespace, interaction)
        verdicts = self._scratch.execute(
            "SELECT digest, state, data FROM verdicts WHERE namespace = ? AND interaction = ? "
            "ORDER BY validator, entry LIMIT ?",
            (*where, limits.EXPORT_VERDICTS_MAX + 1),
        ).fetchall()
        named: set[bytes] = set()
        states = []
        for digest, state, data in verdicts[: limits.EXPORT_VERDICTS_MAX]:
            if made.size >= bytes_max // 2:
                break
            named |= made.verdict(digest, data, profiles)
            states.append(state)
        claims = self._scratch.execute(
            "SELECT claim, device, epoch, at, boot, half FROM halves "
            "WHERE namespace = ? AND interaction = ? ORDER BY claim LIMIT ?",
            (*where, limits.EXPORT_HALVES_MAX + 1),
        ).fetchall()
        here = set()
        for reference, device, epoch, at, boot, data in claims[: limits.EXPORT_HALVES_MAX]:
            if made.size >= bytes_max:
                break
            self._half(made, device, epoch, at, boot, data)
            here.add(reference)
        cut = len(states) < len(verdicts) or len(here) < len(claims)
        return Interaction(
            *where, states, len(here), len(named - here), made.profiled, cut=cut, data=None
        )

    def _half(
        self, made: Evidence, device: bytes, epoch: bytes, at: int, boot: int, data: bytes
    ) -> None:
        # A claim, and the boot event that shows its firmware.
        made.half(device, half.parse(data))
        row = self._scratch.execute(
            "SELECT half FROM boots WHERE device = ? AND epoch = ? AND boot = ? "
            "AND at < ? ORDER BY at DESC LIMIT 1",
            (device, epoch, boot, at),
        ).fetchone()
        if row is not None:
            made.half(device, half.parse(row[0]))


def _wanted(segment: Segment) -> Iterator[tuple[int, int, bytes, bytes]]:
    # (index, kind, record, salt) of what an evidence file may disclose.
    for stretch in segment.stretches:
        at = stretch.first
        for item in stretch.items:
            if not isinstance(item, bytes):
                at += 1 << item[0]
                continue
            try:
                kind = kind_of(item)
            except TallyError:
                kind = -1
            if kind in {CLAIM, ACCEPTED_HALF} or (kind == EVENT and b"\x64boot" in item[:32]):
                yield at, kind, item, stretch.salt_of(at)
            at += 1


class _Nodes:
    # The complete nodes that a path from within one segment meets: of the tree's edge before it,
    # of its items, and what these give.
    def __init__(self, segment: Segment, base: Tree) -> None:
        self._known: dict[tuple[int, int], bytes] = {}
        at = 0
        levels = [level for level in range(62, -1, -1) if base.size >> level & 1]
        for level, node in zip(levels, base.edge, strict=True):
            self._known[level, at >> level] = node
            at += 1 << level
        for stretch in segment.stretches:
            at = stretch.first
            nth = 0
            for item in stretch.items:
                if isinstance(item, bytes):
                    if isinstance(stretch.secret, bytes):
                        salt = leaves_of.salt(stretch.secret, at)
                    else:
                        salt = (stretch.secret or [])[nth]
                    self._known[0, at] = leaves_of.leaf(salt, item)
                    nth += 1
                    at += 1
                else:
                    self._known[item[0], at >> item[0]] = item[1]
                    at += 1 << item[0]

    def read(self, level: int, at: int) -> bytes:
        """A complete node; KeyError where it is none of this segment."""
        found = self._known.get((level, at))
        if found is None:
            if level == 0:
                raise KeyError((level, at))
            found = node_hash(self.read(level - 1, 2 * at), self.read(level - 1, 2 * at + 1))
            self._known[level, at] = found
        return found


def _credential_digest(identity: Identity, head: Checkpoint) -> bytes | None:
    # The newest statement of the credential after which the head's key was the current one; None
    # for a key that the credential does not know (any more).
    try:
        key = identity.own_key_of(head)
    except TallyError:
        return None
    for digest in reversed(identity.digests):
        if identity.key_at(digest) == key:
            return digest
    return identity.digests[-1]
