# A serial line as uplink (docs/protocol.md, section 3.5).  The port, and what differs between
# interpreters, is serial_posix.py's and serial_board.py's.

import os
import sys
import time

from tallystick.evidence.errors import TransportError
from tallystick.evidence.serialframe import CLOSED, OPEN, VERSION
from tallystick.evidence.serialline import Line
from tallystick.recorder.serial_uri import parse_serial
from tallystick.recorder.uplink import Uplink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MICROPYTHON = sys.implementation.name == "micropython"
OPEN_RETRY_MS = 500
OPEN_MS_MAX = 10000
SILENT_MS_MAX = 15000
# A program that did not poll for so long has not listened either.
AWAY_MS = 1000
# Read, and written, in one step; a microcontroller's heap is small.
SLICE_BYTES = 512 if MICROPYTHON else 2048
MESSAGE_BYTES_MAX = 66048
# Pieces that may be on their way here: a UART's buffer is small, that of an operating system not.
CREDIT = 1 if MICROPYTHON else 8
# Frames that are kept for sending again, of 256 bytes each.
PENDING_MAX = 4 if MICROPYTHON else 64


class DeviceLine(Line):
    """A device's end: opens sessions."""

    def begin(self, session: bytes, now_ms: int) -> None:
        """Ask for a session, again and again."""
        self._wanted = session
        self.credit = bytes((VERSION, self._window))
        # Ends whatever the other end holds of a torn frame.
        self._control = [b"\0"]
        self.began_ms = now_ms
        self._ask(now_ms)

    def _ask(self, now_ms: int) -> None:
        self._asked_ms = now_ms
        self.say(OPEN, self._wanted, self.credit)

    def wait(self, now_ms: int) -> None:
        """Ask again when it is time."""
        if now_ms - self._asked_ms >= OPEN_RETRY_MS:
            self._ask(now_ms)

    def _opened(self, session: bytes, version: int, credit: int, now_ms: int) -> None:
        if session == self._wanted and version == VERSION and not self.up:
            self._wanted = b""
            self._reset(session, credit, now_ms)

    def _unknown(self, kind: int, session: bytes, now_ms: int) -> None:  # noqa: ARG002
        if kind == CLOSED and session == self._wanted:
            raise TransportError("refused", "the gateway speaks another version of the line")


class Serial(Uplink):
    """Messages over one port."""

    def __init__(self, config: "dict[str, Any]", device: str) -> None:  # noqa: ARG002  # as others
        self._named = parse_serial(config["uplink"])
        if not MICROPYTHON:
            from tallystick.recorder.serial_posix import check  # noqa: PLC0415  # where it is used

            check(self._named)
        self._port: "Any" = None
        self.line = DeviceLine(0, CREDIT, MESSAGE_BYTES_MAX)
        self.line.pending_max = PENDING_MAX
        self._frame = b""
        self._at = 0
        self._now_ms = 0
        self._ticks = _ticks()
        self._session = b""
        self.connected = self.opening = self.busy = False
        self.session = 0

    def connect(self) -> None:
        """Open the port, and begin to ask for a session."""
        self._drop()
        self._time()
        if MICROPYTHON:
            from tallystick.recorder.serial_board import open_port  # noqa: PLC0415  # its own
        else:
            from tallystick.recorder.serial_posix import open_port  # noqa: PLC0415  # as above
        try:
            self._port = open_port(self._named)
        except (OSError, ValueError) as error:
            raise TransportError("no-link", "the serial port cannot be opened: %r" % error)
        self._frame = b""
        self._at = 0
        self._session = os.urandom(4)
        self.line.begin(self._session, self._now_ms)
        self.opening = True

    def _time(self) -> None:
        # Milliseconds that do not wrap.
        ticks = _ticks()
        passed = _passed(ticks, self._ticks)
        self._ticks = ticks
        self._now_ms += passed
        if passed > AWAY_MS:
            self.line.heard_ms += passed

    def step(self) -> bool:
        """Read and write at most SLICE_BYTES."""
        if self._port is None:
            return False
        try:
            self._time()
            worked = self._read()
            self._check()
            worked = self._write() or worked
            self.busy = self.line.busy
        except Exception as error:  # noqa: BLE001  # ports of many kinds, and a journal's pieces
            raise self._lost(error)
        return worked

    def _check(self) -> None:
        line, now = self.line, self._now_ms
        if line.up and self.opening:
            self.opening = False
            self.connected = True
            self.session += 1
        elif self.opening:
            if now - line.began_ms > OPEN_MS_MAX:
                raise TransportError("no-answer", "no gateway answers on the serial line")
            line.wait(now)
        elif not line.up:
            raise TransportError("no-link", "the gateway ended the session")
        elif now - line.heard_ms > SILENT_MS_MAX:
            raise TransportError("no-link", "the serial line is silent")

    def _read(self) -> bool:
        data = self._port.read(SLICE_BYTES)
        if data:
            self.line.feed(data, self._now_ms)
        return bool(data)

    def _write(self) -> bool:
        moved = 0
        while moved < SLICE_BYTES:
            if self._at == len(self._frame):
                self._frame = self.line.output(self._now_ms)
                self._at = 0
                if not self._frame:
                    break
            end = len(self._frame)
            if self.bucket is not None:
                end = min(end, self._at + self.bucket.room())
                if end == self._at:
                    break
            count = self._port.write(memoryview(self._frame)[self._at : end])
            if not count:
                break
            self._at += count
            if self.bucket is not None:
                self.bucket.take(count)
            moved += count
            if self._at == len(self._frame) and self.bucket is not None:
                # A slow one may have taken longer than answers do.
                self.line.written(self._now_ms)
        return moved > 0

    def publish_pieces(self, size: int, pieces: "Iterable[bytes]") -> bool:
        """Sent by step() from now on; False while another message is being taken."""
        if not self.connected or not self.line.send(size, pieces):
            return False
        self.busy = True
        return True

    def receive(self) -> bytes | None:
        """The next message."""
        messages = self.line.messages
        return messages.pop(0) if self.connected and messages else None

    def _lost(self, error: Exception) -> TransportError:
        self._drop()
        if isinstance(error, TransportError):
            return error
        return TransportError("no-link", "the serial line: %r" % error)

    def _drop(self) -> None:
        self.connected = self.opening = self.busy = False
        self.line.end()
        port, self._port = self._port, None
        if port is not None:
            try:
                port.close()
            except OSError:
                pass

    def refresh(self) -> None:
        """Give the port back; the next connect() opens it anew."""
        self._drop()

    def close(self) -> None:
        """Say that the session ends, if the port takes it at once."""
        if self.connected and self._at == len(self._frame):
            self.line.say(CLOSED, self._session)
            try:
                self._port.write(self.line.output(self._now_ms))
            except Exception:  # noqa: BLE001, S110  # the gateway finds out by itself
                pass
        self._drop()


def _ticks() -> int:
    if MICROPYTHON:
        return time.ticks_ms()  # type: ignore[attr-defined,no-any-return]  # MicroPython's
    return time.monotonic_ns() // 1000000


def _passed(now: int, then: int) -> int:
    if MICROPYTHON:
        return time.ticks_diff(now, then)  # type: ignore[attr-defined,no-any-return]  # its own
    return now - then
