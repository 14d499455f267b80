# CPython only
"""A recorder between a driver and its bus: every transfer, byte by byte."""

from typing import Any


class Tap:
    """A bus with the methods of machine.I2C that writes down what goes over it.

    transfers: ("W", address, bytes sent), ("R", address, bytes read), and the same with "W!" or
    "R!" where nobody acknowledged.
    """

    def __init__(self, bus: "Any") -> None:
        self.bus = bus
        self.transfers: "list[tuple[str, int, bytes]]" = []

    def scan(self) -> "list[int]":
        """The bus's own answer; not recorded, since it asks every address."""
        found: "list[int]" = self.bus.scan()
        return found

    def writeto(self, address: int, data: bytes, stop: bool = True) -> int:  # noqa: FBT001, FBT002
        """Pass on, and record."""
        try:
            sent: int = self.bus.writeto(address, data, stop)
        except OSError:
            self.transfers.append(("W!", address, bytes(data)))
            raise
        self.transfers.append(("W", address, bytes(data)))
        return sent

    def readfrom(self, address: int, size: int, stop: bool = True) -> bytes:  # noqa: FBT001, FBT002
        """Pass on, and record."""
        try:
            found: bytes = self.bus.readfrom(address, size, stop)
        except OSError:
            self.transfers.append(("R!", address, b""))
            raise
        self.transfers.append(("R", address, found))
        return found

    def readfrom_into(self, address: int, buffer: bytearray, stop: bool = True) -> None:  # noqa: FBT001, FBT002
        """Pass on, and record."""
        buffer[:] = self.readfrom(address, len(buffer), stop)

    def packets(self) -> "list[bytes]":
        """The command packets that the chip took, count to CRC; then the record starts anew."""
        taken = [
            data[1:] for kind, _, data in self.transfers if kind == "W" and data[:1] == b"\x03"
        ]
        self.transfers.clear()
        return taken
