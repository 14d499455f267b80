"""Re-verifying a part of a log by its tiles, apart from every other part (docs/protocol.md, 8.3).

A part is a run of entry bundles. Whatever it reads, its own bundles and those that they refer to,
is bound to the signed root by the tiles above, so parts need nothing of each other: where each of
them holds, the whole log does. Pure, as logread.py: `fetch` gets the bytes.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tallystick.evidence import checkpoint
from tallystick.evidence.entry import Closing, LoggedClaim, TimeEntry, parse_entry
from tallystick.evidence.errors import Malformed, TallyError, TransportError, Unverified
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.registration import RegistrationPolicy
from tallystick.evidence.statement import Statement
from tallystick.evidence.tree import Tree, leaf_hash, root_of
from tallystick.verify import tiles
from tallystick.verify.logcheck import NO_POLICY, LogCheck
from tallystick.verify.logread import Fetch, fetch_tile
from tallystick.verify.tiles import HEIGHT, WIDTH, Tile

BUNDLES_KEPT_MAX = 64
PROBLEMS_KEPT_MAX = 100
# A unit of work for one core: 16,384 entries.
BUNDLES_PER_PART = 64


@dataclass(frozen=True)
class Problem:
    """What does not hold, and from which entry on."""

    entry: int
    reason: str
    message: str


@dataclass
class Part:
    """What was found of some bundles; parts add up, in their order."""

    begin: int | None = None
    entries: int = 0
    tiles: int = 0
    problems_found: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    not_checked: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    # Registration policies are a chain through all parts: what the first one here says was before
    # it, while no part before this one tells, and the last one.
    policy_before: tuple[int, bytes] | None = None
    policy_after: bytes | None = None

    def add(self, other: Part) -> None:
        """Take in the findings of the part that follows."""
        if self.begin is None:
            self.begin = other.begin
        if other.policy_before is not None:
            at, before = other.policy_before
            known = self.policy_after
            if known is None and self.begin == 0:
                known = NO_POLICY
            if known is None:
                self.policy_before = other.policy_before
            elif known != before:
                self.problem(at, Unverified("bad-value", "it names another policy before it"))
        if other.policy_after is not None:
            self.policy_after = other.policy_after
        self.entries += other.entries
        self.tiles += other.tiles
        self.problems_found += other.problems_found
        self.counts += other.counts
        self.not_checked += other.not_checked
        self.problems = (self.problems + other.problems)[:PROBLEMS_KEPT_MAX]

    def problem(self, entry: int, error: TallyError) -> None:
        """Note one; so many are kept with their words."""
        self.problems_found += 1
        if len(self.problems) < PROBLEMS_KEPT_MAX:
            self.problems.append(Problem(entry, error.reason, error.message))


def bundles(size: int) -> int:
    """How many entry bundles a log has, the partial one too."""
    return (size + WIDTH - 1) // WIDTH


def shard(size: int, number: int, of: int) -> range:
    """The bundles of shard `number`, from 1, of `of`; together they are all, and none is twice."""
    count = bundles(size)
    return range(count * (number - 1) // of, count * number // of)


def parts(of: range) -> Iterator[range]:
    """A shard's bundles as units of work."""
    for first in range(of.start, of.stop, BUNDLES_PER_PART):
        yield range(first, min(first + BUNDLES_PER_PART, of.stop))


class Tiled:
    """A log whose tiles lead up to a signed root; what it gives out is proven to be under it.

    note: verified by its caller. Unverified("bad-root") at once where its root is not the tiles'.
    """

    def __init__(self, fetch: Fetch, note: Note) -> None:
        self._fetch = fetch
        self.note = note
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self._bundles: OrderedDict[int, list[bytes]] = OrderedDict()
        self._prove_edge()

    def _prove_edge(self) -> None:
        # The partial tiles of all levels hold exactly the subtrees that the root is folded of.
        edge: list[bytes] = []
        level = (self.note.size.bit_length() - 1) // HEIGHT if self.note.size else -1
        for at_level in range(level, -1, -1):
            index, width = divmod(self.note.size >> (at_level * HEIGHT), WIDTH)
            if not width:
                continue
            tile = Tile(at_level, index, width)
            hashes = self._partial(tile)
            self._tiles[at_level, index] = hashes
            begin = 0
            for bit in range(HEIGHT - 1, -1, -1):
                if width >> bit & 1:
                    edge.append(root_of(hashes[begin : begin + (1 << bit)]))
                    begin += 1 << bit
        if Tree(self.note.size, edge).root() != self.note.root:
            raise Unverified(
                "bad-root", f"its tiles do not give the root that was signed at {self.note.size}"
            )

    def _partial(self, tile: Tile) -> list[bytes]:
        # An older checkpoint's are gone where the log grew: then made of what is below them.
        try:
            return tiles.parse_tile(fetch_tile(self._fetch, tile), tile.width)
        except TransportError as error:
            if error.reason != "missing":
                raise
        if not tile.level:
            bundle = Tile(None, tile.index, tile.width)
            found = tiles.parse_bundle(fetch_tile(self._fetch, bundle), tile.width)
            return [leaf_hash(entry) for entry in found]
        below = [Tile(tile.level - 1, tile.first + at) for at in range(tile.width)]
        return [root_of(tiles.parse_tile(fetch_tile(self._fetch, one), WIDTH)) for one in below]

    def hashes(self, level: int, index: int) -> list[bytes]:
        """A tile's hashes; Unverified("bad-root") where they are not those under the root."""
        found = self._tiles.get((level, index))
        if found is None:
            tile = Tile(level, index)
            found = tiles.parse_tile(fetch_tile(self._fetch, tile), WIDTH)
            above = self.hashes(level + 1, index // WIDTH)
            if root_of(found) != above[index % WIDTH]:
                raise Unverified("bad-root", f"{tile.path} has other hashes than the tile above")
            if level:
                # One for 65,536 entries and more; those of leaves are used once.
                self._tiles[level, index] = found
        return found

    def bundle(self, number: int) -> list[bytes]:
        """A bundle's entries; Unverified("bad-root") where they are not the log's."""
        found = self._bundles.get(number)
        if found is None:
            width = min(WIDTH, self.note.size - number * WIDTH)
            tile = Tile(None, number, width)
            found = tiles.parse_bundle(fetch_tile(self._fetch, tile), width)
            if [leaf_hash(entry) for entry in found] != self.hashes(0, number):
                raise Unverified("bad-root", f"{tile.path} has other entries than the log's tiles")
            self._bundles[number] = found
            if len(self._bundles) > BUNDLES_KEPT_MAX:
                self._bundles.popitem(last=False)
        else:
            self._bundles.move_to_end(number)
        return found

    def entry(self, at: int) -> bytes:
        """One entry."""
        return self.bundle(at // WIDTH)[at % WIDTH]

    def time_before(self, at: int) -> int:
        """The time of the last time entry before an entry; 0: there is none."""
        while at > 0:
            at -= 1
            data = self.entry(at)
            # An unsigned entry is an array, and a time entry one of two items.
            if data[:1] == b"\x82":
                made = parse_entry(data)
                if isinstance(made, TimeEntry):
                    return made.time_ms
        return 0


class PartCheck(LogCheck):
    """As LogCheck, and looks up what was logged before the part that it checks."""

    def __init__(self, log: Tiled, key: NoteKey, first: int) -> None:
        super().__init__(log.note.origin, key, first=first)
        self._log = log
        self._genesis_ms = 0
        self._at = first
        self.policy_before: tuple[int, bytes] | None = None
        if first:
            super().entry(0, log.entry(0))
            self.counts.clear()
            self._genesis_ms = self.time_ms
            self.time_ms = self._time_before(first)

    def _time_before(self, at: int) -> int:
        return max(self._genesis_ms, self._log.time_before(at))

    def _statement(self, at: int, made: Statement, data: bytes) -> None:
        self._at = at
        super()._statement(at, made, data)

    def _policy(self, made: RegistrationPolicy) -> None:
        if self._policies is None:
            # The parts before this one know, and whoever adds them up compares.
            before = made.previous or NO_POLICY
            self.policy_before, self._policies = (self._at, before), before
        try:
            super()._policy(made)
        finally:
            # Wrong or not it is the one before the next: so every split finds the same.
            self._policies = made.digest

    @property
    def policy_after(self) -> bytes | None:
        """The newest registration policy that was read here."""
        return self._policies or None

    def _claim(self, at: int, made: LoggedClaim) -> None:
        where = made.checkpoint
        if where < self.first and where not in self._heads:
            try:
                head = checkpoint.parse(self._log.entry(where))
            except Malformed as error:
                raise Unverified(
                    "bad-inclusion-proof", "no device checkpoint is where it says"
                ) from error
            self._heads[where] = ((head.device, head.epoch), head.size, head.root)
        super()._claim(at, made)

    def _closing(self, at: int, made: Closing) -> None:
        where = made.first
        if where < self.first and where not in self._claims:
            if not isinstance(parse_entry(self._log.entry(where)), LoggedClaim):
                raise Unverified("bad-value", "no claim is where it says that the first one is")
            self._claims[where] = self._time_before(where)
        super()._closing(at, made)


def audit_part(log: Tiled, key: NoteKey, of: range) -> Part:
    """Verify a run of bundles entry by entry; what does not hold is in the result.

    key: the log's. Raises TransportError where something cannot be had.
    """
    found = Part(begin=of.start * WIDTH)
    try:
        check = PartCheck(log, key, of.start * WIDTH)
    except (Malformed, Unverified) as error:
        # What this part rests on is the fault of an earlier one, and this one is not checked.
        found.problem(of.start * WIDTH, error)
        return found
    for number in of:
        try:
            entries = log.bundle(number)
        except (Malformed, Unverified) as error:
            found.problem(number * WIDTH, error)
            continue
        found.tiles += 2
        for at, data in enumerate(entries, number * WIDTH):
            found.entries += 1
            try:
                check.entry(at, data)
            except (Malformed, Unverified) as error:
                found.problem(at, error)
    found.counts += check.counts
    found.not_checked += check.not_checked
    found.policy_before, found.policy_after = check.policy_before, check.policy_after
    return found
