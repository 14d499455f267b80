# CPython only
"""Boards that we know, as package data: what they are, how they are flashed and wired.

One TOML file a board (docs/hardware.md, "Boards"). Each number names its source in a comment.
"""

import re
from importlib import resources
from typing import Any

import msgspec

from tallystick.evidence.errors import KeyDriverError

SCHEME = "atecc608:"
RUNTIMES = ("linux", "micropython")
# What answers at a USB port: MicroPython itself, the chip's own loader, or a USB-serial chip that
# says nothing of the board behind it, so that MicroPython there must be asked.
SHOWS = ("micropython", "bootloader", "bridge")
METHODS = ("esptool", "uf2")
_USB = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")


class SecureElement(msgspec.Struct, forbid_unknown_fields=True):
    """An ATECC608's place: `bus` on Linux, else MicroPython's I2C `id` and its pins."""

    address: int
    bus: "int | None" = None
    id: "int | None" = None
    scl: "int | None" = None
    sda: "int | None" = None
    freq: "int | None" = None


class Uart(msgspec.Struct, forbid_unknown_fields=True):
    """Where a serial uplink is wired: MicroPython's UART number and its pins."""

    id: int
    tx: int
    rx: int


class Usb(msgspec.Struct, forbid_unknown_fields=True):
    """A port as the computer sees it: `id` is vendor:product, `shows` is one of SHOWS."""

    id: str
    shows: str

    def __post_init__(self) -> None:
        if not _USB.fullmatch(self.id):
            raise ValueError("a USB id is vendor:product in small hexadecimal digits")
        if self.shows not in SHOWS:
            raise ValueError("shows is one of %s" % ", ".join(SHOWS))


class Flash(msgspec.Struct, forbid_unknown_fields=True):
    """How MicroPython's image gets there.

    esptool: `chip` and `offset` (bytes) are its arguments, `baud` the speed that it may raise to.
    uf2: `volume` is the loader's label, `board_id` its `Board-ID:` in INFO_UF2.TXT, and `families`
    the family ids that the blocks of an image may have, the first one that it must have.
    `enter`: what a person does where the loader cannot be started by the program.
    """

    method: str
    enter: str
    chip: "str | None" = None
    offset: "int | None" = None
    baud: "int | None" = None
    volume: "str | None" = None
    board_id: "str | None" = None
    families: "list[int]" = []

    def __post_init__(self) -> None:
        esptool = (self.chip, self.offset, self.baud)
        uf2 = (self.volume, self.board_id, self.families or None)
        wanted, others = (esptool, uf2) if self.method == "esptool" else (uf2, esptool)
        if self.method not in METHODS or None in wanted or set(others) != {None}:
            raise ValueError("esptool has chip, offset, baud; uf2 has volume, board_id, families")


class Micropython(msgspec.Struct, forbid_unknown_fields=True):
    """MicroPython on this board.

    build: the image's name; machine: how `sys.implementation._machine` ends, one of them;
    platform: `sys.platform`; oldest: (major, minor); arch: `mpy-cross -march`; filesystem_bytes:
    of the image's own partition; heap_bytes: what it has at least, before it grows.
    """

    build: str
    machine: "list[str]"
    platform: str
    oldest: "tuple[int, int]"
    arch: str
    filesystem: str
    filesystem_bytes: int
    block_bytes: int
    heap_bytes: int


class Board(msgspec.Struct, forbid_unknown_fields=True):
    """title: for people; runtime: one of RUNTIMES; wiring: pins in words; program: an example."""

    title: str
    runtime: str
    wiring: str
    program: "str | None" = None
    secure_element: "SecureElement | None" = None
    uart: "Uart | None" = None
    micropython: "Micropython | None" = None
    flash: "Flash | None" = None
    usb: "list[Usb]" = []

    def __post_init__(self) -> None:
        if self.runtime not in RUNTIMES:
            raise ValueError("runtime is one of %s" % ", ".join(RUNTIMES))
        parts = (self.micropython, self.flash, self.usb or None)
        if (None in parts) if self.runtime == "micropython" else (set(parts) != {None}):
            raise ValueError("micropython, flash and usb belong to boards with MicroPython")


def names() -> list[str]:
    """The boards that ship."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name[: -len(".toml")] for file in files if file.name.endswith(".toml"))


def load(name: str) -> Board:
    """A board; KeyDriverError names those that there are."""
    if name not in names():
        raise KeyDriverError(
            "no-board", "no board %r is known; there are: %s" % (name, ", ".join(names()))
        )
    text = resources.files(__name__).joinpath(name + ".toml").read_bytes()
    return msgspec.toml.decode(text, type=Board)


def by_usb(vendor: int, product: int) -> "dict[str, str]":
    """Which boards a port with these USB ids may be: name to what the port shows (SHOWS)."""
    wanted = "%04x:%04x" % (vendor, product)
    return {name: port.shows for name in names() for port in load(name).usb if port.id == wanted}


def by_machine(machine: str) -> "str | None":
    """The board whose MicroPython calls itself so (`sys.implementation._machine`)."""
    for name in names():
        known = load(name).micropython
        if known is not None and machine.endswith(tuple(known.machine)):
            return name
    return None


def place_on(named: "dict[str, Any]") -> "dict[str, Any]":
    """What a URI names, with the board's numbers in place of its name; the URI's own ones win."""
    place = load(named["board"]).secure_element
    if place is None:
        raise KeyDriverError(
            "no-board", "board %s has no bus of its own: name it, as bus=N" % named["board"]
        )
    found = {
        name: getattr(place, name)
        for name in ("bus", "id", "scl", "sda", "freq", "address")
        if getattr(place, name) is not None
    }
    found.update({name: value for name, value in named.items() if name != "board"})
    return found


def expand(uri: str) -> str:
    """A key's URI with a board's numbers: a device has no descriptions of boards."""
    if not uri.startswith(SCHEME) or "board=" not in uri:
        return uri
    from tallystick.hw.atecc608_open import parse  # noqa: PLC0415 - it imports this one

    found = place_on(parse(uri[len(SCHEME) :]))
    found["address"] = "0x%02x" % found["address"]
    return SCHEME + ";".join("%s=%s" % item for item in found.items())
