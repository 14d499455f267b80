"""`tally gateway import`: what was pulled from devices, into a gateway's store."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tallystick.evidence.keys import PublicKey
from tallystick.gateway import config as configs
from tallystick.gateway import logs
from tallystick.gateway.importing import Imported, take_in
from tallystick.tools._progress import progress
from tallystick.tools.gateway_common import CONFIG, JSON, plain
from tallystick.tools.pulledfolder import PulledFolder, segment_file

EXPORT, DEVICES = "export.json", "devices"
REPLAYED = "replayed"


@click.command(
    "import",
    epilog="""\b
Examples:
  tally device pull robot-1
  tally gateway import robot-1 --config gateway.toml
  tally gateway import acme-may --config gateway.toml        of `tally gateway export`
  tally gateway import /mnt/robot-7/tally --config gateway.toml   a robot's own folder, copied
  tally gateway import bytes.segment --config gateway.toml   one segment, of a known device
""",
    short_help="Take what was pulled from devices into the store.",
)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@CONFIG
@JSON
def import_(sources: tuple[Path, ...], path: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Take folders of `tally device pull` or `tally gateway export`, or files of segments.

    A robot's own folder, copied with its `journal` and `credential.cbor`, will do as well. Into a
    stopped gateway's store: they are verified, committed and receipted as if they came from the
    device. Custody receipts are written to each folder's custody. What is there already changes
    nothing, except that it takes the place of damaged bytes. With a gateway that runs, use
    `tally device send`. Exit code 1 when something was refused or cannot be read.
    """
    logs.configure()
    config = configs.load(path)
    looked_at = _looked_at(_expanded(sources), config.roots)
    folders = [one for one in looked_at if isinstance(one, PulledFolder)]
    with progress("messages taken in") as told:
        done = take_in(config, _messages(looked_at), told)
    written = _write_receipts(folders, done)
    broken = [said for one in folders for said in one.broken]
    unsigned = sum(one.unsigned for one in folders)
    refused = {reason: count for reason, count in done.refused.items() if reason != REPLAYED}
    if as_json:
        row: dict[str, Any] = {
            "messages": done.messages,
            "segments": done.segments,
            "repaired": done.repaired,
        }
        row = {**row, "refused": done.refused, "receipts": written, "broken": broken}
        row["unsigned"] = unsigned
        click.echo(json.dumps(row))
    else:
        click.echo(
            f"{done.segments:,} segments taken, {done.refused.get(REPLAYED, 0):,} were known, "
            f"{done.repaired:,} damaged ones repaired, {written:,} custody receipts written"
        )
        for reason, count in sorted(refused.items()):
            click.echo(f"{count:,} refused: {reason}")
        for said in broken:
            click.echo(plain(said))
        if unsigned:
            click.echo(
                f"{unsigned:,} newest records have no signature yet; their device signs them"
            )
    if refused or broken:
        raise click.exceptions.Exit(1)


def _expanded(sources: tuple[Path, ...]) -> Iterator[Path]:
    # An export holds a folder for each device.
    for source in sources:
        if (source / EXPORT).is_file():
            yield from sorted((source / DEVICES).iterdir() if (source / DEVICES).is_dir() else ())
        else:
            yield source


def _looked_at(
    sources: Iterable[Path], roots: Mapping[str, PublicKey]
) -> list[PulledFolder | tuple[bytes, bytes]]:
    # Before anything is taken: what is wrong must not end it in its middle.
    return [
        PulledFolder(source, roots) if source.is_dir() else segment_file(source)
        for source in sources
    ]


def _messages(sources: list[PulledFolder | tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for source in sources:
        if isinstance(source, PulledFolder):
            yield from source.messages()
        else:
            yield source


def _write_receipts(folders: list[PulledFolder], done: Imported) -> int:
    written = 0
    for one in folders:
        for (owner, epoch), receipt in done.receipts.items():
            if owner == one.device:
                one.keep(f"{epoch.hex()}-{receipt.to:012}.cbor", receipt.encode())
                written += 1
    return written
