"""`tally gateway import`: what was pulled from devices, into a gateway's store."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from tallystick.evidence import credential as credentials
from tallystick.evidence import segment as segments
from tallystick.evidence.errors import Malformed
from tallystick.evidence.hello import Hello
from tallystick.gateway import config as configs
from tallystick.gateway import logs
from tallystick.gateway.importing import Imported, take_in
from tallystick.tools._files import read_bytes
from tallystick.tools._progress import progress
from tallystick.tools.gateway_common import CONFIG, JSON

SEGMENTS, CUSTODY, CREDENTIAL = "segments", "custody", "credential.cbor"
EXPORT, DEVICES = "export.json", "devices"
CREDENTIAL_BYTES_MAX = 16_384
SEGMENT_BYTES_MAX = 262_144
REPLAYED = "replayed"


@click.command(
    "import",
    epilog="""\b
Examples:
  tally device pull robot-1
  tally gateway import robot-1 --config gateway.toml
  tally gateway import acme-may --config gateway.toml        of `tally gateway export`
  tally gateway import bytes.segment --config gateway.toml   one segment, of a known device
""",
    short_help="Take what was pulled from devices into the store.",
)
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@CONFIG
@JSON
def import_(sources: tuple[Path, ...], path: Path, as_json: bool) -> None:  # noqa: FBT001 - click's way
    """Take folders of `tally device pull` or `tally gateway export`, or files of segments.

    Into a stopped gateway's store: they are verified, committed and receipted as if they came from
    the device. Custody receipts are written to each folder's custody. What is there already changes
    nothing, except that it takes the place of damaged bytes. With a gateway that runs, use
    `tally device send`.
    """
    logs.configure()
    sources = tuple(_expanded(sources))
    with progress("messages taken in") as told:
        done = take_in(configs.load(path), _messages(sources), told)
    written = _write_receipts(sources, done)
    refused = {reason: count for reason, count in done.refused.items() if reason != REPLAYED}
    if as_json:
        row = {"messages": done.messages, "segments": done.segments, "repaired": done.repaired}
        click.echo(json.dumps({**row, "refused": done.refused, "receipts": written}))
    else:
        click.echo(
            f"{done.segments:,} segments taken, {done.refused.get(REPLAYED, 0):,} were known, "
            f"{done.repaired:,} damaged ones repaired, {written:,} custody receipts written"
        )
        for reason, count in sorted(refused.items()):
            click.echo(f"{count:,} refused: {reason}")
    if refused:
        raise click.exceptions.Exit(1)


def _expanded(sources: tuple[Path, ...]) -> Iterator[Path]:
    # An export holds a folder for each device.
    for source in sources:
        if (source / EXPORT).is_file():
            yield from sorted((source / DEVICES).iterdir() if (source / DEVICES).is_dir() else ())
        else:
            yield source


def _messages(sources: tuple[Path, ...]) -> Iterator[tuple[bytes, bytes]]:
    for source in sources:
        if source.is_dir():
            yield from _folder(source)
        else:
            data = read_bytes(source, SEGMENT_BYTES_MAX)
            yield segments.parse(data).device, data


def _folder(folder: Path) -> Iterator[tuple[bytes, bytes]]:
    # As a device does after a connect, for each of its epochs: a hello, then what it has.
    credential = credentials.parse(read_bytes(folder / CREDENTIAL, CREDENTIAL_BYTES_MAX))
    epochs: dict[str, list[Path]] = {}
    for path in sorted((folder / SEGMENTS).glob("*.segment"), key=_ordinal):
        epochs.setdefault(path.name.partition("-")[0], []).append(path)
    if not epochs:
        raise Malformed("bad-value", f"{folder}: nothing was pulled into it")
    for paths in epochs.values():
        first = segments.parse(read_bytes(paths[0], SEGMENT_BYTES_MAX))
        last = segments.parse(read_bytes(paths[-1], SEGMENT_BYTES_MAX))
        hello = Hello(first.device, first.epoch, first.first, last.to, credential.statements)
        yield first.device, hello.encode()
        for path in paths:
            yield first.device, read_bytes(path, SEGMENT_BYTES_MAX)


def _ordinal(path: Path) -> int:
    last = path.stem.rpartition("-")[2]
    if not last.isdecimal():
        raise Malformed("bad-value", f"{path}: not a file of `tally device pull`")
    return int(last)


def _write_receipts(sources: tuple[Path, ...], done: Imported) -> int:
    written = 0
    for folder in (source for source in sources if source.is_dir()):
        file = next((folder / SEGMENTS).glob("*.segment"))
        device = segments.parse(read_bytes(file, SEGMENT_BYTES_MAX)).device
        for (owner, epoch), receipt in done.receipts.items():
            if owner == device:
                target = folder / CUSTODY
                target.mkdir(exist_ok=True)
                name = f"{epoch.hex()}-{receipt.to:012}.cbor"
                (target / name).write_bytes(receipt.encode())
                written += 1
    return written
