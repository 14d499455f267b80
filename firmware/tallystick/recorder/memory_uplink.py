"""An uplink in memory: two queues, and a cable that can be pulled."""

from tallystick.evidence.errors import TransportError
from tallystick.recorder.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

QUEUE_MESSAGES_MAX = 4096


class MemoryUplink(Uplink):
    """`up`: what the device sent, to be taken; `deliver()`: what it shall receive."""

    def __init__(self, plugged: bool = True) -> None:  # noqa: FBT001, FBT002
        self.connected = False
        self.plugged = plugged
        self.session = 0
        self.up: list[bytes] = []
        self.down: list[bytes] = []

    def connect(self) -> None:
        if not self.plugged:
            raise TransportError("no-link", "the cable is not plugged in")
        if not self.connected:
            self.connected = True
            self.session += 1

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        if not self.connected:
            raise TransportError("no-link", "the cable is not plugged in")
        if len(self.up) >= QUEUE_MESSAGES_MAX:
            return False
        message = b"".join(pieces)
        if len(message) != size:
            raise TransportError("wrong-size", "%d bytes, not %d" % (len(message), size))
        if self.bucket is not None:
            self.bucket.take(size)
        self.up.append(message)
        return True

    def receive(self) -> bytes | None:
        return self.down.pop(0) if self.connected and self.down else None

    def close(self) -> None:
        self.connected = False

    def plug(self) -> None:
        """Links again at the next connect()."""
        self.plugged = True

    def pull(self) -> None:
        """Cut the link; what waits is lost, as on a real one."""
        self.plugged = False
        self.connected = False
        self.down.clear()

    def deliver(self, message: bytes) -> None:
        """To the device."""
        if len(self.down) < QUEUE_MESSAGES_MAX:
            self.down.append(message)

    def take(self) -> list[bytes]:
        """All that the device sent since the last time."""
        taken, self.up = self.up, []
        return taken
