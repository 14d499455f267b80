# A device's own log as a state machine: records in, frames and checkpoint payloads out.  It does no
# I/O: who calls it writes the frame first and says `added` afterwards, so that a failing flash
# leaves the tree as it was.

from hashlib import sha256 as _sha256

from tallystick.evidence.cbor import encode, head
from tallystick.evidence.errors import Unverified
from tallystick.evidence.kinds import CHECKPOINT
from tallystick.evidence.tree import Tree
from tallystick.recorder import frames
from tallystick.recorder.frames import PAYLOAD, SEED, SIGNATURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

SEED_SIZE = 32
PENDING_MAX = 64
# A stretch must fit a segment (docs/protocol.md, 1.6), whatever the signer does: 245,760 bytes of
# the 262,144 are for records, and a record counts as 64 at least, so 3,840 of the 4,096 items.
STRETCH_ROOM = 245760
RECORD_ROOM = 64
# 64 raises of the hardware counter.
CREDIT_MS_MAX = 57600000


class Log:
    """One epoch: tree, seed of the stretch, payloads that wait for their signatures."""

    # Gateways' holds: [kid, serial number, until_ms or 0]; of one gateway the last counts.  Of the
    # class, since most logs have none.
    holds: "list[Any] | tuple[()]" = ()

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
        # [from, to): where indexes without a record may lie, in this journal or when it was sent.
        self.hollow: "list[int]" = []
        # The last file and level of which is noted what it gives up, and what no `gap` event tells
        # yet: first, to, and the numbers of decisions, claims, events and accepted halves.
        self.told: "list[int]" = []
        self.untold: "list[int]" = []
        # After a rotation: [number of the first payload, hint of the key that signs it], in order.
        self.keys: "list[Any]" = []
        # The hardware counter (recorder/counting.py): its value, the value up to which the journal
        # allows it to be raised, and the uptime that was saved up for raises, up to when.
        self.counter: int | None = None
        self.intent: int | None = None
        self.credit_ms = 0
        self.credited_ms = 0
        # Begun by this process, so no image of it can have been put back.
        self.fresh = False
        self.seed = b""
        self.room_max = self.stretch_room = STRETCH_ROOM
        self._pair = b""
        self._pair_index = -1
        self.leaf = b""
        self.salt = b""

    @property
    def unsealed(self) -> int:
        """Records that no payload covers."""
        return self.tree.size - self.sealed_size

    def frame(self, record: bytes, random: "Callable[[int], bytes]") -> bytes:
        """What to append for this record; the seed of a new stretch stands before it."""
        return self.front(record, random) + record

    def front(self, record: bytes, random: "Callable[[int], bytes]") -> bytes:
        """The frame without the record, for who has no room for both in one piece."""
        index = self.tree.size
        before = b""
        if index == self.sealed_size:
            if not self.seed:
                self.seed = random(SEED_SIZE)
            # Also where the first append failed: the seed may not be on flash yet.
            before = frames.control([SEED, index, self.seed])
            self._pair_index = -1
        pair_index = index >> 1
        if pair_index == self._pair_index:
            pair = self._pair
        else:
            pair = _sha256(self.seed + pair_index.to_bytes(8, "big")).digest()
            self._pair = pair
            self._pair_index = pair_index
        # In parts: a copy of the record would cost more than two calls.
        state = _sha256(b"\x00")
        salt = pair[16:] if index & 1 else pair[:16]
        state.update(salt)
        state.update(record)
        self.salt = salt
        self.leaf = leaf = state.digest()
        size = len(record)
        if 23 < size < 256:
            # Most records: this head is two bytes.
            return before + leaf[:4] + bytes((0x58, size))
        return before + leaf[:4] + head(2, size)

    def added(self, record: bytes) -> int:
        """The record of the last frame() is on flash; how many no payload covers now."""
        tree = self.tree
        tree.push(self.leaf)
        size = len(record)
        self.stretch_room -= size if size > RECORD_ROOM else RECORD_ROOM
        if record[1] == 1:
            self.claims += 1
        return tree.size - self.sealed_size

    def seal(self, uptime_ms: int, wall: "tuple[int, int] | None") -> bytes:
        """The frame of a new payload over all records; raises when too many wait already."""
        if len(self.pending) >= PENDING_MAX:
            raise Unverified("key-behind", "%d checkpoints wait for the key" % PENDING_MAX)
        custody = self.custody[1] if self.custody else None
        root = self.tree.root()
        # The array of evidence/checkpoint.py, whose import would load what verifies statements.
        payload = encode(
            [
                CHECKPOINT,
                self.epoch,
                self.tree.size,
                root,
                self.claims,
                self.boot,
                uptime_ms,
                wall and list(wall),
                self.counter,
                custody,
            ]
        )
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
        self.stretch_room = self.room_max

    def passed(self, uptime_ms: int) -> None:
        """Save up this boot's uptime for raises of the counter."""
        if uptime_ms > self.credited_ms:
            credit_ms = self.credit_ms + uptime_ms - self.credited_ms
            self.credit_ms = min(credit_ms, CREDIT_MS_MAX)
            self.credited_ms = uptime_ms

    def signature(self, ordinal: int, signature: bytes) -> bytes:
        """The frame of a signature; it must be over the oldest payload that waits."""
        return frames.control([SIGNATURE, ordinal, signature])

    def signed_one(self, ordinal: int) -> None:
        """The signature of this payload is on flash."""
        self.pending = [one for one in self.pending if one[0] > ordinal]
        self.signed = ordinal


class Forms:
    """What stands around the payload in a checkpoint; made once, by evidence/statement.py."""

    def __init__(self, to_be_signed: bytes, signed: bytes, signature_head: bytes) -> None:
        self._to_be_signed = to_be_signed
        self._signed = signed
        self._signature_head = signature_head

    def to_be_signed(self, payload: bytes) -> bytes:
        """What the key signs."""
        return self._to_be_signed + head(2, len(payload)) + payload

    def checkpoint(self, payload: bytes, signature: bytes, ordinal: int = 0) -> bytes:  # noqa: ARG002  # see rekeying.py
        """The signed checkpoint; `ordinal` says by which key, where there was more than one."""
        return self._signed + head(2, len(payload)) + payload + self._signature_head + signature
