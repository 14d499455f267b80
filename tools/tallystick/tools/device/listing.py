"""`tally device list`: boards on this computer's ports."""

import json

import click

from tallystick.hw import boards
from tallystick.tools.device.ports import found

SHOWN = {
    "micropython": "runs MicroPython",
    "bootloader": "waits in its loader for an image",
    "bridge": "a USB-serial chip; which board is behind it shows in `tally device info`",
}


@click.command(
    "list",
    epilog="""\b
Example:
  tally device list
""",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_boards(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show the boards on this computer's ports, by their USB ids; nothing is sent to them."""
    ports = found()
    if as_json:
        rows = [{"port": one.device, "boards": one.boards, "usb": one.words} for one in ports]
        click.echo(json.dumps(rows))
        return
    if not ports:
        click.echo("no board is connected, or its cable carries no data")
    for one in ports:
        click.echo(f"{one.device}: {' or '.join(boards.load(name).title for name in one.boards)}")
        for shows in sorted(one.shows):
            click.echo(f"  {SHOWN[shows]}")
