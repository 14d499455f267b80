# MicroPython only
# Ports that never wait: a UART, the terminal that USB carries, or a path (on a computer).

import select
import sys

from tallystick.evidence.errors import TransportError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UART_BYTES = 512
# Less than a terminal that has room for something takes at once.
CHUNK_BYTES = 64
CTRL_C = 3


class Stream:
    # Byte by byte, for read(n) of a stream waits for n bytes, and MicroPython's poll tells of one.

    def __init__(self, source: "Any", sink: "Any", owned: "Any") -> None:
        self._source = source
        self._sink = sink
        self._owned = owned
        self._in = select.poll()
        self._in.register(source, select.POLLIN)
        self._out = select.poll()
        self._out.register(sink, select.POLLOUT)

    def read(self, size: int) -> bytes:
        out = bytearray()
        while len(out) < size and self._in.poll(0):
            data = self._source.read(1)
            if not data:
                raise OSError("the port is gone")
            out += data
        return bytes(out)

    def write(self, data: bytes) -> int:
        return self._sink.write(data[:CHUNK_BYTES]) or 0 if self._out.poll(0) else 0

    def close(self) -> None:
        if self._owned is not None:
            self._owned.close()
        else:
            _interrupt(CTRL_C)


class Uart:
    def __init__(self, named: "dict[str, Any]") -> None:
        from machine import UART  # noqa: PLC0415  # a board's

        pins = {}
        if "tx" in named:
            from machine import Pin  # noqa: PLC0415  # as above

            pins = {"tx": Pin(named["tx"]), "rx": Pin(named["rx"])}
        self._uart = UART(
            named["uart"],
            named["baud"],
            timeout=0,
            rxbuf=UART_BYTES,
            txbuf=UART_BYTES,
            **pins,
        )

    def read(self, size: int) -> bytes:
        waiting = self._uart.any()
        return self._uart.read(min(size, waiting)) or b"" if waiting else b""

    def write(self, data: bytes) -> int:
        return self._uart.write(data) or 0

    def close(self) -> None:
        self._uart.deinit()


def _interrupt(char: int) -> None:
    # A frame may hold Ctrl-C, which would end the program.
    import micropython  # noqa: PLC0415  # here only

    if hasattr(micropython, "kbd_intr"):
        micropython.kbd_intr(char)


def open_port(named: "dict[str, Any]") -> "Any":
    """The port of an uplink's URI."""
    if "uart" in named:
        return Uart(named)
    if "stdio" in named:
        _interrupt(-1)
        return Stream(sys.stdin.buffer, sys.stdout.buffer, None)
    try:
        file = open(named["path"], "r+b", 0)  # noqa: SIM115  # until close()
    except OSError as error:
        raise TransportError("no-link", "%s: %r" % (named["path"], error))
    return Stream(file, file, file)
