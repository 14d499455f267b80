"""`tally audit`: verify a whole log from its tiles, on all cores, or one shard of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tallystick.evidence import note as notes
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.genesis import parse as parse_genesis
from tallystick.evidence.limits import LOG_CHECKPOINT_BYTES_MAX
from tallystick.evidence.note import Note, NoteKey
from tallystick.tools._files import read_bytes
from tallystick.tools._screen import indented, screen
from tallystick.tools.log_source import LogSource
from tallystick.verify import audit as audits
from tallystick.verify._text import printable
from tallystick.verify.audit import Part, Tiled
from tallystick.verify.tiles import WIDTH

SHARDS_MAX = 100_000
JOBS_MAX = 1_024
_SHARD = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})")


def parse_shard(text: str) -> tuple[int, int]:
    """(number, of) of "3/8"; UsageError for anything else."""
    match = _SHARD.fullmatch(text)
    number, of = (int(match[1]), int(match[2])) if match else (1, 0)
    if not number <= of <= SHARDS_MAX:
        raise click.UsageError("--shard: i/n with i from 1 to n, such as 3/8")
    return number, of


@click.command(
    epilog="""\b
Examples:
  tally audit /srv/tiles
  tally audit https://validator.insurer.example --key validator.insurer.example/log+1a2b... --json
  tally audit /srv/tiles --checkpoint checkpoint --shard 3/8

\b
Exit code: 0 all of it (of the shard) holds, 1 something does not or cannot be read, 2 used wrongly.
Shards of one audit read one --checkpoint; where each exits with 0 the whole log holds.
"""
)
@click.argument("where", metavar="URL_OR_FOLDER")
@click.option("--key", "pinned", help="The log's key; else what its first entry names.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Audit up to this checkpoint, not up to the newest.",
)
@click.option("--shard", "shard", default="1/1", show_default=True, help="Part i of n.")
@click.option(
    "--jobs",
    type=click.IntRange(1, JOBS_MAX),
    default=None,
    help="Processes; as many as cores unless given.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def audit(
    where: str,
    pinned: str | None,
    checkpoint: Path | None,
    shard: str,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Verify every entry of a log from its tiles: hashes, proofs, order, verdicts' signatures."""
    number, of = parse_shard(shard)
    with LogSource(where) as source:
        note = source.checkpoint() if checkpoint is None else _read_note(checkpoint)
        log = Tiled(source.fetch, note)
        key = _key(log, pinned)
        note.verify(key)
        units = list(audits.parts(audits.shard(note.size, number, of)))
        found = Part()
        cores = jobs or len(os.sched_getaffinity(0))
        with _bar() as bar:
            task = bar.add_task("entries", total=sum(map(len, units)) * WIDTH)
            for part, width in _found(log, key, units, where, min(cores, len(units))):
                found.add(part)
                bar.advance(task, width * WIDTH)
    if pinned is None:
        found.not_checked["whose log it is: its own first entry names its key (give --key)"] = 1
    if found.policy_before is not None:
        found.not_checked["which registration policy was before the first one of this shard"] = 1
    statements = found.counts["device checkpoints"] + found.counts["other statements"]
    if statements:
        found.not_checked["signatures of devices, gateways and fleets: tally verify does"] = (
            statements
        )
    _show(where, note, shard, found, as_json_=as_json)
    if found.problems_found:
        sys.exit(1)


def _read_note(path: Path) -> Note:
    try:
        return notes.parse(read_bytes(path, LOG_CHECKPOINT_BYTES_MAX).decode())
    except UnicodeDecodeError as error:
        raise Malformed("bad-value", f"{path} is no log checkpoint") from error


def _key(log: Tiled, pinned: str | None) -> NoteKey:
    if pinned is not None:
        key = notes.parse_key(pinned)
    elif log.note.size:
        key = parse_genesis(log.entry(0)).note_key
    else:
        raise Unverified("wrong-key", "the log is empty, and no key is given")
    if key.name != log.note.origin:
        raise Unverified(
            "wrong-key", f"the checkpoint is of {log.note.origin}, the key of {key.name}"
        )
    return key


# --- on all cores --------------------------------------------------------------------------

_log: Tiled | None = None
_note_key: NoteKey | None = None


def _begin(where: str, note: str, key: str) -> None:
    """In a process of its own: open the log once for all its units."""
    global _log, _note_key  # noqa: PLW0603 - what an initializer leaves for the units
    _log = Tiled(LogSource(where).fetch, notes.parse(note))
    _note_key = notes.parse_key(key)


def _unit(of: range) -> Part:
    if _log is None or _note_key is None:
        raise RuntimeError
    return audits.audit_part(_log, _note_key, of)


def _found(
    log: Tiled, key: NoteKey, units: list[range], where: str, jobs: int
) -> Iterator[tuple[Part, int]]:
    """What was found of each unit, in order, and how many bundles it has."""
    if jobs <= 1:
        for unit in units:
            yield audits.audit_part(log, key, unit), len(unit)
        return
    # Not forked: the progress bar has a thread.
    with ProcessPoolExecutor(
        jobs,
        multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(where, log.note.text(), key.text()),
    ) as pool:
        for unit, part in zip(units, pool.map(_unit, units), strict=True):
            yield part, len(unit)


# --- what is printed -----------------------------------------------------------------------


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeRemainingColumn(), console=screen(stderr=True), transient=True)


def _show(where: str, note: Note, shard: str, found: Part, *, as_json_: bool) -> None:
    if as_json_:
        told: dict[str, Any] = {
            "log": where,
            "origin": note.origin,
            "size": note.size,
            "root": note.root.hex(),
            "shard": shard,
            "good": not found.problems_found,
            "entries": found.entries,
            "tiles": found.tiles,
            "counts": dict(sorted(found.counts.items())),
            "problems_found": found.problems_found,
            "problems": [asdict(one) for one in found.problems],
            "not_checked": dict(sorted(found.not_checked.items())),
        }
        click.echo(json.dumps(told, indent=2))
        return
    console = screen()
    verdict = "hold" if not found.problems_found else "were read, and not all of it holds"
    console.print(
        f"{printable(note.origin)}, {note.size:,} entries, shard {shard}: "
        f"{found.entries:,} {verdict}",
        markup=False,
    )
    indented(console, f"root {note.root.hex()}")
    for name, count in sorted(found.counts.items()):
        indented(console, f"{count:,} {name}")
    for one in found.problems:
        indented(console, f"WRONG entry {one.entry:,}: {printable(one.message)} ({one.reason})")
    if found.problems_found > len(found.problems):
        indented(console, f"and {found.problems_found - len(found.problems):,} more")
    for what, count in sorted(found.not_checked.items()):
        indented(console, f"not checked: {what}" + (f" ({count:,})" if count > 1 else ""))
