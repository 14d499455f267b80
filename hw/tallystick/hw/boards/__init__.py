# CPython only
"""Boards that we know: where their secure element is wired (docs/hardware.md), as package data."""

from importlib import resources
from typing import Any

import msgspec

from tallystick.evidence.errors import KeyDriverError

SCHEME = "atecc608:"


class SecureElement(msgspec.Struct, forbid_unknown_fields=True):
    """An ATECC608's place: `bus` on Linux, else MicroPython's I2C `id` and its pins."""

    address: int
    bus: "int | None" = None
    id: "int | None" = None
    scl: "int | None" = None
    sda: "int | None" = None
    freq: "int | None" = None


class Board(msgspec.Struct, forbid_unknown_fields=True):
    """title: for people; runtime: `micropython` or `linux`; wiring: pins in words."""

    title: str
    runtime: str
    wiring: str
    secure_element: SecureElement


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


def place_on(named: "dict[str, Any]") -> "dict[str, Any]":
    """What a URI names, with the board's numbers in place of its name; the URI's own ones win."""
    place = load(named["board"]).secure_element
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
