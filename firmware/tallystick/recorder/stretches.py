# Reading stretches back: what to send, and what was signed at a size.  Segments are streamed from
# flash and never assembled in memory.

from tallystick.evidence import segmentwriter as writer
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Malformed
from tallystick.recorder.files import BLOCK
from tallystick.recorder.frames import (
    CONTROL_MAJOR,
    HEADER,
    LEAF,
    PAYLOAD,
    RECORD_MAJOR,
    SEED,
    SIGNATURE,
    SUBTREE,
)
from tallystick.recorder.journal import Journal
from tallystick.recorder.walking import Walker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from typing import Any

    Position = tuple[int, int]

FRAMES_PER_STEP = 32


class Stretch:
    """One stretch of the journal, found whole: its records lie in file `number`."""

    def __init__(self, number: int, at: int, first: int) -> None:
        self.number = number
        self.at = at
        self.end = at
        self.first = first
        # Leaves; the items that stand for them, and those of them that are records.
        self.count = 0
        self.items = 0
        self.records = 0
        self.items_bytes = 0
        self.seed: bytes | None = None
        self.ordinal = 0
        self.payload = b""

    @property
    def to(self) -> int:
        """The size that its checkpoint signs."""
        return self.first + self.count


def read_stretch(
    journal: Journal, position: "Position", first: int
) -> "Generator[None, None, Stretch | None]":
    """The stretch that begins at `position` (file number, byte); None when it is not sealed.

    In steps, as what follows: each yields after so many frames.
    """
    for file in journal.list[:]:
        if file.number < position[0]:
            continue
        at = position[1] if file.number == position[0] else 0
        stretch = Stretch(file.number, at, first)
        walker = Walker(journal.files, file.name, at)
        try:
            if (yield from _read(walker, stretch)):
                return stretch
        finally:
            walker.close()
        if stretch.count:
            break
    return None


def _read(walker: Walker, stretch: Stretch) -> "Generator[None, None, bool]":
    steps = 0
    while True:
        frame = walker.next()
        if frame is None:
            return False
        steps += 1
        if steps % FRAMES_PER_STEP == 0:
            yield
        if frame.major == RECORD_MAJOR:
            stretch.count += 1
            stretch.items += 1
            stretch.records += 1
            stretch.items_bytes += frame.end - frame.at - 4
            continue
        values = walker.values(frame)
        if values[0] in (LEAF, SUBTREE):
            level, node = elided(values)
            stretch.count += 1 << level
            stretch.items += 1
            stretch.items_bytes += len(writer.elided_item(level, node))
        elif values[0] == SEED:
            stretch.seed = values[2]
        elif values[0] == PAYLOAD:
            stretch.ordinal = values[1]
            stretch.payload = values[2]
            stretch.end = walker.at
            return True


def elided(values: "list[Any]") -> "tuple[int, bytes]":
    """(level, hash) of a leaf frame or a subtree frame."""
    return (0, values[1]) if values[0] == LEAF else (values[1], values[2])


def read_signature(
    journal: Journal, number: int, at: int, ordinal: int
) -> "Generator[None, None, bytes]":
    """The signature of a payload; it lies behind it, in its file or a later one."""
    steps = 0
    for file in journal.list[:]:
        if file.number < number:
            continue
        walker = Walker(journal.files, file.name, at if file.number == number else 0)
        try:
            while True:
                frame = walker.next()
                if frame is None:
                    break
                steps += 1
                if steps % FRAMES_PER_STEP == 0:
                    yield
                if frame.major == CONTROL_MAJOR:
                    values = walker.values(frame)
                    if values[0] == SIGNATURE and values[1] == ordinal:
                        signature: bytes = values[2]
                        return signature
        finally:
            walker.close()
    raise Malformed("truncated", "the journal has no signature of checkpoint %d" % ordinal)


def read_edge(
    journal: Journal, number: int
) -> "Generator[None, None, tuple[int, bytes, bytes, list[bytes]]]":
    """Of a file that begins at a payload: ordinal, payload, signature, edge."""
    for file in journal.list:
        if file.number == number:
            walker = Walker(journal.files, file.name)
            try:
                frame = walker.next()
                values: "list[Any]" = walker.values(frame) if frame is not None else []
            finally:
                walker.close()
            if not values or values[0] != HEADER or not values[10]:
                break
            # The newest payload that waited is the one at which the file begins.
            ordinal, payload = values[10][-1]
            signature = yield from read_signature(journal, number, 0, ordinal)
            return ordinal, payload, signature, values[5]
    raise Malformed("bad-edge", "the journal has no edge for its oldest index")


class Outgoing:
    """A segment of one stretch: its size, and its bytes piece by piece."""

    def __init__(
        self,
        journal: Journal,
        stretch: Stretch,
        device: bytes,
        epoch: bytes,
        edge: "tuple[bytes, list[bytes]] | None",
        checkpoint: bytes,
    ) -> None:
        self._journal = journal
        self._stretch = stretch
        before = writer.open_bytes(device, epoch, stretch.first, edge, 1)
        self._before = before + writer.stretch_head(stretch.items)
        self._after = writer.stretch_tail(stretch.seed if stretch.records else None, checkpoint)
        self.size = len(self._before) + stretch.items_bytes + len(self._after)
        # Told of what reading the flash raises, for the link takes it for its own.
        self.failed: "Callable[[Exception], None] | None" = None

    def pieces(self) -> "Iterator[bytes]":
        """In order; a record longer than a block comes in several."""
        yield self._before
        stretch = self._stretch
        if stretch.items:
            try:
                yield from self._items(stretch)
            except Exception as error:
                if self.failed is not None:
                    self.failed(error)
                raise
        yield self._after

    def _items(self, stretch: Stretch) -> "Iterator[bytes]":
        name = ""
        for file in self._journal.list:
            if file.number == stretch.number:
                name = file.name
        walker = Walker(self._journal.files, name, stretch.at)
        try:
            while walker.at < stretch.end:
                frame = walker.next()
                if frame is None:
                    break
                if frame.major == RECORD_MAJOR:
                    # Check aside, the frame is the item.
                    yield from walker.pieces(frame.at + 4, frame.end, BLOCK)
                    continue
                values = walker.values(frame)
                if values[0] in (LEAF, SUBTREE):
                    yield writer.elided_item(*elided(values))
        finally:
            walker.close()


def root_at(journal: Journal, epoch: bytes, size: int) -> "Iterator[bytes | None]":
    """Looks for the root of the payload of this size, in steps: yields None until the last one.

    The last yield is the root, or b"" when no payload of that size is here.
    """
    steps = 0
    for file in journal.list[:]:
        if file.epoch != epoch:
            continue
        walker = Walker(journal.files, file.name)
        try:
            while True:
                frame = walker.next()
                if frame is None:
                    break
                steps += 1
                if steps % FRAMES_PER_STEP == 0:
                    yield None
                if frame.major == CONTROL_MAJOR:
                    root = _root_in(walker.values(frame), size)
                    if root:
                        yield root
                        return
        finally:
            walker.close()
    yield b""


def _root_in(values: "list[Any]", size: int) -> bytes:
    # Payloads stand in frames of their own, and those that waited also in the next file's header.
    payloads = [values[2]] if values[0] == PAYLOAD else []
    if values[0] == HEADER:
        payloads = [one[1] for one in values[10]]
    for payload in payloads:
        fields = decode(payload)
        if fields[2] == size:
            root: bytes = fields[3]
            return root
    return b""
