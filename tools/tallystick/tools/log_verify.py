"""`tally log verify`: read a whole log and check that it is what a validator's log must be."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from tallystick.evidence.errors import Unverified
from tallystick.evidence.genesis import parse as parse_genesis
from tallystick.evidence.note import Note, NoteKey
from tallystick.evidence.tree import Tree, leaf_hash
from tallystick.tools._screen import indented, screen
from tallystick.tools.log_source import LogSource
from tallystick.verify import logread
from tallystick.verify._text import printable, utc
from tallystick.verify.logcheck import LogCheck
from tallystick.verify.logread import TileCheck
from tallystick.verify.witnesses import Cosigned, Witnesses


@dataclass(frozen=True)
class Checked:
    """A log that holds together, as far as its checkpoint."""

    note: Note
    key: NoteKey
    pinned: bool
    cosigned: Cosigned
    limits: list[str]
    check: LogCheck
    tiles: int

    @property
    def not_checked(self) -> dict[str, int]:
        """What was left, and how often."""
        left = dict(self.check.not_checked)
        if not self.pinned:
            left["whose log it is: its own first entry names its key (give --key or --policy)"] = 1
        return left


def note_key(source: LogSource, note: Note, pinned: NoteKey | None) -> NoteKey:
    """The key of the log: the pinned one, or what its own first entry names."""
    if pinned is not None:
        return pinned
    if not note.size:
        raise Unverified("wrong-key", "the log is empty, and no key is given")
    _, first = next(logread.entries(source.fetch, 0, note.size))
    return parse_genesis(first[0]).note_key


def verify_log(
    source: LogSource, pinned: NoteKey | None, witnesses: Witnesses, at_s: int | None = None
) -> Checked:
    """Read and check it all; Unverified or Malformed says what does not hold."""
    note = source.checkpoint()
    key = note_key(source, note, pinned)
    if note.origin != key.name:
        raise Unverified("wrong-key", f"the checkpoint is of {note.origin}, the key of {key.name}")
    note.verify(key)
    cosigned = witnesses.demand(note, key, int(time.time()) if at_s is None else at_s)
    check = LogCheck(note.origin, key)
    tiles = TileCheck(source.fetch)

    def each(at: int, entry: bytes) -> None:
        check.entry(at, entry)
        tiles.leaf(leaf_hash(entry))

    logread.follow(source.fetch, Tree(), note, each)
    tiles.end()
    limits = witnesses.limits(key)
    return Checked(note, key, pinned is not None, cosigned, limits, check, tiles.tiles)


def as_json(where: str, done: Checked) -> dict[str, Any]:
    """What was checked, for programs."""
    return {
        "log": where,
        "origin": done.note.origin,
        "size": done.note.size,
        "root": done.note.root.hex(),
        "key": done.key.text(),
        "key_pinned": done.pinned,
        "time_ms": done.check.time_ms,
        "entries": dict(sorted(done.check.counts.items())),
        "tiles": done.tiles,
        "cosigned": done.cosigned.times,
        "not_counted": list(done.cosigned.left),
        "not_checked": done.not_checked,
        "limits": done.limits,
    }


def show(where: str, done: Checked, *, as_json_: bool) -> None:
    """Print it."""
    if as_json_:
        print(json.dumps(as_json(where, done), indent=2))  # noqa: T201 - the command's output
        return
    console = screen()
    console.print(f"{printable(done.note.origin)}: {done.note.size:,} entries hold together")
    indented(console, f"root {done.note.root.hex()}, signed by {printable(done.key.text())}")
    indented(console, f"log time {utc(done.check.time_ms)}")
    for name, count in sorted(done.check.counts.items()):
        indented(console, f"{count:,} {name}")
    indented(console, f"{done.tiles:,} tiles have the hashes of these entries")
    for organisation, time_s in sorted(done.cosigned.times.items()):
        indented(console, f"cosigned by {printable(organisation)} at {utc(time_s * 1000)}")
    for left in done.cosigned.left:
        indented(console, f"not counted: {printable(left)}")
    for what, count in sorted(done.not_checked.items()):
        indented(console, f"not checked: {what}" + (f" ({count:,})" if count > 1 else ""))
    for limit in done.limits:
        indented(console, f"note: {limit}")
