# MicroPython only
# Between umqtt, which reads and writes whole packets, and a socket that never waits.


class Packet:
    """What umqtt takes for its socket: one packet that came, and what it answers."""

    def __init__(self) -> None:
        self.out = bytearray()
        self._data = b""
        self._at = 0

    def load(self, data: bytes) -> None:
        """A packet came."""
        self._data = data
        self._at = 0

    def read(self, size: int) -> bytes:
        """As a socket's; OSError when the packet ends too early."""
        data = bytes(memoryview(self._data)[self._at : self._at + size])
        if len(data) != size:
            raise OSError("a packet that ends too early")
        self._at += size
        return data

    def write(self, data: bytes, size: int | None = None) -> None:
        """As a socket's, to be sent when it is time."""
        self.out += data if size is None else data[:size]

    def setblocking(self, blocking: bool) -> None:  # noqa: FBT001  # umqtt's call
        """It never waits."""
