"""Halves over a serial line between two robots: a cable, a radio or infrared that carries bytes.

    python halves_serial.py giver    CONFIG PEER_ID serial:/dev/ttyUSB0
    python halves_serial.py receiver CONFIG PEER_ID "serial:uart=1;tx=4;rx=5;baud=57600"

A half is cut into frames of at most 256 bytes with COBS and CRC (docs/protocol.md, section 3.5),
all with the first 4 bytes of its SHA-256 as their session. A piece that is lost is one half that is
lost, and it is sent again; what is noise is no frame.
"""

import sys

from halves import HALF_BYTES_MAX, MICROPYTHON, handover  # type: ignore[import-not-found]  # beside this one

from tallystick.evidence import serialframe
from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed
from tallystick.recorder.serial_uri import parse_serial

READ_BYTES = 256
# Kinds of frames, and sizes (docs/protocol.md, section 3.5).
PIECE, LAST = 2, 3
PIECE_BYTES_MAX = 243
ENCODED_BYTES_MAX = 255


class Line:
    """A link of one port."""

    def __init__(self, own: str, peer: str, uri: str) -> None:  # noqa: ARG002  # as other links
        if MICROPYTHON:
            from tallystick.recorder.serial_board import open_port  # noqa: PLC0415  # a board's
        else:
            from tallystick.recorder.serial_posix import open_port  # noqa: PLC0415  # Linux's
        self._port = open_port(parse_serial(uri))
        self._out = b""
        self._held = b""
        self._session = b""
        self._parts: list[bytes] = []

    def send(self, half: bytes) -> None:
        """Written by receive(), piece by piece; nothing new while the last one is on its way."""
        if self._out:
            return
        session = sha256(half)[:4]
        # Ends whatever the other end holds of a torn frame.
        out = b"\0"
        for number, at in enumerate(range(0, len(half), PIECE_BYTES_MAX)):
            piece = half[at : at + PIECE_BYTES_MAX]
            last = at + len(piece) == len(half)
            kind = LAST if last else PIECE
            out += serialframe.encode(kind, session, number, piece)
        self._out = out

    def receive(self) -> bytes | None:
        """A whole half, or None."""
        if self._out:
            self._out = self._out[self._port.write(self._out[:READ_BYTES]) :]
        for byte in self._port.read(READ_BYTES):
            if byte:
                self._held += bytes((byte,))
                if len(self._held) > ENCODED_BYTES_MAX:
                    self._held = self._held[-1:]
                continue
            held, self._held = self._held, b""
            half = self._frame(held) if held else None
            if half:
                return half
        return None

    def _frame(self, held: bytes) -> bytes | None:
        try:
            kind, session, number, piece = serialframe.parse(held)
        except Malformed:
            return None
        if number == 0:
            self._session = session
            self._parts = []
        if session != self._session or number != len(self._parts):
            self._session = b""
            return None
        self._parts.append(piece)
        if number * PIECE_BYTES_MAX > HALF_BYTES_MAX:
            self._session = b""
        elif kind == LAST:
            half = b"".join(self._parts)
            return half if sha256(half)[:4] == session else None
        return None

    def close(self) -> None:
        self._port.close()


if __name__ == "__main__":
    sys.exit(handover(Line, *sys.argv[1:5]))
