"""A part of a validator's log, under a checkpoint of it (docs/protocol.md, 9.1)."""

# CPython only

from tallystick.evidence import _shape as shape
from tallystick.evidence import note as notes
from tallystick.evidence.entry import parse_entry
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.limits import (
    ENTRY_BYTES_MAX,
    EVIDENCE_CBOR_ITEMS_MAX,
    LOG_CHECKPOINT_BYTES_MAX,
    PATH_HASHES_MAX,
)
from tallystick.evidence.note import Note
from tallystick.evidence.tree import Tree, edge_length, leaf_hash

# Type checkers take this name as true; the house's files import no typing.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LEVEL_MAX = 62
WHAT = "log extract"


class Extract:
    """[first, edge, items, note]; items are entries' bytes or (level, hash) of what is left out.

    Made or parsed, the items give the root of the note; its signature is not looked at here.
    `entries`: index -> bytes of those that are given.
    """

    def __init__(
        self, first: int, edge: list[bytes], items: "list[Any]", note: "str | Note"
    ) -> None:
        self.first = shape.uint(first, WHAT)
        self.edge = shape.hashes(edge, PATH_HASHES_MAX, WHAT)
        if len(edge) != edge_length(first):
            raise Malformed("bad-edge", WHAT + ": the edge must have one hash a bit of first")
        shape.array(items, WHAT, 1, EVIDENCE_CBOR_ITEMS_MAX)
        self.items: list[bytes | tuple[int, bytes]] = [_item(item) for item in items]
        if not isinstance(note, Note):
            note = notes.parse(shape.text(note, LOG_CHECKPOINT_BYTES_MAX, WHAT))
        self.note = note
        self.entries: dict[int, bytes] = {}
        self._grow()

    def _grow(self) -> None:
        tree = Tree(self.first, self.edge)
        for item in self.items:
            if isinstance(item, bytes):
                self.entries[tree.size] = item
                tree.push(leaf_hash(item))
            else:
                tree.push_subtree(item[0], item[1])
        if tree.size != self.note.size or tree.root() != self.note.root:
            raise Unverified("bad-root", WHAT + ": its items do not give the root of its note")

    def array(self) -> "list[Any]":
        """The array of the CDDL."""
        items = [item if isinstance(item, bytes) else list(item) for item in self.items]
        return [self.first, self.edge, items, self.note.text()]

    def whole_below(self, size: int) -> bool:
        """Whether every entry of the log below `size` is given."""
        return self.first == 0 and all(at in self.entries for at in range(size))

    def run(self) -> "list[tuple[int, Any]]":
        """(index, parsed entry) from `first` on, as far as no entry is left out."""
        found = []
        at = self.first
        while at in self.entries:
            found.append((at, parse_entry(self.entries[at])))
            at += 1
        return found

    def leaves(self) -> "list[bytes] | None":
        """The hash of every entry of the log; None where some are left out as a subtree."""
        if self.first:
            return None
        found = []
        for item in self.items:
            if isinstance(item, bytes):
                found.append(leaf_hash(item))
            elif item[0] == 0:
                found.append(item[1])
            else:
                return None
        return found


def _item(item: "Any") -> "bytes | tuple[int, bytes]":
    if type(item) is bytes:
        return shape.blob(item, ENTRY_BYTES_MAX, WHAT)
    level, node = shape.row(list(item) if type(item) is tuple else item, 2, WHAT)
    return shape.uint(level, WHAT, LEVEL_MAX), shape.octets(node, shape.HASH_SIZE, WHAT)


def from_array(value: "Any") -> Extract:
    """The extract in a decoded array; Malformed, or Unverified where the root is another one."""
    return Extract(*shape.row(value, 4, WHAT))


def cut(entries: list[bytes], note: Note, first: int, wanted: "set[int]") -> Extract:
    """The extract of a whole log from `first` on that gives the wanted entries and no other.

    `entries` are those of the log, at least as many as the note counts.
    """
    leaves = [leaf_hash(data) for data in entries[: note.size]]
    before = Tree()
    before.extend(leaves[:first])
    items: list[Any] = []
    at = first
    ahead = sorted(wanted)
    while at < note.size:
        while ahead and ahead[0] < at:
            ahead.pop(0)
        if at in wanted:
            items.append(entries[at])
            at += 1
            continue
        stop = ahead[0] if ahead else note.size
        level = 0
        while not at & ((1 << (level + 1)) - 1) and at + (1 << (level + 1)) <= stop:
            level += 1
        part = Tree()
        part.extend(leaves[at : at + (1 << level)])
        items.append((level, part.root()))
        at += 1 << level
    return Extract(first, before.edge, items, note)
