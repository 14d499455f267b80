"""How many organisations must have cosigned a log checkpoint (docs/policy.md, section 6).

The idea of C2SP tlog-policy with one level of groups: an organisation counts once, by any of its
witnesses, and never for the log that is its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick.evidence import cosignature
from tallystick.evidence import note as notes
from tallystick.evidence.cosignature import CosignerKey
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.note import Note, NoteKey
from tallystick.verify._text import printable
from tallystick.verify._toml import Table

WITNESSES_MAX = 64


@dataclass(frozen=True)
class Accepted:
    """A witness whose cosignature counts for its organisation."""

    organisation: str
    key: CosignerKey


@dataclass(frozen=True)
class Cosigned:
    """A checkpoint's cosignatures that verify: the newest time of each organisation, seconds."""

    times: dict[str, int]
    left: tuple[str, ...] = ()  # what was there and did not count, with why
    lines: int = 0  # of accepted witnesses, whether they count or not


@dataclass(frozen=True)
class Witnesses:
    """What a policy says of cosignatures; `age_s_max` bounds how old one may be."""

    at_least: int = 0
    accept: tuple[Accepted, ...] = ()
    age_s_max: int | None = None
    owners: tuple[tuple[NoteKey, str], ...] = ()  # whose logs the policy's validators' are

    @property
    def organisations(self) -> frozenset[str]:
        """Everyone who can count."""
        return frozenset(one.organisation for one in self.accept)

    def read(
        self, note: Note, log_key: NoteKey | None, at_s: int | None = None, owner: str | None = None
    ) -> Cosigned:
        """Which organisations cosigned; Unverified when an accepted key's line is wrong.

        owner: whose log it is, where that is known otherwise than by its note key.
        """
        body = note.body()
        there = {(name, key_id) for name, key_id, _ in note.signatures}
        own = self._own(log_key)
        if owner is not None:
            own.add(owner)
        times: dict[str, int] = {}
        left = []
        lines = 0
        for one in self.accept:
            if (one.key.name, one.key.key_id) not in there:
                continue
            lines += 1
            time_s = one.key.verify(body, note.signatures)
            if one.organisation in own:
                left.append(f"{one.key.name}: of the log's own organisation")
            elif at_s is not None and self.age_s_max is not None and self._old(time_s, at_s):
                left.append(f"{one.key.name}: {at_s - time_s} s old")
            else:
                times[one.organisation] = max(time_s, times.get(one.organisation, 0))
        return Cosigned(times, tuple(left), lines)

    def _old(self, time_s: int, at_s: int) -> bool:
        return self.age_s_max is not None and at_s - time_s > self.age_s_max

    def demand(self, note: Note, log_key: NoteKey | None, at_s: int | None = None) -> Cosigned:
        """As read; Unverified("bad-policy") when too few organisations cosigned."""
        found = self.read(note, log_key, at_s)
        if len(found.times) < self.at_least:
            names = ", ".join(sorted(map(printable, found.times))) or "none"
            raise Unverified(
                "bad-policy",
                f"{len(found.times)} of the {self.at_least} organisations that the policy needs "
                f"cosigned the checkpoint of {printable(note.origin)} at size {note.size}: {names}"
                + "".join(f"; {printable(one)}" for one in found.left),
            )
        return found

    def counting(self, log_key: NoteKey | None) -> frozenset[str]:
        """The organisations that can count for a log: all but its own."""
        return self.organisations - self._own(log_key)

    def _own(self, log_key: NoteKey | None) -> set[str]:
        if log_key is None:
            return set()
        # A second witness of the operator's is the operator: not only the log's own key tells.
        own = {name for key, name in self.owners if key.key == log_key.key}
        return own | {one.organisation for one in self.accept if one.key.key == log_key.key}

    def limits(self, log_key: NoteKey | None) -> list[str]:
        """What this many organisations, and this many cosignatures, cannot survive."""
        return limits(len(self.counting(log_key)), self.at_least)


def survives(n: int, k: int) -> tuple[int, int]:
    """Of n organisations beside the log's own, k of which must cosign: (liars, away).

    Liars: how many organisations may lie, the log's own among them, and still no two trees of one
    size can both be accepted. Two trees that each have k cosignatures share 2 k - n cosigners,
    and an honest one cosigns one tree. Away: how many may refuse or be away, and clients go on.
    """
    if not 1 <= k <= n:
        return 0, max(0, n - k)
    return max(0, 2 * k - n), n - k


def limits(n: int, k: int) -> list[str]:
    """Sentences about k of n; none when one liar harms nobody, whether it signs or refuses."""
    if k == 0:
        return ["no cosignature is needed: a log's operator alone can show two trees"]
    liars, away = survives(n, k)
    of = f"{k} of {n} organisations beside the log's own"
    said = []
    if liars < 1:
        said.append(
            f"{of}: its operator alone can show two trees, each cosigned by others; "
            f"{n // 2 + 1} of {n} prevent that"
        )
    if away < 1:
        said.append(f"{of}: one that refuses, or is away, stops everyone who needs {k}")
    if n < 3:
        said.append(f"{n} beside the log's own cannot survive one liar; 3, of which 2 cosign, can")
    return said


def parse_witnesses(table: Table) -> Witnesses:
    """The table `[witnesses]` of a policy; Malformed names the line and the key."""
    accepted = []
    for one in table.tables("accept", default=[], items_max=WITNESSES_MAX):
        organisation = one.text("organisation", chars_max=64)
        text = one.text("key")
        one.finish()
        try:
            accepted.append(Accepted(organisation, _key(text)))
        except Malformed as error:
            raise one.fail("key", error.message) from None
    keys = {one.key.key.raw for one in accepted}
    if len(keys) != len(accepted):
        raise table.fail("accept", "names one key twice")
    organisations = {one.organisation for one in accepted}
    k = table.integer("at_least", 0, WITNESSES_MAX, default=0)
    age_s = table.duration_ms("age") // 1000 if table.has("age") else None
    table.finish()
    if k > len(organisations):
        raise table.fail("at_least", f"needs more organisations than the {len(organisations)} here")
    return Witnesses(k, tuple(accepted), age_s)


def _key(text: str) -> CosignerKey:
    """A cosigner key, or the note key of a validator, which tells it."""
    try:
        return cosignature.parse_key(text)
    except Malformed:
        return cosignature.cosigner_of(notes.parse_key(text))
