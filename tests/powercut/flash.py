# A NOR flash in memory for VfsLfs2: it counts each program and each erase, writes them down, and
# fails, tears or dies where it is told.  Runs on MicroPython.

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

EIO = 5
# For LittleFS a bad block, in place of which it takes another one.
EILSEQ = 84
ERASE = 0xFFFF
FOREVER = 1 << 30
# Operations of a script lie one behind another in a file: block, offset, length, bytes.
HEAD = 6


class Flash:
    """The extended block protocol, so that LittleFS programs pieces of a block."""

    def __init__(self, block: int, data: bytearray) -> None:
        self.block = block
        self.data = data
        self._view = memoryview(data)
        # Programs and erases so far, and where they are written down.
        self.count = 0
        self.log: "BinaryIO | None" = None
        # Operations that fail, from and to. They return the error: what a driver in Python raises
        # leaves LittleFS in the middle of its work, and MicroPython 1.25 then crashed.
        self.fails = (FOREVER, FOREVER)
        self.error = EIO
        # The operation in which the power goes; nothing works after it.
        self.dies_at = FOREVER
        self.off = False

    def leave(self) -> None:
        """The next life has these bytes; what closes a file of this one later writes elsewhere."""
        # As MicroPython does when it collects a file, and prints what that raises.
        self.data = bytearray(self.data)
        self._view = memoryview(self.data)
        self.fails = (FOREVER, FOREVER)
        self.dies_at = FOREVER
        self.log = None
        self.off = False

    def readblocks(self, number: int, buffer: "memoryview", offset: int = 0) -> int:
        if self.off:
            return -EIO
        at = number * self.block + offset
        buffer[:] = self._view[at : at + len(buffer)]
        return 0

    def writeblocks(self, number: int, buffer: "memoryview", offset: int = 0) -> int:
        at = number * self.block + offset
        if self._fails():
            # A part of it was done.
            half = len(buffer) // 2
            self._view[at : at + half] = buffer[:half]
            return -self.error
        if self.log is not None:
            self._note(number, offset, len(buffer))
            self.log.write(buffer)
        self._view[at : at + len(buffer)] = buffer
        return 0

    def ioctl(self, operation: int, argument: int) -> int:
        if operation == 4:
            return len(self.data) // self.block
        if operation == 5:
            return self.block
        if operation == 6:
            if self._fails():
                return -self.error
            if self.log is not None:
                self._note(argument, ERASE, 0)
            erase(self._view, argument * self.block, self.block)
        return 0

    def _note(self, number: int, offset: int, size: int) -> None:
        for value in (number, offset, size):
            self.log.write(value.to_bytes(2, "big"))  # type: ignore[union-attr]  # looked at

    def _fails(self) -> bool:
        if self.off:
            return True
        self.count += 1
        if self.count == self.dies_at:
            self.off = True
        return self.off or self.fails[0] <= self.count < self.fails[1]


def erase(view: memoryview, at: int, size: int) -> None:
    view[at : at + size] = b"\xff" * size


def read_operations(path: str) -> "Iterator[tuple[int, int, bytes]]":
    """(block, offset, bytes) of each operation; the offset of an erase is ERASE."""
    with open(path, "rb") as file:
        while True:
            head = file.read(HEAD)
            if not head:
                return
            size = int.from_bytes(head[4:], "big")
            yield (
                int.from_bytes(head[:2], "big"),
                int.from_bytes(head[2:4], "big"),
                file.read(size),
            )


def apply(view: memoryview, block: int, operation: "tuple[int, int, bytes]") -> None:
    """What the flash does."""
    number, offset, data = operation
    if offset == ERASE:
        erase(view, number * block, block)
    else:
        at = number * block + offset
        view[at : at + len(data)] = data


def tear(view: memoryview, block: int, operation: "tuple[int, int, bytes]", noise: bool) -> None:
    """Half of what the flash does; of the rest nothing, or rubbish."""
    number, offset, data = operation
    at = number * block
    size = block
    if offset != ERASE:
        at += offset
        size = len(data)
    half = size // 2
    if offset == ERASE:
        erase(view, at, half)
    else:
        view[at : at + half] = data[:half]
    if noise:
        for place in range(half, size):
            view[at + place] = (place * 37 + at * 11 + 5) & 0xFF
