# The board's surroundings: its key and counter, the gateway and the records' author are on the
# host, behind this process's standard input and error output, so that they survive its power cuts.
# Runs on MicroPython.

import sys

from tallystick.evidence.cbor import decode, encode
from tallystick.evidence.errors import KeyDriverError, TransportError, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.recorder.memory_uplink import MemoryUplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from powercut.flash import Flash

HEAD = 9
NEVER = 1 << 30


class PowerCut(BaseException):
    """Nothing after this happened."""


class Host:
    """Frames: a letter, the number of flash operations before it (4 bytes), a length, bytes."""

    def __init__(self) -> None:
        self._in = sys.stdin.buffer
        # Standard output is MicroPython's own, where it says what closing a lost file raised.
        self._out = sys.stderr.buffer
        self.flash: "Flash | None" = None

    def tell(self, kind: str, data: bytes = b"") -> None:
        """A thing that happened."""
        self.check_power()
        count = self.flash.count if self.flash is not None else 0
        head = kind.encode() + count.to_bytes(4, "big") + len(data).to_bytes(4, "big")
        self._out.write(head + data)

    def check_power(self) -> None:
        """Whatever a program without power does next, nobody sees it."""
        # Not raised in the flash itself, whose caller LittleFS is no Python.
        if self.flash is not None and self.flash.off:
            raise PowerCut

    def ask(self, kind: str, data: bytes = b"") -> bytes:
        """A thing that happened, and what came of it."""
        self.tell(kind, data)
        return self.take()

    def take(self) -> bytes:
        """What the host says."""
        size = int.from_bytes(self._in.read(4), "big")
        return self._in.read(size)


class Faults:
    """Counts what is asked of the key and its counter; some of it fails."""

    def __init__(self) -> None:
        self.count = 0
        self.fails = (NEVER, NEVER)
        self.slow_polls = 0

    def step(self) -> None:
        self.count += 1
        if self.fails[0] <= self.count < self.fails[1]:
            raise KeyDriverError("no-answer", "the chip does not answer")


class HostKey:
    """A P-256 key that signs, checks and counts, as a chip does; each signature is another one."""

    custody = "secure-element"
    waits = 0
    alg = -7

    def __init__(self, host: Host, raw: bytes, faults: Faults) -> None:
        self.host = host
        self.faults = faults
        self._raw = raw
        self._message: bytes | None = None
        self._polls = 0

    def public_key(self) -> PublicKey:
        self.faults.step()
        return PublicKey(-7, self._raw)

    def begin(self, message: bytes) -> None:
        self.faults.step()
        self._message = message
        self._polls = 0

    def poll(self) -> bool:
        self._polls += 1
        if self._polls <= self.faults.slow_polls:
            return False
        self.faults.step()
        return True

    def signature(self) -> bytes:
        self.faults.step()
        message, self._message = self._message, None
        if message is None:
            raise KeyDriverError("not-ready", "nothing is signed")
        return self.host.ask("s", message)

    def verifier(self, key: PublicKey, signature: bytes, message: bytes) -> "Check":
        self.faults.step()
        return Check(self.host, encode([key.alg, key.raw, signature, message]))

    def counter(self) -> "HostCounter":
        return HostCounter(self.host, self.faults)

    def close(self) -> None:
        pass


class Check:
    """A signature that the chip checks."""

    def __init__(self, host: Host, question: bytes) -> None:
        self._host = host
        self._question = question

    def step(self) -> bool:
        if self._host.ask("v", self._question) != b"\x01":
            raise Unverified("bad-signature", "the chip says no")
        return True


class HostCounter:
    """The chip's counter."""

    limit = 2097151

    def __init__(self, host: Host, faults: Faults) -> None:
        self.host = host
        self.faults = faults
        self._new = 0

    def read(self) -> int:
        self.faults.step()
        return int(self.host.ask("c", b"r"))

    def reader(self) -> "Any":
        return None

    def begin(self) -> None:
        self.faults.step()

    def poll(self) -> bool:
        self.faults.step()
        self._new = int(self.host.ask("c", b"+"))
        return True

    def value(self) -> int:
        self.faults.step()
        return self._new


class HostUplink(MemoryUplink):
    """What is published reaches the gateway at once, and its answers wait to be received."""

    def __init__(self, host: Host, plugged: bool) -> None:
        super().__init__(plugged)
        self.host = host

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        if not self.connected:
            raise TransportError("no-link", "the cable is not plugged in")
        message = b"".join(pieces)
        if len(message) != size:
            raise TransportError("wrong-size", "%d bytes, not %d" % (len(message), size))
        for answer in decode(self.host.ask("u", message)):
            self.deliver(answer)
        return True


class Clock:
    """A millisecond passes at each question; the script lets minutes pass."""

    def __init__(self, host: Host, wall_ms: "int | None" = 1790000000000) -> None:
        self.host = host
        self.now = 0
        self.wall_ms = wall_ms

    def uptime_ms(self) -> int:
        self.host.check_power()
        self.now += 1
        return self.now

    def wall(self) -> "tuple[int, int] | None":
        return None if self.wall_ms is None else (self.wall_ms + self.now, 1000)
