"""`tally library`: the recorder for MicroPython, compiled, in a folder that goes onto a board."""

import os
import shutil
import subprocess
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.hw import boards
from tallystick.tools import device_library, micropython, mip_package

MARK = Path("tallystick", "recorder", "__init__.mpy")
KIB = 1024


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
Examples:
  tally library lib                     then: mpremote cp -r lib :
  tally library lib grip.py             try a program on this machine's MicroPython
  tally library --bits 32 lib grip.py   with the words of a microcontroller
  tally library --url http://10.0.0.5:8000 lib      for mip on a board
""",
)
@click.option(
    "--bits",
    type=click.Choice(["64", "32"]),
    default="64",
    show_default=True,
    help="Of the MicroPython that PROGRAM runs on.",
)
@click.option(
    "--board",
    metavar="NAME",
    help="Compile for this board's architecture; `tally key boards` lists them.",
)
@click.option(
    "--whole",
    is_flag=True,
    help="All of tallystick.evidence and its names, for a program that uses more than the recorder;"
    " on 32 bits some 8 KiB of heap more.",
)
@click.option(
    "--url",
    default="",
    help="Where FOLDER will be served, for boards whose mip takes no relative addresses.",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.argument("program", nargs=-1, metavar="[PROGRAM [ARGS]...]")
def library(
    *,
    bits: str,
    board: str | None,
    whole: bool,
    url: str,
    folder: Path,
    program: tuple[str, ...],
) -> None:
    """Write the recorder, compiled for MicroPython 1.22 or newer, into FOLDER: a board's /lib.

    With it comes micropython-lib's MQTT client, which pip fetches once. All of it is bytecode, so
    the same files serve every board. With PROGRAM, run that on the MicroPython of this machine,
    with FOLDER on its path; on Debian one is fetched into the cache where none is installed.
    FOLDER has a package.json too, for mip and mpremote mip.
    """
    if program and program[0].startswith("-"):
        message = f"{program[0]} stands behind FOLDER, where PROGRAM is: options come before FOLDER"
        raise click.UsageError(message)
    _write(folder, whole=whole, url=url, arch=_arch(board) if board else None)
    if not program:
        size = sum(path.stat().st_size for path in folder.rglob("*.mpy"))
        click.echo(f"{folder}: {size // KIB:,} KiB; it belongs in a board's /lib")
        return
    found = micropython.find(int(bits))
    environment = {**os.environ, **found.environment([folder.absolute()])}
    done = subprocess.run(found.argv(*program), env=environment, check=False)
    click.get_current_context().exit(done.returncode)


def _arch(name: str) -> str:
    """Of a board with MicroPython; KeyDriverError names those that there are."""
    described = boards.load(name)
    if described.micropython is None:
        message = f"{name} runs CPython: pip install tallystick"
        raise Malformed("bad-value", message)
    return described.micropython.arch


def _write(folder: Path, *, whole: bool, url: str, arch: str | None) -> None:
    """Nothing of an older version may stay, and nothing that is not ours may go."""
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MARK).is_file():
        message = f"{folder} holds something else: name a new folder"
        raise Malformed("exists", message)
    modules = device_library.micropython_lib(board=not whole)
    for old in ("tallystick", *(path.name for path in modules.iterdir())):
        shutil.rmtree(folder / old, ignore_errors=True)
    device_library.device_library(out=folder, board=not whole, arch=arch)
    shutil.copytree(modules, folder, dirs_exist_ok=True)
    # For a board that fetches it with mip from wherever this folder is served.
    (folder / mip_package.NAME).write_text(mip_package.of_folder(folder, url))
