"""`tally device flash`: MicroPython, then our library, onto a board."""

import contextlib
import json
from pathlib import Path
from typing import Any

import click

from tallystick.evidence.errors import TransportError
from tallystick.hw import boards
from tallystick.tools.device import board as known_board
from tallystick.tools.device import image as images
from tallystick.tools.device import install, manifest, ports
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.progress import bar
from tallystick.tools.device.session import on_board

RETURN_S_MAX = 40.0
KIB = 1024


@click.command(
    epilog="""\b
Examples:
  tally device flash                                     the recorder alone
  tally device flash --image ESP32_GENERIC_S3.bin        MicroPython first
  tally device flash --board raspberry-pi-pico-w --image RPI_PICO_W.uf2
  tally device flash --dry-run
""",
    short_help="Put MicroPython and the recorder on a board.",
)
@ports.port_options
@click.option(
    "--image",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="MicroPython's own image for this board: .bin, or .uf2 for a Pico.",
)
@click.option(
    "--volume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Where the loader's drive of a Pico is mounted; found unless given.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def flash(
    port: str | None,
    board: str | None,
    image: Path | None,
    volume: Path | None,
    dry_run: bool,  # noqa: FBT001 - click passes flags by name
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Put the recorder on a board, and before it, with --image, MicroPython.

    Each file is verified by its SHA-256 on the board. What is there already is not written again,
    and what was interrupted is gone on with. The board has its old recorder until the new one is
    complete; where its flash has no room for both, it has none meanwhile, and never a mixture.
    Keys, configuration and journal are left as they are.
    """
    said: dict[str, Any] = {"dry_run": dry_run}
    if image is not None:
        _put_image(port, board, image, volume, said, dry_run=dry_run, as_json=as_json)
        if dry_run:
            _say(as_json, "then the recorder's library, compared with what is on the board")
            _finish(said, as_json)
            return

    def work(connection: Connection) -> None:
        _put_library(connection, board, said, dry_run=dry_run, as_json=as_json)

    on_board(port, board, work, wait_s=0 if image is None else RETURN_S_MAX)
    _finish(said, as_json)
    if dry_run:
        _say(as_json, "nothing was done (--dry-run)")
    else:
        what = f"the recorder {said['library']} is on the board, digest {said['digest']}"
        _say(as_json, what)


def _put_library(
    connection: Connection,
    board: str | None,
    said: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    found = known_board.check(connection, board)
    _say(as_json, f"{connection.port}: {found.title}, MicroPython {found.version_text}")
    described = boards.load(found.name).micropython if found.name is not None else None
    library = manifest.compiled_library(described.arch if described is not None else None)
    plan = install.plan(connection, found, library)
    said |= {
        "port": connection.port,
        "board": found.name,
        "micropython": found.version_text,
        "library": library.version,
        "digest": library.digest,
        "files": len(library.files) + len(library.others),
        "written": sorted(plan.write) + sorted(plan.others),
        "copied": sorted(plan.copy),
        "removed": sorted(plan.remove),
        "beside": plan.beside,
    }
    for line in _planned(plan):
        _say(as_json, line)
    if not dry_run:
        _install(connection, plan)


def _say(as_json: bool, line: str) -> None:  # noqa: FBT001 - said often
    if not as_json:
        click.echo(line)


def _finish(said: dict[str, Any], as_json: bool) -> None:  # noqa: FBT001 - as above
    if as_json:
        click.echo(json.dumps(said))


def _planned(plan: install.Plan) -> list[str]:
    if plan.done:
        return ["every file is there already"]
    count = len(plan.write) + len(plan.others)
    lines = [f"{count} files to write, {plan.bytes_to_send // KIB:,} KiB"]
    if plan.copy:
        lines[0] += f"; {len(plan.copy)} to copy on the board"
    if plan.remove:
        lines.append(f"{len(plan.remove)} files of another version to remove")
    if not plan.beside:
        lines.append("no room for two: the board has no recorder until this is through")
    return lines


def _install(connection: Connection, plan: install.Plan) -> None:
    with bar("writing", plan.bytes_to_send) as advance:
        install.install(connection, plan, advance)


# ----- MicroPython's image


def _put_image(
    port: str | None,
    board: str | None,
    image: Path,
    volume: Path | None,
    said: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    name = board or _board_of(port)
    described = boards.load(name)
    data = images.check(image, described)
    said |= {"image": str(image), "board": name}
    if described.flash is not None and described.flash.method == "uf2":
        if dry_run:
            _say(as_json, f"would copy {image} to the drive {described.flash.volume}")
            return
        if images.find_volume(described, volume) is None:
            _into_loader(port, name)
        place = images.wait_for_volume(described, volume)
        images.write_by_copy(place, data, image.name)
        _say(as_json, f"copied {image} to {place}")
        return
    where = ports.choose(port, name)
    if dry_run:
        command = images.esptool_command(described, where, image)
        _say(as_json, "would run: " + " ".join(command[1:]))
        return
    images.write_by_esptool(described, where, image, lambda line: click.echo(line, err=True))


def _board_of(port: str | None) -> str:
    """The board that the port shows; a board that runs MicroPython is asked."""
    where = ports.choose(port, None)
    for one in ports.found():
        if one.device == where and len(one.boards) == 1:
            return next(iter(one.boards))
    try:
        with Connection(where) as connection:
            name = known_board.look(connection).name
    except TransportError:
        name = None
    if name is None:
        raise TransportError("no-board", f"{where}: which board is it? --board NAME says so")
    return name


def _into_loader(port: str | None, name: str) -> None:
    """A board that runs MicroPython goes into its loader by itself."""
    with contextlib.suppress(TransportError):
        connection = Connection(ports.choose(port, name))
        try:
            if known_board.look(connection).name == name:
                connection.run("import machine\nmachine.bootloader()")
        finally:
            connection.leave()
