"""`tally device monitor`: decisions as a board makes them, while its program runs on."""

import base64
import binascii
import json
import time
from collections.abc import Iterator
from typing import Any

import click
import serial

from tallystick.evidence.errors import TransportError
from tallystick.recorder import monitoring
from tallystick.tools._exact import encoded
from tallystick.tools.device import board as known_board
from tallystick.tools.device import onboard, ports
from tallystick.tools.device.connection import Connection, not_opened
from tallystick.tools.device.shown import shown

BAUD = 115200
ASK_S = 3.0
READ_S = 0.2
HINT_S = 8.0
LINE_BYTES_MAX = 8192
MARK = monitoring.MARK.encode()
HINT = (
    "nothing yet: the board's program must run and call tally.poll(), and its tallystick.json say "
    '"monitor": "terminal", which --enable writes there'
)


@click.command(
    epilog="""\b
Examples:
  tally device monitor
  tally device monitor --enable         the first time: it starts the program again
  tally device monitor --port /dev/ttyACM0 --json
""",
    short_help="Print decisions as a board makes them.",
)
@ports.port_options
@click.option(
    "--enable/--disable",
    "wanted",
    default=None,
    help="Write into the board's tallystick.json whether it tells, and start its program again.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many records.")
@click.option("--json", "as_json", is_flag=True, help="One object a line, for scripts.")
def monitor(
    port: str | None,
    board: str | None,
    wanted: bool | None,  # noqa: FBT001 - click passes flags by name
    count: int | None,
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Print what a board records as it is recorded, until Ctrl-C. Its program is not stopped.

    The board tells when its tallystick.json says "monitor": "terminal"; what its program prints
    itself is left out. Where it records faster than its cable carries, how many records are missing
    is said; its journal has them all. Nothing is verified here.
    """
    name = ports.choose(port, board)
    if wanted is not None:
        _set(name, board, wanted)
    if wanted is False:
        return
    for told, (lost, index, size, data) in enumerate(_records(name), 1):
        if lost:
            _echo(as_json, f"{lost} records are not shown", {"not_shown": lost})
        if data:
            _echo(as_json, *shown(index, data))
        else:
            fields = {"index": index, "bytes": size}
            _echo(as_json, f"#{index} a record of {size:,} bytes", fields)
        if told == count:
            return


def _set(port: str, board: str | None, wanted: bool) -> None:  # noqa: FBT001 - as above
    with Connection(port) as connection:
        known_board.named(connection, board)
        there = onboard.read(connection)
        if there is None:
            message = f"{port}: the board has no {onboard.CONFIG}: tally device provision"
            raise TransportError("not-provisioned", message)
        uplink = str(there.config.get("uplink") or "")
        if wanted and uplink.startswith("serial:stdio"):
            message = f"{port}: the board's uplink has its terminal, so nothing can be told there"
            raise TransportError("no-terminal", message)
        config = {**there.config, "monitor": monitoring.TERMINAL if wanted else None}
        if config["monitor"] != there.config.get("monitor"):
            connection.put(onboard.CONFIG, json.dumps(config).encode())


def _echo(as_json: bool, line: str, fields: dict[str, Any]) -> None:  # noqa: FBT001 - said often
    click.echo(encoded(fields).decode() if as_json else line)


def _records(port: str) -> Iterator[tuple[int, int, int, bytes]]:
    try:
        wire = serial.serial_for_url(port, baudrate=BAUD, timeout=READ_S, exclusive=True)
    except (OSError, ValueError) as error:
        raise not_opened(port, error) from error
    with wire:
        try:
            yield from _heard(wire)
        except OSError as error:
            message = f"{port}: the board does not answer any more ({error}); look at its cable"
            raise TransportError("unplugged", message) from error


def _heard(wire: Any) -> Iterator[tuple[int, int, int, bytes]]:
    buffer = b""
    asked = -ASK_S
    hint = time.monotonic() + HINT_S
    while True:
        now = time.monotonic()
        if now - asked >= ASK_S:
            asked = now
            wire.write(monitoring.ASK)
        if hint and now > hint:
            hint = 0.0
            click.echo(HINT, err=True)
        buffer += wire.read(max(1, wire.in_waiting))
        *lines, buffer = buffer.split(b"\n")
        buffer = buffer[-LINE_BYTES_MAX:]
        for line in lines:
            one = _parsed(line)
            if one is not None:
                hint = 0.0
                yield one


def _parsed(line: bytes) -> tuple[int, int, int, bytes] | None:
    """(records not told, index, size, record); None for what the program prints itself."""
    _, mark, rest = line.partition(MARK)
    words = rest.split()
    if not mark or len(words) not in {3, 4} or not all(word.isdigit() for word in words[:3]):
        return None
    try:
        data = base64.b64decode(words[3], validate=True) if len(words) == 4 else b""
    except binascii.Error:
        return None
    lost, index, size = map(int, words[:3])
    return (lost, index, size, data) if not data or len(data) == size else None
