# The firmware of an emulated board: runs on MicroPython's Unix port, under support/emulated_device.
#
# A LittleFS in a file as flash, mounted where a board has it; boot.py and main.py; the friendly and
# the raw REPL with raw paste, byte by byte as MicroPython documents them; soft resets.  What a
# board's own words and modules are (sys.platform, machine, network) is what the test asked for.
# Standard input and output are the cable.  A second descriptor tells the test what runs, so that
# Ctrl-C interrupts a program and is a byte elsewhere.

import gc
import os
import sys
import time
from collections import namedtuple

import machine
import micropython
import vfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

(
    _IMAGE,
    _BLOCKS,
    _BLOCK_BYTES,
    _TOLD_FD,
    _MODE,
    _CAUSE,
    _CUT_AT,
    _DONE,
    _PLATFORM,
    _MACHINE,
    _BUILD,
    _VERSION,
    _UNIQUE,
) = sys.argv[1:]
BANNER = b"raw REPL; CTRL-B to exit\r\n"
WINDOW_BYTES = 128
PASTE_BYTES_MAX = 262144
HALTED = b"halted\n"
CAUSES = {"power": 1, "hard": 2, "watchdog": 3, "soft": 5}

print_exception = sys.print_exception  # type: ignore[attr-defined]  # MicroPython's
told = open(int(_TOLD_FD), "wb", 0)
_in = sys.stdin.buffer
_out = sys.stdout.buffer


def tell(text: str) -> None:
    told.write((text + "\n").encode())


def freeze(text: str) -> None:
    # The test ends this process now; until then nothing happens any more.
    tell(text)
    while True:
        time.sleep(60)


class Flash:
    # Programs and erases are counted over resets; at the one asked for the power goes, in the
    # middle of it.

    def __init__(self) -> None:
        self.block = int(_BLOCK_BYTES)
        self.count = int(_BLOCKS)
        self.cut_at = int(_CUT_AT)
        self.done = int(_DONE)
        try:
            self.file = open(_IMAGE, "r+b")
        except OSError:
            with open(_IMAGE, "wb") as new:
                for _ in range(self.count):
                    new.write(b"\xff" * self.block)
            self.file = open(_IMAGE, "r+b")

    def readblocks(self, number: int, buffer: bytearray, offset: int = 0) -> None:
        self.file.seek(number * self.block + offset)
        self.file.readinto(buffer)

    def _put(self, place: int, data: bytes) -> None:
        self.done += 1
        cut = self.done == self.cut_at
        self.file.seek(place)
        self.file.write(data[: len(data) // 2] if cut else data)
        self.file.flush()
        if cut:
            freeze("cut")

    def writeblocks(self, number: int, data: bytes, offset: int = 0) -> None:
        self._put(number * self.block + offset, data)

    def ioctl(self, what: int, number: int) -> "int | None":
        if what == 4:
            return self.count
        if what == 5:
            return self.block
        if what == 6:
            self._put(number * self.block, b"\xff" * self.block)
            return 0
        return None


class Words:
    """A module of the interpreter, some names of which are a board's."""

    def __init__(self, module: object, **names: object) -> None:
        self._module = module
        for name, value in names.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> object:
        return getattr(self._module, name)


class Wlan:
    """The network of this machine; it is joined when the program joins."""

    def __init__(self, interface: int = 0) -> None:
        self._on = self._joined = False

    def active(self, on: "bool | None" = None) -> bool:
        if on is not None:
            self._on = bool(on)
        return self._on

    def connect(self, *_words: object, **_named: object) -> None:
        self._joined = True

    def disconnect(self) -> None:
        self._joined = False

    def isconnected(self) -> bool:
        return self._joined

    def status(self, *_what: object) -> int:
        return 3 if self._joined else 0

    def config(self, *_what: object, **_named: object) -> None:
        """Whatever it is, it is set."""

    def ifconfig(self, *_what: object) -> "tuple[str, ...]":
        return ("127.0.0.1", "255.0.0.0", "127.0.0.1", "127.0.0.1")


class Watchdog:
    """It resets the board, once started, when nobody feeds it; no soft reset stops it."""

    def __init__(self, _number: int = 0, timeout: int = 5000) -> None:
        tell(f"watchdog {timeout}")

    def feed(self) -> None:
        tell("fed")


def soft_reset(mode: str = "friendly") -> None:
    # As on a board, files that are open are closed by their finalisers.
    globals_.clear()
    for name in list(sys.modules):
        del sys.modules[name]
    gc.collect()
    _out.write(b"MPY: soft reboot\r\n")
    freeze(f"soft {mode} {flash.done}")


def kbd_intr(char: int) -> None:
    tell("interrupts" if char >= 0 else "bytes")


def install() -> None:
    modules: Any = sys.modules
    version = tuple([int(part) for part in _VERSION.split(".")]) + ("",)
    names = ("name", "version", "_machine", "_mpy", "_build")
    make: Any = namedtuple
    words = make("implementation", names)
    own = words("micropython", version, _MACHINE, sys.implementation._mpy, _BUILD)
    unique = bytes.fromhex(_UNIQUE) if hasattr(bytes, "fromhex") else _UNIQUE.encode()
    modules["sys"] = Words(sys, platform=_PLATFORM, implementation=own, argv=[])
    modules["micropython"] = Words(micropython, kbd_intr=kbd_intr)
    modules["machine"] = Words(
        machine,
        unique_id=lambda: unique,
        reset=lambda: freeze(f"hard {flash.done}"),
        soft_reset=soft_reset,
        WDT=Watchdog,
        bootloader=lambda: freeze("loader"),
        reset_cause=lambda: CAUSES[_CAUSE],
        PWRON_RESET=1,
        HARD_RESET=2,
        WDT_RESET=3,
        DEEPSLEEP_RESET=4,
        SOFT_RESET=5,
    )
    modules["network"] = Words(None, WLAN=Wlan, STA_IF=0, AP_IF=1)


def mount() -> None:
    try:
        made = vfs.VfsLfs2(flash)
    except OSError:
        vfs.VfsLfs2.mkfs(flash)
        made = vfs.VfsLfs2(flash)
    vfs.umount("/")
    vfs.mount(made, "/")
    os.chdir("/")
    sys.path[:] = ["", ".frozen", "/lib"]


def run(code: "str | bytes", name: str, form: str = "exec") -> "str | BaseException | None":
    """Run it; the exception that ended it, or None. SystemExit is a soft reset, as on a board."""
    ended: str | BaseException | None = None
    tell("runs")
    try:
        exec(compile(code, name, form), globals_)
    except SystemExit:
        ended = "exit"
    except BaseException as error:
        ended = error
    idle()
    return ended


def idle() -> None:
    # Ctrl-C may come when what it was for is over.
    while True:
        try:
            micropython.kbd_intr(3)
            tell(f"idle {flash.done}")
        except KeyboardInterrupt:
            continue
        except MemoryError:
            # This port raises at once, also inside of the garbage collector, whose heap is of no
            # use afterwards. A board does not.
            told.write(HALTED)
            while True:
                time.sleep(60)
        return


def run_file(name: str) -> None:
    try:
        with open(name) as file:
            code = file.read()
    except OSError:
        return
    ended = run(code, name)
    if ended == "exit":
        soft_reset()
    elif ended is not None:
        print_exception(ended, sys.stdout)


def read() -> bytes:
    byte = _in.read(1)
    if not byte:
        raise SystemExit
    return byte


def paste() -> "bytes | None":
    """Raw paste: the code, or None when the host broke off."""
    _out.write(b"R\x01" + bytes((WINDOW_BYTES & 0xFF, WINDOW_BYTES >> 8)) + b"\x01")
    code = bytearray()
    room = WINDOW_BYTES
    while True:
        byte = read()
        if byte in b"\x03\x04":
            _out.write(b"\x04")
            return bytes(code) if byte == b"\x04" else None
        code += byte
        room -= 1
        if room == 0:
            _out.write(b"\x01")
            room = WINDOW_BYTES


def execute(code: bytes) -> None:
    ended = run(code, "<stdin>")
    if ended == "exit":
        soft_reset("raw")
    _out.write(b"\x04")
    if ended is not None:
        print_exception(ended, sys.stdout)
    _out.write(b"\x04>")


def raw() -> None:
    """The raw REPL, until Ctrl-B."""
    _out.write(BANNER + b">")
    line = bytearray()
    while True:
        byte = read()
        if byte == b"\x01":
            line = bytearray()
            _out.write(b"\r\n" + BANNER + b">")
        elif byte == b"\x02":
            _out.write(b"\r\n")
            return
        elif byte == b"\x03":
            line = bytearray()
        elif byte == b"\x05" and not line:
            if read() + read() != b"A\x01":
                _out.write(b"R\x00")
                continue
            code = paste()
            if code is None:
                _out.write(b"\x04\r\nKeyboardInterrupt: \r\n\x04>")
            else:
                execute(code)
        elif byte == b"\x04":
            _out.write(b"OK")
            if not line:
                _out.write(b"\r\n")
                soft_reset("raw")
            code, line = bytes(line), bytearray()
            execute(code)
        else:
            line += byte


def friendly() -> None:
    """The friendly REPL, a line at a time, until Ctrl-A."""
    _out.write(b"MicroPython v%s; %s\r\n>>> " % (_VERSION.encode(), _MACHINE.encode()))
    line = bytearray()
    while True:
        byte = read()
        if byte == b"\x01":
            return
        if byte == b"\x04" and not line:
            _out.write(b"\r\n")
            soft_reset()
        elif byte in b"\r\x03":
            _out.write(b"\r\n")
            ended = run(bytes(line), "<stdin>", "single") if byte == b"\r" and line else None
            if ended == "exit":
                soft_reset()
            elif ended is not None:
                print_exception(ended, sys.stdout)
            line = bytearray()
            _out.write(b">>> ")
        elif byte == b"\x04":
            tell(f"idle {flash.done}")
        elif byte != b"\x02":
            _out.write(byte)
            line += byte


def serve(mode: str) -> None:
    while True:
        try:
            if mode == "raw":
                raw()
                mode = "friendly"
            friendly()
            mode = "raw"
        except KeyboardInterrupt:
            idle()


def boot() -> None:
    try:
        if _MODE != "halted":
            run_file("boot.py")
        if _MODE == "friendly":
            run_file("main.py")
    except KeyboardInterrupt:
        pass
    idle()


globals_: "dict[str, object]" = {"__name__": "__main__"}
flash = Flash()
mount()
install()
boot()
serve(_MODE)
