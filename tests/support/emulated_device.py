"""An emulated board: real MicroPython on a LittleFS in a file, its REPL on a TCP port.

`socket://127.0.0.1:PORT` is its cable for the unmodified mpremote and for `tally device`. The test
takes power and cable away where it likes; the image stays. What runs on the board is
support/emulated_agent.py; this end carries bytes between the cable and it, interrupts its program
at Ctrl-C, and starts it again after a reset.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import pytest

from tallystick.tools.micropython import MicroPython

AGENT = Path(__file__).with_name("emulated_agent.py")
READY_TIMEOUT_S = 90
CHUNK_BYTES = 4096
PENDING_BYTES_MAX = 65536
CAUGHT_S = 1.0
CTRL_C, CTRL_D = b"\x03", b"\x04"
LIST = """
import vfs, os, sys, binascii
class Flash:
    def readblocks(self, n, buffer, offset=0):
        f.seek(n * size + offset)
        f.readinto(buffer)
    def ioctl(self, what, _):
        return {4: blocks, 5: size}.get(what)
blocks, size = int(sys.argv[2]), int(sys.argv[3])
f = open(sys.argv[1], "rb")
vfs.mount(vfs.VfsLfs2(Flash()), "/flash")
def walk(folder):
    for name, kind, *_ in os.ilistdir(folder):
        path = folder + "/" + name
        if kind == 0x4000:
            print(path + "/")
            walk(path)
        else:
            with open(path, "rb") as file:
                print(path, binascii.hexlify(file.read()).decode())
walk("/flash")
"""


LOAD = """
import vfs, os, sys
blocks, size = int(sys.argv[2]), int(sys.argv[3])
class Flash:
    def readblocks(self, n, buffer, offset=0):
        f.seek(n * size + offset)
        f.readinto(buffer)
    def writeblocks(self, n, data, offset=0):
        f.seek(n * size + offset)
        f.write(data)
    def ioctl(self, what, n):
        if what == 6:
            f.seek(n * size)
            f.write(b"\\xff" * size)
        return {4: blocks, 5: size, 6: 0}.get(what)
try:
    f = open(sys.argv[1], "r+b")
except OSError:
    with open(sys.argv[1], "wb") as f:
        for _ in range(blocks):
            f.write(b"\\xff" * size)
    f = open(sys.argv[1], "r+b")
    vfs.VfsLfs2.mkfs(Flash())
vfs.mount(vfs.VfsLfs2(Flash()), "/flash")
def copy(source, target):
    for name, kind, *_ in os.ilistdir(source):
        if kind == 0x4000:
            try:
                os.mkdir(target + "/" + name)
            except OSError:
                pass
            copy(source + "/" + name, target + "/" + name)
        else:
            with open(source + "/" + name, "rb") as a, open(target + "/" + name, "wb") as b:
                b.write(a.read())
copy(sys.argv[4], "/flash")
vfs.umount("/flash")
f.close()
"""


@dataclass(frozen=True)
class Words:
    """What a board says of itself: sys.platform, and _machine, _build, version of implementation.

    `unique` is machine.unique_id() in hexadecimal.
    """

    platform: str = "esp32"
    machine: str = "Generic ESP32S3 module with ESP32S3"
    build: str = "ESP32_GENERIC_S3"
    version: str = "1.25.0"
    unique: str = "7cdfa1b2c3d4"


@pytest.fixture
def quick_cables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the third of a second that pyserial waits after it closed a socket."""
    quick = SimpleNamespace(sleep=lambda _seconds: None)
    monkeypatch.setattr("serial.urlhandler.protocol_socket.time", quick)


class EmulatedDevice:
    """A board on a cable; `port` is what mpremote and `tally device --port` take.

    with EmulatedDevice(tmp_path / "flash.img", micropython64) as device: ...

    :param blocks: of the flash, each of `block_bytes`; ignored for an image that is there.
    :param heap: of the board, as MicroPython takes it.
    """

    def __init__(
        self,
        image: Path,
        interpreter: MicroPython,
        *,
        blocks: int = 512,
        block_bytes: int = 4096,
        heap: str = "256k",
        words: Words | None = None,
    ) -> None:
        self.image = image
        self.interpreter = interpreter
        self.blocks, self.block_bytes = blocks, block_bytes
        self.heap = heap
        self.words = words or Words()
        # All that the board ever said, on the cable or to nobody.
        self.said = bytearray()
        self.operations = 0  # flash programs and erases since power_on(), when last told
        self.cut = False  # whether the power was cut at the operation that was asked for
        self._cut_at = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._told = -1
        self._told_text = b""
        self._state = "off"
        self._interrupts = True
        self._interrupted_s = 0.0
        # Seconds that the watchdog waits, and when it was fed.
        self._watchdog_s = self._fed_s = 0.0
        self._plugged = True
        self._unplug_after: int | None = None
        self._host: socket.socket | None = None
        self._to_device = bytearray()
        self._to_host = bytearray()
        self._lock = threading.RLock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._wake_read, self._wake_write = os.pipe()
        self._stopped = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> str:
        """The cable's URL."""
        return f"socket://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "EmulatedDevice":
        self.power_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Power and port off for good."""
        self.power_off()
        self._stopped = True
        self._wake()
        self._thread.join(READY_TIMEOUT_S)
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    # ----- what a test does to it

    def power_on(self, cut_at: int = 0) -> None:
        """Start it, and wait until it listens or runs main.py.

        With `cut_at` the power goes in the middle of that program or erase of the flash, counted
        from now on, over resets too; `cut` tells that it did. Returns then as well.
        """
        with self._lock:
            self.cut, self._cut_at, self.operations = False, cut_at, 0
            self._watchdog_s = 0.0
            self._boot("friendly", "power")
        self._wake()
        self.wait("idle", "runs", "off")

    def power_off(self) -> None:
        """`kill -9`: nothing more is written, the cable is dead."""
        with self._lock:
            self._end()
            self._hang_up()

    def power_cycle(self, cut_at: int = 0) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on(cut_at)

    def unplug(self) -> None:
        """Take the cable away; the board runs on. Who connects is turned away until `plug()`."""
        with self._lock:
            self._plugged = False
            self._hang_up()

    def unplug_after(self, count: int) -> None:
        """Take the cable away after so many more bytes from the host."""
        self._unplug_after = count

    def plug(self) -> None:
        """The cable is back."""
        self._unplug_after = None
        self._plugged = True

    def wait(self, *states: str, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Wait for `idle` (REPL), `runs` (a program), `off`, `loader`; returns which."""
        limit = time.monotonic() + timeout_s
        while self._state not in states:
            if time.monotonic() > limit:
                message = f"the board is {self._state!r} after {timeout_s} s: {self.said[-500:]!r}"
                raise TimeoutError(message)
            time.sleep(0.005)
        return self._state

    def contents(self) -> dict[str, bytes]:
        """Every file of the flash, by its path on the board; folders end with `/`.

        Read from the image by a MicroPython of its own: what a board would find after a reset.
        """
        done = self.interpreter.run(
            "-c", LIST, str(self.image), str(self.blocks), str(self.block_bytes), heap="8m"
        )
        if done.returncode:
            message = f"the flash cannot be mounted: {done.stderr or done.stdout}"
            raise OSError(message)
        lines = [line.removeprefix("/flash").partition(" ") for line in done.stdout.splitlines()]
        return {path: bytes.fromhex(data) for path, _, data in lines}

    def load(self, files: dict[str, bytes]) -> None:
        """Put files on the flash of a board without power, by their paths on the board."""
        if self._process is not None:
            message = "a board is loaded while it has no power"
            raise RuntimeError(message)
        with tempfile.TemporaryDirectory(prefix="tally-load.") as folder:
            for path, data in files.items():
                target = Path(folder) / path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
            words = [str(self.image), str(self.blocks), str(self.block_bytes), folder]
            done = self.interpreter.run("-c", LOAD, *words, heap="8m")
        if done.returncode:
            message = f"the flash was not loaded: {done.stderr or done.stdout}"
            raise OSError(message)

    # ----- the process

    def _boot(self, mode: str, cause: str) -> None:
        ours, theirs = socket.socketpair()
        told, tells = os.pipe()
        words = self.words
        arguments = [
            str(self.image),
            str(self.blocks),
            str(self.block_bytes),
            str(tells),
            mode,
            cause,
            str(self._cut_at),
            str(self.operations),
            words.platform,
            words.machine,
            words.build,
            words.version,
            words.unique,
        ]
        self._state, self._interrupts = "boots", True
        self._process = subprocess.Popen(
            self.interpreter.argv(str(AGENT), *arguments, heap=self.heap),
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=theirs.fileno(),
            pass_fds=(tells,),
            start_new_session=True,
        )
        theirs.close()
        os.close(tells)
        ours.setblocking(False)
        self._line, self._told, self._told_text = ours, told, b""

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._drain()
        self._process = None
        if self._line is not None:
            self._line.close()
        self._line = None
        os.close(self._told)
        self._told, self._state = -1, "off"

    def _drain(self) -> None:
        """What the board had said when it ended."""
        with contextlib.suppress(OSError):
            while self._line is not None and (data := self._line.recv(CHUNK_BYTES)):
                self._say(data)

    def _hang_up(self) -> None:
        if self._host is not None:
            with contextlib.suppress(OSError):
                self._host.sendall(self._to_host)
            self._host.close()
        self._host = None
        self._to_host.clear()
        self._to_device.clear()

    # ----- the cable

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"w")

    def _serve(self) -> None:
        while not self._stopped:
            with self._lock:
                reads: list[Any] = [self._listener, self._wake_read]
                if self._line is not None:
                    reads += [self._told]
                    if len(self._to_host) < PENDING_BYTES_MAX:
                        reads += [self._line]
                if self._host is not None and len(self._to_device) < PENDING_BYTES_MAX:
                    reads += [self._host]
                writes: list[Any] = [self._host] if self._host and self._to_host else []
                line, told, host = self._line, self._told, self._host
            try:
                ready, _, _ = select.select(reads, writes, [], 0.02 if self._to_device else 0.2)
            except (OSError, ValueError):
                continue  # closed by the test meanwhile
            with self._lock:
                self._watch()
                if self._wake_read in ready:
                    os.read(self._wake_read, CHUNK_BYTES)
                if line is self._line and line is not None:
                    if line in ready:
                        self._from_device(line)
                    if told in ready and line is self._line:
                        self._from_agent(told)
                if host is self._host and host is not None and host in ready:
                    self._from_host(host)
                if self._listener in ready:
                    self._accept()
                self._pump()

    def _watch(self) -> None:
        """The watchdog bites."""
        if self._watchdog_s and time.monotonic() - self._fed_s > self._watchdog_s:
            self._watchdog_s = 0.0
            if self._process is not None:
                self._end()
                self._hang_up()
                self._boot("friendly", "watchdog")

    def _accept(self) -> None:
        came, _ = self._listener.accept()
        # The one before may be gone, and its last words not read yet.
        while self._host is not None and select.select([self._host], [], [], 0)[0]:
            self._from_host(self._host)
        if self._host is not None or not self._plugged or self._process is None:
            came.close()
            return
        came.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        came.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        came.setblocking(False)
        self._host = came

    def _from_device(self, line: socket.socket) -> None:
        try:
            data = line.recv(CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._say(data)
        elif self._process is not None and self._process.poll() is not None:
            # It ended by itself, as after a fault of the interpreter: a reset of the board.
            self.said += f"[ended: {self._process.returncode}]".encode()
            self._end()
            self._boot("friendly", "hard")

    def _say(self, data: bytes) -> None:
        self.said += data
        if self._host is not None:
            self._to_host += data

    def _from_agent(self, told: int) -> None:
        data = os.read(told, CHUNK_BYTES)
        self._told_text += data
        *lines, self._told_text = self._told_text.split(b"\n")
        for line in lines:
            word, *more = line.decode().split()
            if word in {"interrupts", "bytes"}:
                self._interrupts = word == "interrupts"
            elif word == "cut":
                self.cut = True
                self._end()
                self._hang_up()
                return
            elif word == "halted":
                # As if its program were interrupted: at the prompt, with nothing running.
                self._end()
                self._boot("halted", "soft")
                return
            elif word == "loader":
                # It waits for an image, and is another USB device meanwhile.
                self._end()
                self._hang_up()
                self._state = word
                return
            elif word in {"watchdog", "fed"}:
                self._fed_s = time.monotonic()
                self._watchdog_s = int(more[0]) / 1000 if more else self._watchdog_s
            elif word in {"soft", "hard"}:
                self.operations = int(more[-1])
                self._end()
                if word == "hard":
                    self._watchdog_s = 0.0
                    self._hang_up()  # USB is gone for a moment
                self._boot(more[0] if word == "soft" else "friendly", word)
                return
            else:
                self._state = word
                if more:
                    self.operations = int(more[0])

    def _from_host(self, host: socket.socket) -> None:
        try:
            data = host.recv(CHUNK_BYTES)
            # The host's next small write waits for this (Nagle), which no cable does.
            host.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            host.close()
            self._host = None
            self._to_host.clear()
            return
        if self._unplug_after is not None:
            data = data[: self._unplug_after]
            self._unplug_after -= len(data)
        self._to_device += data
        if self._unplug_after == 0:
            self.unplug()

    def _pump(self) -> None:
        """Bytes to the board as it takes them, and to the host."""
        while self._to_device and self._line is not None:
            count = self._part()
            if count == 0:
                break
            if count < 0:
                del self._to_device[:1]
                if self._process is not None:
                    self._process.send_signal(signal.SIGINT)
                # Two at once end the interpreter: wait for what it says to this one.
                self._state, self._interrupted_s = "interrupted", time.monotonic()
                break
            try:
                sent = self._line.send(self._to_device[:count])
            except OSError:
                break
            if self._state == "idle" and self._to_device[sent - 1 : sent] == CTRL_D:
                self._state = "takes"
            del self._to_device[:sent]
        if self._host is not None and self._to_host:
            with contextlib.suppress(OSError):
                del self._to_host[: self._host.send(self._to_host)]

    def _part(self) -> int:
        """How many bytes may go now; -1 where the next one is an interrupt."""
        if self._state == "interrupted" and time.monotonic() - self._interrupted_s > CAUGHT_S:
            self._state = "runs"  # the program caught it
        if self._state == "runs":
            if not self._interrupts:
                return len(self._to_device)
            at = self._to_device.find(CTRL_C)
            return -1 if at == 0 else at if at > 0 else len(self._to_device)
        if self._state == "idle":
            # After Ctrl-D something runs; whether Ctrl-C is a byte shows only then.
            at = self._to_device.find(CTRL_D)
            return at + 1 if at >= 0 else len(self._to_device)
        return 0
