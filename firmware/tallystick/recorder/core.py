# A device's own log as a state machine: records in, frames and checkpoint payloads out.  It does no
# I/O: who calls it writes the frame first and says `added` afterwards, so that a failing flash
# leaves the tree as it was.

from hashlib import sha256 as _sha256

from tallystick.evidence.cbor import head
from tallystick.evidence.checkpoint import Checkpoint
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.tree import Tree
from tallystick.recorder import frames
from tallystick.recorder.frames import BOOT, CUSTODY, HEADER, PAST, PAYLOAD, SEED, SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SEED_SIZE = 32
PENDING_MAX = 64
PAST_MAX = 8
# A stretch must fit a segment (docs/protocol.md, 1.6), whatever the signer does.
STRETCH_ITEMS_MAX = 4096
STRETCH_BYTES_MAX = 245760


class Log:
    """One epoch: tree, seed of the stretch, payloads that wait for their signatures."""

    def __init__(self, device: bytes, epoch: bytes) -> None:
        self.device = device
        self.epoch = epoch
        self.tree = Tree()
        self.claims = 0
        self.boot = 0
        # Payloads are numbered through the life of a journal, since idle ones share a size.
        self.ordinal = 0
        self.pending: "list[tuple[int, bytes]]" = []
        self.signed = 0
        self.sealed_size = 0
        self.sealed_root = b""
        # Of the newest verified receipt: to, digest, statement, time_ms.
        self.custody: "tuple[int, bytes, bytes, int] | None" = None
        self.past: "list[bytes]" = []
        self.seed = b""
        self.stretch_bytes = 0
        self._pair = b""
        self._pair_index = -1
        self.leaf = b""
        self.salt = b""

    @property
    def unsealed(self) -> int:
        """Records that no payload covers."""
        return self.tree.size - self.sealed_size

    def full(self) -> bool:
        """Whether the stretch can take no further record before it is sealed."""
        return (
            self.tree.size - self.sealed_size >= STRETCH_ITEMS_MAX
            or self.stretch_bytes >= STRETCH_BYTES_MAX
        )

    def frame(self, record: bytes, random: "Callable[[int], bytes]") -> bytes:
        """What to append for this record; the seed of a new stretch stands before it."""
        before = b""
        if not self.seed:
            self.seed = random(SEED_SIZE)
            self._pair_index = -1
            before = frames.control([SEED, self.tree.size, self.seed])
        elif self.tree.size == self.sealed_size:
            # The append failed: the seed may not be on flash yet.
            before = frames.control([SEED, self.tree.size, self.seed])
        self._salted(record)
        size = len(record)
        if size < 256:
            # Most records: this head is two bytes.
            return (
                before
                + self.leaf[:4]
                + (bytes((0x58, size)) if size > 23 else head(2, size))
                + record
            )
        return before + self.leaf[:4] + head(2, size) + record

    def _salted(self, record: bytes) -> None:
        index = self.tree.size
        pair_index = index >> 1
        if pair_index != self._pair_index:
            self._pair = _sha256(self.seed + pair_index.to_bytes(8, "big")).digest()
            self._pair_index = pair_index
        self.salt = salt = self._pair[16:] if index & 1 else self._pair[:16]
        self.leaf = _sha256(b"\x00" + salt + record).digest()

    def added(self, record: bytes) -> None:
        """The record of the last frame() is on flash."""
        self.tree.push(self.leaf)
        self.stretch_bytes += len(record) + 3
        if record[1] == 1:
            self.claims += 1

    def path_of_next(self) -> list[bytes]:
        """The inclusion path that the next record will have in the tree that it completes."""
        # A newest leaf's left-hand siblings are the perfect subtrees before it (RFC 9162, 2.1.3).
        path = self.tree.edge[:]
        path.reverse()
        return path

    def seal(self, uptime_ms: int, wall: "tuple[int, int] | None") -> bytes:
        """The frame of a new payload over all records; raises when too many wait already."""
        if len(self.pending) >= PENDING_MAX:
            raise Unverified("key-behind", "%d checkpoints wait for the key" % PENDING_MAX)
        custody = self.custody[1] if self.custody else None
        root = self.tree.root()
        payload = Checkpoint(
            self.epoch, self.tree.size, root, self.claims, self.boot, uptime_ms, wall, None, custody
        ).payload()
        self._next = (self.ordinal + 1, payload, root)
        return frames.control([PAYLOAD, self.ordinal + 1, payload])

    def sealed(self) -> int:
        """The frame of the last seal() is on flash; its number."""
        ordinal, payload, root = self._next
        self._sealed(ordinal, payload, self.tree.size, root)
        return ordinal

    def _sealed(self, ordinal: int, payload: bytes, size: int, root: bytes) -> None:
        self.ordinal = ordinal
        self.pending.append((ordinal, payload))
        self.sealed_size = size
        self.sealed_root = root
        self.seed = b""
        self.stretch_bytes = 0

    def signature(self, ordinal: int, signature: bytes) -> bytes:
        """The frame of a signature; it must be over the oldest payload that waits."""
        return frames.control([SIGNATURE, ordinal, signature])

    def signed_one(self, ordinal: int) -> None:
        """The signature of this payload is on flash."""
        self.pending = [one for one in self.pending if one[0] > ordinal]
        self.signed = ordinal

    def header(self) -> bytes:
        """The first frame of a file that begins here: at a payload, or at the very begin."""
        return frames.control(
            [
                HEADER,
                frames.VERSION,
                self.device,
                self.epoch,
                self.tree.size,
                self.tree.edge,
                self.claims,
                self.boot,
                self.ordinal,
                self.signed,
                [list(one) for one in self.pending],
                list(self.custody) if self.custody else None,
                self.past,
            ]
        )

    def set_custody(self, to: int, digest: bytes, statement: bytes, time_ms: int) -> bytes:
        """The frame of a verified custody receipt."""
        self.custody = (to, digest, statement, time_ms)
        return frames.control([CUSTODY, to, digest, statement, time_ms])

    def set_past(self, epoch: bytes) -> bytes:
        """The frame that remembers an epoch that came before this one."""
        self.past = (self.past + [epoch])[-PAST_MAX:]
        return frames.control([PAST, epoch])

    def set_boot(self) -> bytes:
        """The frame of one boot more."""
        self.boot += 1
        return frames.control([BOOT, self.boot])


def from_header(values: "list[Any]") -> Log:
    """The log as it was when a file began; Malformed when this is no header of ours."""
    if values[0] != HEADER or values[1] != frames.VERSION:
        raise Malformed("bad-value", "the journal's header is none of this version")
    log = Log(values[2], values[3])
    log.tree = Tree(values[4], values[5])
    log.claims, log.boot, log.ordinal, log.signed = values[6:10]
    log.pending = [(one[0], one[1]) for one in values[10]]
    log.custody = tuple(values[11]) if values[11] else None
    log.past = values[12]
    log.sealed_size = log.tree.size
    log.sealed_root = log.tree.root() if log.tree.size else b""
    return log


def replay_record(log: Log, check: bytes, record: bytes) -> None:
    """A record that was found on flash; Malformed when it is not what was written there."""
    if not log.seed:
        raise Malformed("bad-value", "the journal has a record without its seed")
    log._salted(record)
    if log.leaf[:4] != check or len(record) < 2:
        raise Malformed("bad-value", "the journal is damaged in record %d" % log.tree.size)
    log.added(record)


def replay_control(log: Log, values: "list[Any]") -> None:
    """A frame of ours that was found on flash; Malformed when it does not follow."""
    kind = values[0]
    if kind == SEED:
        if values[1] != log.tree.size or log.unsealed:
            raise Malformed("bad-value", "the journal's seed stands at a wrong place")
        log.seed = values[2]
        log._pair_index = -1
    elif kind == PAYLOAD:
        _replay_payload(log, values[1], values[2])
    elif kind == SIGNATURE:
        log.signed_one(values[1])
    elif kind == CUSTODY:
        log.custody = (values[1], values[2], values[3], values[4])
    elif kind == PAST:
        log.set_past(values[1])
    elif kind == BOOT:
        log.boot = values[1]
    else:
        raise Malformed("unknown-kind", "the journal has a frame that this version does not know")


def _replay_payload(log: Log, ordinal: int, payload: bytes) -> None:
    from tallystick.evidence.cbor import decode  # noqa: PLC0415  # at boot only

    values = decode(payload)
    root = log.tree.root()
    if ordinal <= log.ordinal or values[2] != log.tree.size or values[3] != root:
        raise Malformed("bad-root", "a payload of the journal does not fit its records")
    log._sealed(ordinal, payload, log.tree.size, root)
