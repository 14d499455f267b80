"""A bus elsewhere: I2C transfers over TCP to a virtual chip, with machine.I2C's methods."""

# The other end is `tally chip serve` (virtual_atecc608/server.py).
# Request: operation, address, size (two bytes, big-endian), then the bytes to write.
# Answer: status, size (two bytes), then the bytes that were read.

import socket

from tallystick.evidence.errors import KeyDriverError

WRITE, READ, SCAN, LOCK, UNLOCK = 1, 2, 3, 4, 5
DONE, NACK, TAKEN = 0, 1, 2
TRANSFER_BYTES_MAX = 256
TIMEOUT_S = 5
# As machine.I2C and Linux say them.
EIO, EBUSY, ECONNRESET = 5, 16, 104


class TcpI2C:
    """One connection; lost, it is made anew by the next transfer."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self._socket: "socket.socket | None" = None
        try:
            self._connect()
        except OSError as error:
            raise KeyDriverError(
                "no-bus",
                "no virtual chip is served at %s:%d (%s); start one: tally chip serve"
                % (host, port, error),
            )

    def _connect(self) -> "socket.socket":
        family, kind, _, _, place = socket.getaddrinfo(
            self._place[0], self._place[1], 0, socket.SOCK_STREAM
        )[0]
        made = socket.socket(family, kind)
        try:
            made.settimeout(TIMEOUT_S)
            made.connect(place)
        except OSError:
            made.close()
            raise
        self._socket = made
        return made

    def _ask(self, operation: int, address: int, size: int, data: bytes = b"") -> bytes:
        if size > TRANSFER_BYTES_MAX:
            raise ValueError("a transfer has at most %d bytes" % TRANSFER_BYTES_MAX)
        link = self._socket or self._connect()
        head = bytes((operation, address)) + size.to_bytes(2, "big")
        try:
            self._send(link, head + data)
            status, high, low = self._read(link, 3)
            found = self._read(link, high << 8 | low)
        except OSError:
            self.close()
            raise
        if status:
            raise OSError(EBUSY if status == TAKEN else EIO)
        return found

    def _send(self, link: "socket.socket", data: bytes) -> None:
        while data:
            data = data[link.send(data) :]

    def _read(self, link: "socket.socket", size: int) -> bytes:
        if size > TRANSFER_BYTES_MAX:
            raise OSError(EIO)
        data = b""
        while len(data) < size:
            more = link.recv(size - len(data))
            if not more:
                raise OSError(ECONNRESET)
            data += more
        return data

    def writeto(self, address: int, data: bytes, stop: bool = True) -> int:  # noqa: ARG002, FBT001, FBT002  # as machine.I2C
        """Write; OSError when nobody acknowledges."""
        self._ask(WRITE, address, len(data), bytes(data))
        return len(data)

    def readfrom(self, address: int, size: int, stop: bool = True) -> bytes:  # noqa: ARG002, FBT001, FBT002  # as machine.I2C
        """Read so many bytes; OSError when nobody acknowledges."""
        data = self._ask(READ, address, size)
        if len(data) != size:
            raise OSError(EIO)
        return data

    def readfrom_into(self, address: int, buffer: bytearray, stop: bool = True) -> None:  # noqa: FBT001, FBT002  # as machine.I2C
        """As readfrom, into `buffer`."""
        buffer[:] = self.readfrom(address, len(buffer), stop)

    def scan(self) -> "list[int]":
        """The addresses that answer."""
        return list(self._ask(SCAN, 0, 0))

    def lock(self) -> bool:
        """Whether this connection has the bus for itself now; for 10 s at most."""
        try:
            self._ask(LOCK, 0, 0)
        except OSError as error:
            if error.args and error.args[0] == EBUSY:
                return False
            raise
        return True

    def unlock(self) -> None:
        """Let others have it; a lost connection has let go already."""
        if self._socket is not None:
            try:
                self._ask(UNLOCK, 0, 0)
            except OSError:
                pass

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
