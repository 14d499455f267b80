"""A serial cable between two real pseudo-terminals, with noise, cuts and small buffers."""

import contextlib
import fcntl
import os
import pty
import random
import select
import struct
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

SLICE_BYTES = 1024
Fault = Callable[[bytes], bytes]


def clean(data: bytes) -> bytes:
    return data


def noisy(seed: int, one_in: int) -> Fault:
    """Flips, loses, doubles and invents about one byte in `one_in`."""
    drawn = random.Random(seed)

    def fault(data: bytes) -> bytes:
        out = bytearray()
        for byte in data:
            what = drawn.randrange(one_in * 4)
            if what == 0:
                out.append(byte ^ 1 << drawn.randrange(8))
            elif what == 1:
                out += bytes((byte, byte))
            elif what == 2:
                out += bytes((byte, drawn.randrange(256)))
            elif what != 3:
                out.append(byte)
        return bytes(out)

    return fault


def dead(_data: bytes) -> bytes:
    """A wire that is cut."""
    return b""


class _End:
    # A pseudo-terminal: the program opens its slave under a name that stays.
    def __init__(self, link: Path) -> None:
        self.link = link
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        link.unlink(missing_ok=True)
        link.symlink_to(os.ttyname(self.slave))

    def close(self) -> None:
        self.link.unlink(missing_ok=True)
        for fd in (self.master, self.slave):
            os.close(fd)


class Wire:
    """`device` and `gateway` are the paths of its two ends; a thread carries the bytes.

    `up` and `down` do something to what is carried. With `buffer_bytes` the device's receiver
    loses what comes while so much waits unread, as that of a UART does; with `baud` bytes take
    their time.
    """

    def __init__(self, folder: Path, buffer_bytes: int = 0, baud: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.device, self.gateway = folder / "ttyDEVICE", folder / "ttyGATEWAY"
        self.up: Fault = clean
        self.down: Fault = clean
        self.carried_up = self.carried_down = self.lost = 0
        self._buffer_bytes = buffer_bytes
        self._baud = baud
        self._ends: tuple[_End, _End] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> "Wire":
        self.plug()
        self._thread.start()
        return self

    def __exit__(self, *_what: object) -> None:
        self._stop.set()
        self._thread.join(60)
        self.unplug()

    def plug(self) -> None:
        """Both ends in place."""
        with self._lock:
            if self._ends is None:
                self._ends = _End(self.device), _End(self.gateway)

    def unplug(self) -> None:
        """Both ends pulled: their programs see an error, and the paths are gone."""
        with self._lock:
            ends, self._ends = self._ends, None
            for end in ends or ():
                end.close()

    def cut(self) -> None:
        """Nothing comes through in either direction."""
        self.up = self.down = dead

    def mend(self) -> None:
        """A good cable again."""
        self.up = self.down = clean

    def _run(self) -> None:
        while not self._stop.is_set():
            moved = 0
            with self._lock:
                if self._ends is not None:
                    with contextlib.suppress(OSError):
                        moved = self._carry(self._ends[0], self._ends[1])
            time.sleep(moved * 10 / self._baud if self._baud and moved else 0.001)

    def _carry(self, device: _End, gateway: _End) -> int:
        ready, _, _ = select.select([device.master, gateway.master], [], [], 0.005)
        moved = 0
        if device.master in ready:
            data = os.read(device.master, SLICE_BYTES)
            moved += len(data)
            self.carried_up += len(data)
            _write(gateway.master, self.up(data))
        if gateway.master in ready:
            data = os.read(gateway.master, SLICE_BYTES)
            moved += len(data)
            self.carried_down += len(data)
            data = self.down(data)
            if self._buffer_bytes:
                room = max(0, self._buffer_bytes - _unread(device.slave))
                self.lost += max(0, len(data) - room)
                data = data[:room]
            _write(device.master, data)
        return moved


def _unread(slave: int) -> int:
    return int(struct.unpack("i", fcntl.ioctl(slave, termios.FIONREAD, bytes(4)))[0])


def _write(master: int, data: bytes) -> None:
    # What the reader has no room for is lost, as on a wire without handshake lines.
    if not data:
        return
    os.set_blocking(master, False)
    with contextlib.suppress(BlockingIOError):
        os.write(master, data)
