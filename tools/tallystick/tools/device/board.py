"""What a board is: asked of its MicroPython, and compared with what we know of boards."""

from dataclasses import dataclass

from tallystick.evidence.errors import TransportError
from tallystick.hw import boards
from tallystick.tools.device.connection import Connection
from tallystick.tools.micropython import VERSION_MIN

# The formats of .mpy files, by the low byte of `sys.implementation._mpy`.
ASK = (
    "(sys.implementation[0], tuple(sys.implementation[1][:3]),"
    " getattr(sys.implementation, '_machine', ''), getattr(sys.implementation, '_mpy', 0),"
    " sys.platform, os.statvfs('/')[:4])"
)
LIBRARY = "/lib/tallystick"


@dataclass(frozen=True)
class Found:
    """What is on the cable.

    name: of our board, None where we do not know this one; mpy: as `sys.implementation._mpy`;
    flash_bytes and free_bytes: of its filesystem, in blocks of `block_bytes`.
    """

    name: str | None
    machine: str
    platform: str
    version: tuple[int, ...]
    mpy: int
    block_bytes: int
    flash_bytes: int
    free_bytes: int

    @property
    def title(self) -> str:
        """For people."""
        return self.machine if self.name is None else boards.load(self.name).title

    @property
    def version_text(self) -> str:
        """As 1.25.0."""
        return ".".join(map(str, self.version))


def look(connection: Connection) -> Found:
    """What is on the cable, whatever it is."""
    name, version, machine, mpy, platform, space = connection.ask(ASK)
    if name != "micropython":
        message = f"{connection.port}: {name} answers there, and no MicroPython"
        raise TransportError("no-micropython", message)
    return Found(
        boards.by_machine(machine),
        machine,
        platform,
        version,
        mpy,
        space[1],
        space[1] * space[2],
        space[1] * space[3],
    )


def named(connection: Connection, wanted: str | None) -> Found:
    """As `look`, but for the board that was named.

    :raises TransportError: `wrong-board`.
    """
    found = look(connection)
    if wanted is not None and found.name != wanted:
        message = (
            f"{connection.port}: {found.machine} is there, and not {boards.load(wanted).title}; "
            "nothing was changed"
        )
        raise TransportError("wrong-board", message)
    return found


def check(connection: Connection, wanted: str | None) -> Found:
    """As `named`, but for what our library runs on.

    :raises TransportError: `wrong-board`, `old-micropython`.
    """
    found = named(connection, wanted)
    oldest = VERSION_MIN
    if found.name is not None and (known := boards.load(found.name).micropython) is not None:
        oldest = max(oldest, known.oldest)
    if found.version[:2] < oldest:
        least = ".".join(map(str, oldest))
        message = (
            f"{connection.port}: the board has MicroPython {found.version_text}, and the recorder "
            f"needs {least} or newer: tally device flash --image FILE; nothing was changed"
        )
        raise TransportError("old-micropython", message)
    return found
