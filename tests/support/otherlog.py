"""Another log, in memory: what it signs, and what it asks a witness."""

from dataclasses import dataclass, field

from support.devices import key
from tallystick.evidence import tree
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.tree import leaf_hash
from tallystick.hw.software_key import FileKey
from tallystick.verify.addcheckpoint import AddCheckpoint


@dataclass
class OtherLog:
    """A log of texts; `story` makes other ones, by the same key."""

    origin: str = "other.example/log"
    story: str = ""
    signer: FileKey = field(default_factory=lambda: key("another log"))

    @property
    def note_key(self) -> NoteKey:
        return NoteKey(self.origin, self.signer.public_key())

    def leaves(self, size: int) -> list[bytes]:
        return [leaf_hash(f"{self.story if at > 4 else ''}{at}".encode()) for at in range(size)]

    def checkpoint(self, size: int) -> Note:
        unsigned = Note(self.origin, size, tree.root_of(self.leaves(size)), [])
        return unsigned.sign(self.signer, self.origin)

    def request(self, old: int, size: int) -> bytes:
        leaves = self.leaves(size)
        path = tree.consistency_path(leaves, old) if 0 < old < size else []
        return AddCheckpoint(old, tuple(path), self.checkpoint(size)).encode()
