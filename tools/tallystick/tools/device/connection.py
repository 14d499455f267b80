"""A board on a cable: its raw REPL by the mpremote library, and files that arrive whole.

What can go wrong with a cable is translated here, once, into one sentence. A file is written under
a temporary name, hashed on the board, and renamed, so that it is there whole or not at all.
"""

import ast
import base64
import contextlib
import hashlib
import io
import struct
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any

import serial
from mpremote.transport import TransportError as MpremoteError
from mpremote.transport_serial import SerialTransport

from tallystick.evidence.errors import TransportError

# What the board may take for one thing, and to say that it is there.
ANSWER_S_MAX = 30.0
PROMPT_S_MAX = 10.0
READ_S_MAX = 5.0
# Of a file in one statement, and of statements in one go; the board's heap holds both.
CHUNK_BYTES = 2048
GO_CHARS = 4096
LINE_CHARS_MAX = 200
TEMPORARY = ".new"
ENOSPC = ("ENOSPC", "Errno 28", "OSError: 28")

# What every session needs on the board; a soft reset forgets it.
HELPERS = """
import gc, hashlib, os, sys
from binascii import a2b_base64 as _bin, b2a_base64 as _txt, hexlify as _hex
def _hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while True:
            data = file.read(512)
            if not data:
                break
            digest.update(data)
    return _hex(digest.digest()).decode()
def _folders(path):
    at = path.find("/", 1)
    while at > 0:
        try:
            os.mkdir(path[:at])
        except OSError as error:
            if error.args[0] != 17:
                raise
        at = path.find("/", at + 1)
def _files(folder):
    try:
        rows = list(os.ilistdir(folder))
    except OSError:
        return
    for row in rows:
        path = folder.rstrip("/") + "/" + row[0]
        if row[1] == 0x4000:
            print(path + "/")
            _files(path)
        else:
            print(path, os.stat(path)[6], _hash(path))
def _write(path, mode, data):
    with open(path, mode) as file:
        file.write(_bin(data))
def _keep(temporary, path, wanted):
    if _hash(temporary) != wanted:
        raise ValueError("hash")
    try:
        os.rename(temporary, path)
    except OSError:
        # FAT does not rename over a file.
        os.remove(path)
        os.rename(temporary, path)
def _read(path):
    with open(path, "rb") as file:
        while True:
            data = file.read(510)
            if not data:
                break
            print(_txt(data).decode(), end="")
def _there(path):
    try:
        os.stat(path)
        return True
    except OSError:
        return False
def _remove(path):
    try:
        kind = os.stat(path)[0]
    except OSError:
        return
    if kind == 0x4000:
        for row in list(os.ilistdir(path)):
            _remove(path + "/" + row[0])
        os.rmdir(path)
    else:
        os.remove(path)
"""


class Full(TransportError):
    """The board's flash has no room for what was to be written."""


class BoardError(TransportError):
    """A program of ours failed on the board; `trace` is what MicroPython said."""

    def __init__(self, reason: str, message: str, trace: str) -> None:
        super().__init__(reason, message)
        self.trace = trace


class Connection:
    """A board whose program is stopped, at its raw REPL, with a fresh heap.

    :param port: as pyserial takes it: /dev/ttyACM0, COM3, socket://127.0.0.1:4000.
    :raises TransportError: in one sentence, why there is none.
    """

    def __init__(self, port: str) -> None:
        self.port = port
        self._wire = _open(port)
        try:
            with self._faults():
                _enter(self._wire, port)
            self.run(HELPERS)
        except BaseException:
            self._hang_up()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the board start its own program again, as after a reset, and hang up."""
        with contextlib.suppress(OSError, MpremoteError):
            self._wire.serial.write(b"\r\x03\x02\x04")
            self._wire.serial.flush()
        self._hang_up()

    def leave(self) -> None:
        """Hang up without starting the board's program."""
        with contextlib.suppress(OSError, MpremoteError):
            self._wire.exit_raw_repl()
        self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):
            self._wire.close()

    # ----- programs

    def run(self, code: str, seconds: float = ANSWER_S_MAX) -> str:
        """Run a program on the board; what it printed.

        :param seconds: that may pass between two bytes of its answer.
        :raises BoardError: it raised there. Full: the flash is full.
        :raises TransportError: the cable or the board is gone.
        """
        with self._faults():
            said = bytearray()
            self._wire.exec_raw_no_follow(code)
            # Without a consumer the library copies all that it has for each byte that comes.
            _, trace = self._wire.follow(seconds, said.extend)
        if trace:
            raise _raised(self.port, trace.decode(errors="replace"))
        return said.rstrip(b"\x04").decode(errors="replace").replace("\r\n", "\n")

    def ask(self, expression: str) -> Any:
        """The value of a MicroPython expression: numbers, texts, bytes, lists, tuples, dicts."""
        said = self.run(f"print(repr({expression}))").strip()
        try:
            return ast.literal_eval(said)
        except (ValueError, SyntaxError):
            short = said[:LINE_CHARS_MAX]
            message = f"{self.port}: the board answered {short!r}, which is no value"
            raise TransportError("bad-answer", message) from None

    @contextlib.contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (OSError, struct.error, MpremoteError) as error:
            message = (
                f"{self.port}: the board does not answer any more ({_short(error)}); "
                "look at its cable and power, then run this again: it goes on where it was"
            )
            raise TransportError("unplugged", message) from error

    # ----- files

    def files(self, folder: str) -> dict[str, tuple[int, str]]:
        """Every file below a folder: path to (bytes, SHA-256); folders end with `/`: (0, "")."""
        found = {}
        for line in self.run(f"_files({folder!r})").splitlines():
            path, *more = line.rsplit(" ", 2)
            found[path] = (int(more[0]), more[1]) if more else (0, "")
        return found

    def put(
        self, path: str, data: bytes, progress: Callable[[int], None] = lambda _count: None
    ) -> None:
        """Write a file: under another name first, verified by its hash on the board, renamed.

        :param progress: is told of bytes as they arrive.
        """
        temporary = path + TEMPORARY
        wanted = hashlib.sha256(data).hexdigest()
        steps = [(f"_folders({path!r})", 0), *writing(temporary, data)]
        try:
            self.go([*steps, (f"_keep({temporary!r}, {path!r}, {wanted!r})", 0)], progress)
        except (Full, BoardError) as error:
            with contextlib.suppress(TransportError):
                self.run(f"_remove({temporary!r})")
            if "ValueError: hash" in getattr(error, "trace", ""):
                message = f"{self.port}: {path} arrived damaged; nothing of it was kept"
                raise TransportError("damaged", message) from error
            raise

    def get(self, path: str) -> bytes:
        """Read a file; its bytes are those of which the board has the hash.

        :raises BoardError: `no-file`.
        """
        wanted, *lines = self.run(f"print(_hash({path!r}))\n_read({path!r})").split("\n")
        data = b"".join(base64.b64decode(line) for line in lines)
        if hashlib.sha256(data).hexdigest() != wanted:
            message = f"{self.port}: {path} was damaged on its way; run this again"
            raise TransportError("damaged", message)
        return data

    def go(
        self,
        steps: Iterable[tuple[str, int]],
        progress: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """Run many short statements, few at a time; each with the bytes that it brings."""
        for some in _packed(steps):
            self.run("\n".join(step for step, _ in some))
            progress(sum(count for _, count in some))


def writing(path: str, data: bytes) -> Iterator[tuple[str, int]]:
    """The statements that write a file, for `Connection.go`; its folder is there."""
    yield (
        f"_write({path!r}, 'wb', {base64.b64encode(data[:CHUNK_BYTES])!r})",
        min(len(data), CHUNK_BYTES),
    )
    for at in range(CHUNK_BYTES, len(data), CHUNK_BYTES):
        chunk = data[at : at + CHUNK_BYTES]
        yield f"_write({path!r}, 'ab', {base64.b64encode(chunk)!r})", len(chunk)


def _packed(steps: Iterable[tuple[str, int]]) -> Iterator[list[tuple[str, int]]]:
    some: list[tuple[str, int]] = []
    for step in steps:
        if some and sum(len(one) for one, _ in some) + len(step[0]) > GO_CHARS:
            yield some
            some = []
        some.append(step)
    if some:
        yield some


def _open(port: str) -> Any:
    try:
        wire = SerialTransport(port, timeout=READ_S_MAX)
    except (serial.SerialException, OSError, ValueError, MpremoteError) as error:
        raise not_opened(port, error) from error
    # As the library reads from a terminal of QEMU: it waits for a byte, and does not look each
    # hundredth of a second whether there is one.
    wire.is_pty = True
    return wire


def not_opened(port: str, error: Exception) -> TransportError:
    """Why a port could not be opened, in one sentence."""
    # SerialTransport tells only that it failed; the reason stands behind it.
    said = str(error.__context__ or error)
    if isinstance(error, MpremoteError):
        try:
            serial.serial_for_url(port, exclusive=True).close()
        except (serial.SerialException, OSError, ValueError) as again:
            said = str(again)
    low = said.lower()
    if "lock" in low or "busy" in low or "temporarily unavailable" in low:
        what = "busy: another program has it, as a terminal or an editor; end that and run again"
        return TransportError("port-busy", f"{port} is {what}")
    if "permission" in low:
        what = "this user may not open it; on Debian: sudo adduser $USER dialout, and log in anew"
        return TransportError("no-permission", f"{port}: {what}")
    if "no such file" in low or "refused" in low or "not find" in low or "invalid" in low:
        return TransportError("no-port", f"there is no port {port}: `tally device list` shows them")
    return TransportError("no-port", f"{port} cannot be opened: {said}")


def _enter(wire: Any, port: str) -> None:
    # The library prints what it got instead of a prompt; that is no use to anybody.
    heard = io.StringIO()
    for last in (False, True):
        try:
            with contextlib.redirect_stdout(heard):
                wire.enter_raw_repl(soft_reset=True, timeout_overall=PROMPT_S_MAX)
        except MpremoteError as error:
            # A program may take the first Ctrl-C for itself.
            if last:
                message = (
                    f"{port}: no MicroPython answers there; press the board's reset button and run "
                    "this again at once, before a program takes the terminal (serial:stdio), or "
                    "put MicroPython on it (tally device flash --image FILE)"
                )
                raise TransportError("no-micropython", message) from error
        else:
            return


def _raised(port: str, trace: str) -> TransportError:
    last = (trace.strip().splitlines() or ["an error"])[-1][:LINE_CHARS_MAX]
    if any(sign in trace for sign in ENOSPC):
        return Full("full-flash", f"{port}: the board's flash is full")
    if "MemoryError" in trace:
        return BoardError("no-heap", f"{port}: the board's heap does not suffice: {last}", trace)
    if "ENOENT" in trace or "Errno 2]" in trace:
        return BoardError("no-file", f"{port}: the board has no such file: {last}", trace)
    return BoardError("board-error", f"{port}: the board said: {last}", trace)


def _short(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:LINE_CHARS_MAX]
