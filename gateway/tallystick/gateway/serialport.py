"""One serial port: a file descriptor, a line over it, and the devices that were heard on it.

Only the thread of the hub calls this, except for `queue_down`, which the ingest worker calls.
"""

import os
import time
from collections import OrderedDict, deque
from typing import Any

import structlog

from tallystick.evidence.errors import TransportError
from tallystick.evidence.kinds import HELLO, SEGMENT
from tallystick.evidence.limits import SEGMENT_BYTES_MAX
from tallystick.evidence.serialframe import CLOSED, DOWN, OPEN, VERSION
from tallystick.evidence.serialline import Line
from tallystick.gateway import limits

_log = structlog.get_logger("tallystick.gateway.serial")


class GatewayLine(Line):
    """A gateway's end: answers who opens a session."""

    def __init__(self) -> None:
        super().__init__(DOWN, limits.SERIAL_CREDIT, SEGMENT_BYTES_MAX)
        self.sessions = 0
        self._told_ms = -limits.SERIAL_CLOSED_MS_MIN

    def _opened(self, session: bytes, version: int, credit: int, now_ms: int) -> None:
        if version != VERSION:
            self._tell(session, now_ms)
            return
        if session != self.session:
            self._reset(session, credit, now_ms)
            self.sessions += 1
        self.heard_ms = now_ms
        self.say(OPEN, session, bytes((VERSION, limits.SERIAL_CREDIT)))

    def _unknown(self, kind: int, session: bytes, now_ms: int) -> None:
        if kind != CLOSED:
            self._tell(session, now_ms)

    def _tell(self, session: bytes, now_ms: int) -> None:
        if now_ms - self._told_ms >= limits.SERIAL_CLOSED_MS_MIN:
            self._told_ms = now_ms
            self.say(CLOSED, session)

    def tick(self, now_ms: int) -> None:
        """Forget a session of which nothing was heard for long."""
        if self.up and now_ms - self.heard_ms > limits.SERIAL_SILENT_MS_MAX:
            self.end()


def device_of(message: bytes) -> bytes | None:
    """The device that a hello or a segment names, where it stands in both; nothing is checked."""
    # [13 or 15, device, ...]: an array, its kind, and a byte string of 32 bytes.
    kind = message[1] if len(message) >= 36 and message[0] >> 5 == 4 else -1
    if kind in {SEGMENT, HELLO} and message[2:4] == b"\x58\x20":
        return message[4:36]
    return None


def open_fd(path: str, baud: int) -> Any:
    """A pyserial port, open, exclusive and never waiting; OSError, TransportError."""
    try:
        import serial  # noqa: PLC0415 - an extra
    except ImportError as error:
        message = "[[serial]] needs pyserial: pip install 'tallystick[serial]'"
        raise TransportError("no-uplink", message) from error
    return serial.Serial(path, baud, timeout=0, write_timeout=0, exclusive=True)


class SerialPort:
    """Open until `close`; OSError from `read` and `write` when it was unplugged."""

    def __init__(self, path: str, baud: int) -> None:
        self.path = path
        self.line = GatewayLine()
        self._serial = open_fd(path, baud)
        self.fd: int = self._serial.fileno()
        self.devices: OrderedDict[bytes, None] = OrderedDict()
        self._session = b""  # in which they were heard
        self.taken = 0  # messages for the inbox
        self.down_dropped = 0
        self._down: deque[bytes] = deque()
        self._chunk = b""
        self.blocked = False  # bytes wait that the port did not take

    def read(self) -> None:
        """What came, at most one slice."""
        try:
            data = os.read(self.fd, limits.SERIAL_SLICE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise OSError(5, "unplugged", self.path)
        self.line.feed(data, now_ms())

    def write(self) -> None:
        """What is to be said now, at most one slice."""
        line, now = self.line, now_ms()
        line.tick(now)
        if not line.up:
            # The device says hello again, and is answered then.
            self._down.clear()
        elif self._down and not line.busy:
            data = self._down.popleft()
            line.send(len(data), (data,))
        moved = 0
        self.blocked = False
        while moved < limits.SERIAL_SLICE_BYTES:
            self._chunk = self._chunk or line.output(now)
            if not self._chunk:
                return
            try:
                count = os.write(self.fd, self._chunk)
            except BlockingIOError:
                count = 0
            if not count:
                self.blocked = True
                return
            self._chunk = self._chunk[count:]
            moved += count

    def heard(self, device: bytes) -> None:
        """A device spoke here: what is for it goes down here."""
        if self._session != self.line.session:
            # Perhaps another board on the same cable.
            self._session = self.line.session
            self.devices.clear()
        self.devices[device] = None
        self.devices.move_to_end(device)
        if len(self.devices) > limits.SERIAL_DEVICES_PER_PORT_MAX:
            self.devices.popitem(last=False)

    def queue_down(self, data: bytes) -> bool:
        """A message for a device that was heard here; False when there is no room."""
        if not self.line.up or len(self._down) >= limits.SERIAL_DOWN_MESSAGES_MAX:
            self.down_dropped += 1
            return False
        self._down.append(data)
        return True

    def state(self) -> dict[str, Any]:
        """What `tally gateway status` shows of it."""
        line = self.line
        return {
            "port": self.path,
            "open": True,
            "session": line.up,
            "error": "",
            "devices": len(self.devices),
            "sessions": line.sessions,
            "messages": self.taken,
            "frames": line.frames,
            "bad_frames": line.bad,
            "resyncs": line.resyncs,
            "repeated": line.repeated,
            "sent_again": line.resent,
            "too_long": line.oversized,
            "not_sent_down": self.down_dropped,
        }

    def close(self) -> None:
        """Give the port back; the device finds out by itself."""
        try:
            self._serial.close()
        except OSError as error:
            _log.info("a port closed badly", port=self.path, error=str(error))


def now_ms() -> int:
    """Milliseconds that only grow."""
    return time.monotonic_ns() // 1_000_000
