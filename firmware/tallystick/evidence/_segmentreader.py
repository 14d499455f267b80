# Reads the bytes of a segment (docs/protocol.md, 3.2), strictly and fast.  By hand, not by
# cbor.decode: its shape is fixed, and its items are what the hot path touches.

from tallystick.evidence.cbor import read_head
from tallystick.evidence.errors import Malformed
from tallystick.evidence.limits import (
    CHECKPOINT_BYTES_MAX,
    PATH_HASHES_MAX,
    RECORD_BYTES_MAX,
    SEGMENT_ITEMS_MAX,
)

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    Item = bytes | tuple[int, bytes]
    Secret = bytes | list[bytes] | None

SEED_SIZE = 32
SALT_SIZE = 16
LEVEL_MAX = 62


class Reader:
    # A cursor that accepts deterministic CBOR only.

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def argument(self, major: int, most: int) -> int:
        got, value, self.pos = read_head(self.data, self.pos)
        if got != major:
            raise Malformed("bad-type", "segment: another type at byte %d" % self.pos)
        if value > most:
            raise Malformed("too-large", "segment: a limit is passed at byte %d" % self.pos)
        return value

    def octets(self, most: int, exactly: int | None = None) -> bytes:
        size = self.argument(2, most)
        if exactly is not None and size != exactly:
            raise Malformed("bad-value", "segment: a string of wrong size at byte %d" % self.pos)
        begin = self.pos
        self.pos = begin + size
        if self.pos > len(self.data):
            raise Malformed("truncated", "segment: the data ends in a string")
        return self.data[begin : self.pos]

    def count(self, exactly: int) -> None:
        if self.argument(4, 2**63) != exactly:
            raise Malformed("bad-type", "segment: an array of wrong length at byte %d" % self.pos)

    def null(self) -> bool:
        if self.pos < len(self.data) and self.data[self.pos] == 0xF6:
            self.pos += 1
            return True
        return False

    def edge(self) -> "tuple[bytes, list[bytes]] | None":
        if self.null():
            return None
        self.count(2)
        signed = self.octets(CHECKPOINT_BYTES_MAX)
        hashes = self.argument(4, PATH_HASHES_MAX)
        return signed, [self.octets(32, 32) for _ in range(hashes)]

    def items(self, count: int) -> "tuple[list[Item], int]":
        data = self.data
        pos = self.pos
        items: list[Item] = []
        elided = 0
        for _ in range(count):
            first = data[pos]
            # The two commonest heads, one and two bytes of length, are read in place.
            if first == 0x58:
                begin = pos + 2
                size = data[pos + 1]
                if size < 24:
                    raise Malformed("non-canonical", "segment: a length longer than needed")
                pos = begin + size
                items.append(data[begin:pos])
            elif first == 0x82:
                self.pos = pos + 1
                level = self.argument(0, LEVEL_MAX)
                items.append((level, self.octets(32, 32)))
                elided += 1
                pos = self.pos
            else:
                self.pos = pos
                items.append(self.octets(RECORD_BYTES_MAX))
                pos = self.pos
        # What is cut off is found when the secret is read, beyond the end.
        self.pos = pos
        return items, elided

    def secret(self) -> "Secret":
        if self.null():
            return None
        if self.pos < len(self.data) and self.data[self.pos] >> 5 == 4:
            count = self.argument(4, SEGMENT_ITEMS_MAX)
            return [self.octets(SALT_SIZE, SALT_SIZE) for _ in range(count)]
        return self.octets(SEED_SIZE, SEED_SIZE)

    def stretch(self) -> "tuple[list[Item], Secret, bytes, int]":
        self.count(3)
        items, elided = self.items(self.argument(4, SEGMENT_ITEMS_MAX))
        secret = self.secret()
        return items, secret, self.octets(CHECKPOINT_BYTES_MAX), elided
