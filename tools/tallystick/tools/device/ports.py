"""Which port a board is on: found by USB ids (hw/boards), or named."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
from serial.tools import list_ports

from tallystick.evidence.errors import TransportError
from tallystick.hw import boards

PORT = click.option(
    "--port",
    metavar="PORT",
    help="/dev/ttyACM0, COM3, or a URL of pyserial; needed where several boards are connected.",
)
BOARD = click.option(
    "--board",
    type=click.Choice(
        [name for name in boards.names() if boards.load(name).runtime == "micropython"]
    ),
    help="Which board it must be; found out unless given.",
)


def port_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--port and --board."""
    return PORT(BOARD(command))


@dataclass(frozen=True)
class Port:
    """A port with a board: `boards` are those that it may be, by what the port shows."""

    device: str
    boards: dict[str, str]
    words: str

    @property
    def shows(self) -> set[str]:
        """What the port shows: micropython, bootloader, bridge."""
        return set(self.boards.values())


def found() -> list[Port]:
    """The ports of this computer behind which a board may be."""
    ports = []
    for port in sorted(list_ports.comports()):
        if port.vid is None or port.pid is None:
            continue
        known = boards.by_usb(port.vid, port.pid)
        if known:
            ports.append(Port(port.device, known, port.description or ""))
    return ports


def choose(port: str | None, board: str | None) -> str:
    """The port that was named, or the only one that fits.

    :raises TransportError: `no-board` or `several-boards`, with what to do.
    """
    if port is not None:
        return port
    fitting = [one for one in found() if board is None or board in one.boards]
    if not fitting:
        what = f"no {board}" if board else "no board"
        message = f"{what} is connected: plug it in (a cable that carries data), or name its --port"
        raise TransportError("no-board", message)
    if len(fitting) > 1:
        names = ", ".join(one.device for one in fitting)
        raise TransportError(
            "several-boards", f"several boards are connected: --port one of {names}"
        )
    return fitting[0].device
