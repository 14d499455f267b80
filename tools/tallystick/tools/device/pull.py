"""`tally device pull`: the journal of a board without a network, as evidence."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from tallystick.evidence import credential as credentials
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.keys import device_text
from tallystick.tools.device import board as known_board
from tallystick.tools.device import onboard, ports, pulled
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.manifest import sha256
from tallystick.tools.device.progress import bar
from tallystick.tools.device.session import on_board

JOURNAL = "journal"
SEGMENTS = "segments"
BEGIN_BYTES = 64


@click.command(
    epilog="""\b
Examples:
  tally device pull robot-1
  tally device pull robot-1 --port /dev/ttyACM0 --json
  for one in robot-1/segments/*; do tally inspect "$one"; done
""",
    short_help="Fetch the journal of a board without a network.",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@ports.port_options
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def pull(folder: Path, port: str | None, board: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's
    """Copy a board's journal into FOLDER, byte for byte, and verify it.

    FOLDER gets the journal's files, the configuration and the credential, and as `segments` what
    the device would have sent: each verified against the fleet roots of its configuration. The key
    is not copied, and the board's own journal stays as it is. Calling it again fetches what is new.
    """
    there, credential = on_board(port, board, partial(_copy, folder, board))
    if credential is None:
        message = (
            f"{folder}: the journal is copied; the board has no credential, so nothing of it can "
            "be verified"
        )
        raise Malformed("not-enrolled", message)
    (folder / "credential.cbor").write_bytes(credential)
    who = onboard.identity(there.config, credential)
    found = pulled.read(folder / JOURNAL, who, credentials.parse(credential).statements)
    _write(folder / SEGMENTS, found.segments)
    said = _said(folder, device_text(who.id), found)
    if as_json:
        click.echo(json.dumps(said))
    else:
        _print(said, found)
    if found.broken:
        raise click.exceptions.Exit(1)


def _copy(
    folder: Path, board: str | None, connection: Connection
) -> tuple[onboard.Onboard, bytes | None]:
    """The journal into the folder; the configuration and the credential."""
    known_board.named(connection, board)
    there = onboard.read(connection)
    if there is None:
        message = f"{connection.port}: the board has no {onboard.CONFIG}, so no journal either"
        raise TransportError("not-provisioned", message)
    _fetch(connection, there, folder)
    return there, onboard.read_credential(connection, there)


def _fetch(connection: Connection, there: onboard.Onboard, folder: Path) -> None:
    """The journal's files that differ, by their hashes; those that the board freed are kept."""
    target = folder / JOURNAL
    target.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for name, (size, digest) in sorted(there.journal.items()):
        path = target / name
        if not path.is_file() or sha256(path.read_bytes()) != digest:
            wanted[name] = size
    with bar("reading", sum(wanted.values())) as advance:
        for name, size in wanted.items():
            _keep(target / name, connection.get(f"{there.journal_folder}/{name}"))
            advance(size)
    (folder / "tallystick.json").write_text(json.dumps(there.config, indent=2) + "\n")


def _keep(path: Path, data: bytes) -> None:
    before = path.read_bytes()[:BEGIN_BYTES] if path.is_file() else b""
    # Its epoch is in a file's first frame: after a wipe the numbers begin again.
    if before != data[: len(before)]:
        message = (
            f"{path} is of another journal than the board's now, and is not written over: "
            "name another folder"
        )
        raise Malformed("other-journal", message)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _write(folder: Path, segments: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in segments.items():
        path = folder / name
        # What was pulled with its records stays when the board has only hashes of it any more.
        if not path.is_file() or path.stat().st_size < len(data):
            path.write_bytes(data)


def _said(folder: Path, device: str, found: pulled.Pulled) -> dict[str, Any]:
    log = found.log
    return {
        "device": device,
        "folder": str(folder),
        "epochs": found.epochs,
        "segments": len(found.segments),
        "records": dict(sorted(found.records.items())),
        "elided": found.elided,
        "unsigned": found.unsigned,
        "in_custody": log.custody[0] if log is not None and log.custody else 0,
        "broken": found.broken,
    }


def _print(said: dict[str, Any], found: pulled.Pulled) -> None:
    click.echo(f"device {said['device']}")
    counts = ", ".join(f"{count} {name}" for name, count in said["records"].items()) or "no records"
    click.echo(f"{said['segments']} segments, verified: {counts}")
    if found.elided:
        click.echo(f"{found.elided} records of which the device kept the hash only")
    if found.unsigned:
        click.echo(f"{found.unsigned} newest records have no signature yet; the device signs them")
    for epoch, why in found.broken.items():
        click.echo(f"epoch {epoch}: the rest could not be read: {why}", err=True)
