"""Evidence files from what one gateway's store holds (docs/protocol.md, 7; docs/operations.md).

A gateway has claims and verdicts under different keys, and no index from one to the other: both are
laid into a scratch file, by interaction, while the store is walked once. So memory stays bounded.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tallystick.evidence import accepted, claim, cose, event, half, verdict
from tallystick.evidence import checkpoint as checkpoints
from tallystick.evidence import leaf as leaves_of
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.credential import Identity
from tallystick.evidence.errors import TallyError
from tallystick.evidence.evidencefile import EvidenceFile
from tallystick.evidence.half import Half
from tallystick.evidence.ids import claim_reference, interaction_id
from tallystick.evidence.kinds import ACCEPTED_HALF, CLAIM, EVENT
from tallystick.evidence.limits import CHECKPOINT_BYTES_MAX, STATEMENT_BYTES_MAX
from tallystick.evidence.record import kind_of
from tallystick.evidence.segment import Segment
from tallystick.evidence.tree import Tree, node_hash, proof_from_nodes
from tallystick.gateway import limits

_SCRATCH = """
CREATE TABLE halves (namespace TEXT, interaction BLOB, claim BLOB, own INTEGER, device BLOB,
  epoch BLOB, at INTEGER, boot INTEGER, half BLOB,
  PRIMARY KEY (namespace, interaction, claim)) WITHOUT ROWID;
CREATE TABLE boots (device BLOB, epoch BLOB, boot INTEGER, at INTEGER, half BLOB,
  PRIMARY KEY (device, epoch, boot, at)) WITHOUT ROWID;
CREATE TABLE verdicts (namespace TEXT, interaction BLOB, validator TEXT, entry INTEGER, digest BLOB,
  state TEXT, data BLOB, PRIMARY KEY (namespace, interaction, validator, entry)) WITHOUT ROWID;
"""

Receipts = Callable[[bytes], list[bytes]]  # validators' receipts over a statement, by its digest
Credentials = Callable[[bytes], list[bytes] | None]


class Interaction(NamedTuple):
    """One evidence file, and what is known to lack in it."""

    namespace: str
    interaction: bytes
    states: list[str]
    claims: int
    lacking: int  # claims that a verdict names and that are not in it
    profile: bool  # whether the profile of each verdict is in it
    data: bytes


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

    def add(self, segment: Segment, base: Tree, identity: Identity) -> None:
        """The claims, accepted halves and boots of one stored segment; base: the tree at first."""
        wanted = list(_wanted(segment))
        if not wanted:
            return
        nodes = _Nodes(segment, base)
        head = segment.stretches[-1].checkpoint
        signed = checkpoints.parse(head)
        digest = _credential_digest(identity, signed)
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
        custody: Callable[[bytes], bytes | None],
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
            made = _File(receipts, custody)
            claims = self._scratch.execute(
                "SELECT claim, device, epoch, at, boot, half FROM halves "
                "WHERE namespace = ? AND interaction = ? ORDER BY claim LIMIT ?",
                (namespace, interaction, limits.EXPORT_HALVES_MAX),
            ).fetchall()
            for _, device, epoch, at, boot, data in claims:
                made.half(device, half.parse(data))
                row = self._scratch.execute(
                    "SELECT half FROM boots WHERE device = ? AND epoch = ? AND boot = ? "
                    "AND at < ? ORDER BY at DESC LIMIT 1",
                    (device, epoch, boot, at),
                ).fetchone()
                if row is not None:
                    made.half(device, half.parse(row[0]))
            verdicts = self._scratch.execute(
                "SELECT digest, state, data FROM verdicts WHERE namespace = ? AND interaction = ? "
                "ORDER BY validator, entry LIMIT ?",
                (namespace, interaction, limits.EXPORT_VERDICTS_MAX),
            ).fetchall()
            here = {row[0] for row in claims}
            named: set[bytes] = set()
            for digest, _, data in verdicts:
                named |= made.verdict(digest, data, profiles)
            yield Interaction(
                namespace,
                interaction,
                [state for _, state, _ in verdicts],
                len(claims),
                len(named - here),
                made.profiled,
                made.encode(credentials, own, len(named - here)),
            )


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


def _credential_digest(identity: Identity, head: Checkpoint) -> bytes:
    # The newest statement of the credential after which the head's key was the current one.
    key = identity.own_key_of(head)
    for digest in reversed(identity.digests):
        if identity.key_at(digest) == key:
            return digest
    return identity.digests[-1]


class _File:
    # What goes into one evidence file, each part once.
    def __init__(self, receipts: Receipts, custody: Callable[[bytes], bytes | None]) -> None:
        self._receipts = receipts
        self._custody = custody
        self._devices: dict[bytes, None] = {}
        self._halves: dict[bytes, Half] = {}
        self._entries: dict[bytes, list[bytes]] = {}
        self._named: dict[bytes, bytes] = {}
        self._profiles: dict[bytes, bytes] = {}
        self.profiled = True

    def half(self, device: bytes, made: Half) -> None:
        self._devices[device] = None
        self._halves[made.encode()] = made
        self.checkpoint(made.checkpoint)

    def checkpoint(self, data: bytes) -> None:
        sign1 = cose.parse(data, CHECKPOINT_BYTES_MAX)
        self._entries[sign1.statement_bytes()] = self._receipts(sign1.digest())
        named = checkpoints.parse(data).custody
        receipt = None if named is None else self._custody(named)
        if named is not None and receipt is not None:
            self._named[named] = receipt

    def receipt(self, data: bytes) -> None:
        self._named[cose.parse(data, CHECKPOINT_BYTES_MAX).digest()] = data

    def verdict(self, digest: bytes, data: bytes, profiles: dict[bytes, bytes]) -> set[bytes]:
        finding = verdict.parse(data).finding
        entry = cose.parse(data, STATEMENT_BYTES_MAX).statement_bytes()
        self._entries[entry] = self._receipts(digest)
        for devices in finding.parties.values():
            self._devices.update(dict.fromkeys(devices))
        if finding.profile in profiles:
            self._profiles[finding.profile] = profiles[finding.profile]
        else:
            self.profiled = False
        return {row.claim for row in finding.claims}

    def encode(self, credentials: Credentials, own: list[list[bytes]], lacking: int) -> bytes:
        known = [found for one in self._devices if (found := credentials(one)) is not None]
        notes = ["Made by a gateway from its own store; no validator chose what is in it."]
        if lacking:
            notes.append(f"{lacking} claims that a verdict names are not in it.")
        if not self.profiled:
            notes.append("The profile of a verdict is not in it.")
        return EvidenceFile(
            [*known, *own],
            [self._profiles[digest] for digest in sorted(self._profiles)],
            list(self._halves.values()),
            list(self._entries.items()),
            list(self._named.values()),
            [],
            " ".join(notes),
            [],
        ).encode()


class Heads:
    """The evidence of a device's checkpoints: which validators receipted them, and custody."""

    def __init__(self, receipts: Receipts, custody: Callable[[bytes], bytes | None]) -> None:
        self._file = _File(receipts, custody)
        self.count = 0

    def add(self, head: bytes) -> None:
        """One checkpoint, as it was signed."""
        self._file.checkpoint(head)
        self.count += 1

    def also(self, receipts: list[bytes]) -> None:
        """Custody receipts that no checkpoint names yet."""
        for data in receipts:
            self._file.receipt(data)

    def encode(self, credential: list[bytes], own: list[list[bytes]]) -> bytes:
        """The evidence file's bytes."""
        return self._file.encode(lambda _device: None, [credential, *own], 0)
