"""`tally chip`: a virtual ATECC608, made and served. It protects nothing."""

import threading
from pathlib import Path

import click

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw.virtual_atecc608 import Faults, VirtualAtecc608
from tallystick.hw.virtual_atecc608.eeprom import Eeprom
from tallystick.hw.virtual_atecc608.server import ChipServer
from tallystick.hw.virtual_atecc608.times import DIVIDERS
from tallystick.tools._interrupt import until_signalled

WARNING = "A virtual chip protects nothing: its keys lie in plain in {path}."
UNIQUE_BYTES = 6
POLL_S = 0.1
TIME_SCALE_MAX = 10.0
DIVIDER = click.option(
    "--divider",
    type=click.Choice(["0", "1", "2"]),
    help="A new chip's clock divider: a signature takes 115, 220 or 665 ms.  [default: 0]",
)


@click.group(
    epilog="""\b
Examples:
  tally chip new robot-1.chip
  tally chip serve --state robot-1.chip
  tally chip show robot-1.chip
"""
)
def chip() -> None:
    """Make and serve virtual ATECC608s, for tests and trials; they protect nothing."""


def _hex6(_ctx: click.Context, _parameter: click.Parameter, text: "str | None") -> "bytes | None":
    if text is None:
        return None
    try:
        unique = bytes.fromhex(text)
    except ValueError:
        unique = b""
    if len(unique) != UNIQUE_BYTES:
        message = f"{2 * UNIQUE_BYTES} hexadecimal digits"
        raise click.BadParameter(message)
    return unique


@chip.command(
    epilog="""\b
Examples:
  tally chip new robot-1.chip
  tally chip new slow.chip --divider 2
""",
    short_help="Make a chip as it leaves the maker.",
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@DIVIDER
@click.option("--serial", "unique", callback=_hex6, help="The 12 digits of the serial of its own.")
def new(path: Path, divider: "str | None", unique: "bytes | None") -> None:
    """Make a virtual chip as it leaves the maker, in FILE: nothing configured, nothing locked."""
    VirtualAtecc608.new(str(path), divider=int(divider or 0), unique=unique)
    click.echo(WARNING.format(path=path), err=True)
    click.echo(f"made {path}; its key's URI is atecc608:virtual={path}")


@chip.command(
    epilog="""\b
Example:
  tally chip show robot-1.chip
""",
    short_help="Show a chip's serial number, locks and counters.",
)
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
def show(path: Path) -> None:
    """Show the serial number, locks and counters of the chip in FILE; never its keys."""
    opened = VirtualAtecc608.open(str(path))
    try:
        for line in _lines(opened.eeprom):
            click.echo(line)
    finally:
        opened.close()


def _lines(eeprom: Eeprom) -> "list[str]":
    locked = {True: "locked", False: "open"}
    divider = DIVIDERS.get(eeprom.chip_mode >> 3)
    slots = [str(slot) for slot in range(16) if eeprom.slot_locked(slot)]
    keys = [
        str(slot)
        for slot in range(16)
        if eeprom.key_config(slot) & 1 and eeprom.private_key(slot) is not None
    ]
    return [
        f"serial number  {eeprom.serial.hex()}",
        f"address        0x{eeprom.address:02X}",
        f"clock divider  {'unknown' if divider is None else divider}",
        f"configuration  {locked[eeprom.config_locked]}",
        f"data zone      {locked[eeprom.data_locked]}",
        f"locked slots   {' '.join(slots) or 'none'}",
        f"private keys   {' '.join(keys) or 'none'}",
        f"counters       {eeprom.counter(0)} {eeprom.counter(1)}",
    ]


def _place(_ctx: click.Context, _parameter: click.Parameter, text: str) -> "tuple[str, int]":
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port[:6]) > 65_535:
        message = "HOST:PORT, such as 127.0.0.1:7608"
        raise click.BadParameter(message)
    return host.strip("[]"), int(port)


@chip.command(
    epilog="""\b
Examples:
  tally chip serve --state robot-1.chip
  tally chip serve --state slow.chip --divider 2 --listen 127.0.0.1:0
  tally chip serve --state robot-1.chip --fault nack=3 --fault crc=1
  tally chip serve --state robot-1.chip --fault cut=before
""",
    short_help="Serve a chip over TCP.",
)
@click.option(
    "--state",
    "path",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The chip's file; made new where there is none.",
)
@click.option(
    "--listen",
    default="127.0.0.1:7608",
    show_default=True,
    callback=_place,
    help="HOST:PORT; whoever reaches it has the chip. Port 0: any free one.",
)
@DIVIDER
@click.option(
    "--time-scale",
    type=click.FloatRange(0, TIME_SCALE_MAX),
    default=1.0,
    show_default=True,
    help="1: as long as the real chip at most; 0: no time at all.",
)
@click.option(
    "--fault",
    "wanted",
    multiple=True,
    metavar="FAULT",
    help="What goes wrong: nack=N, crc=N, cut=before, cut=after, slow=N, stuck, unplugged.",
)
def serve(
    path: Path,
    listen: "tuple[str, int]",
    divider: "str | None",
    time_scale: float,
    wanted: "tuple[str, ...]",
) -> None:
    """Serve the chip in FILE as a bus over TCP, until Ctrl-C or SIGTERM.

    Several programs may connect; their transfers take turns. The URI of a key in it is
    atecc608:tcp=HOST:PORT.
    """
    faults = Faults.parse(wanted)
    if not path.exists():
        VirtualAtecc608.new(str(path), divider=int(divider or 0))
        click.echo(f"made {path}, a new chip")
    served = VirtualAtecc608.open(str(path), time_scale=time_scale, faults=faults)
    try:
        has = DIVIDERS.get(served.eeprom.chip_mode >> 3)
        if divider is not None and has != int(divider):
            message = (
                f"{path} has clock divider {has}; a chip keeps the one that it was made with: "
                "leave --divider out"
            )
            raise KeyDriverError("wrong-divider", message)
        _serve(served, listen, path)
    finally:
        served.close()


def _serve(served: VirtualAtecc608, listen: "tuple[str, int]", path: Path) -> None:
    try:
        made = ChipServer(listen, served, lambda text: click.echo(text, err=True))
    except OSError as error:
        message = f"cannot listen at {listen[0]}:{listen[1]}: {error.strerror}"
        raise KeyDriverError("cannot-listen", message) from error
    stop = until_signalled()
    with made as server:
        thread = threading.Thread(target=server.serve_forever, args=(POLL_S,), daemon=True)
        thread.start()
        click.echo(WARNING.format(path=path), err=True)
        host, port = server.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        click.echo(f"serving {path} at {shown}:{port}")
        stop.wait()
        server.shutdown()
        thread.join()
