"""`tally device info`: what a board is, and what is on it."""

import json
from typing import Any

import click

from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import device_text
from tallystick.tools.device import board as known_board
from tallystick.tools.device import onboard, ports
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.manifest import FIRMWARE, MANIFEST, VERSION, firmware, sha256

KIB = 1024
PROGRAM = "/main.py"
HEAP = "gc.collect()\nprint(gc.mem_free(), gc.mem_alloc())"


@click.command(
    epilog="""\b
Examples:
  tally device info
  tally device info --port /dev/ttyACM0 --json
""",
    short_help="Show what a board is, and what is on it.",
)
@ports.port_options
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def info(port: str | None, board: str | None, as_json: bool) -> None:  # noqa: FBT001 - click's
    """Show a board, its MicroPython, heap and flash, the recorder on it, its device and journal.

    Nothing is written. Keys are never read.
    """
    with Connection(ports.choose(port, board)) as connection:
        rows = gather(connection, board)
    if as_json:
        click.echo(json.dumps({name.replace(" ", "_"): value for name, value, _ in rows}))
        return
    width = max(len(name) for name, _, _ in rows)
    for name, value, words in rows:
        click.echo(f"{name:<{width}}  {words or value}")


def gather(connection: Connection, wanted: str | None = None) -> list[tuple[str, Any, str]]:
    """Rows of (name, value, the value for people where it is said otherwise)."""
    found = known_board.named(connection, wanted)
    free, taken = map(int, connection.run(HEAP).split())
    rows: list[tuple[str, Any, str]] = [
        ("port", connection.port, ""),
        ("board", found.name, found.title),
        ("machine", found.machine, ""),
        ("micropython", found.version_text, ""),
        ("heap free", free, f"{free:,} of {free + taken:,} bytes, before a program runs"),
        ("flash free", found.free_bytes, _of(found.free_bytes, found.flash_bytes)),
        *_library(connection),
    ]
    there = onboard.read(connection)
    if there is None:
        return [*rows, ("device", None, f"none: the board has no {onboard.CONFIG}")]
    return rows + _device(connection, there) + _journal(connection, there)


def _of(part: int, whole: int) -> str:
    return f"{part // KIB:,} of {whole // KIB:,} KiB"


def _library(connection: Connection) -> list[tuple[str, Any, str]]:
    files = connection.files(LIBRARY)
    prefix = len(LIBRARY) + 1
    hashes = {path[prefix:]: digest for path, (_, digest) in files.items() if digest}
    if MANIFEST not in hashes or FIRMWARE not in hashes:
        whole = "none" if not hashes else "not from `tally device flash`: it has no manifest"
        return [("library", None, whole)]
    listed = connection.get(f"{LIBRARY}/{MANIFEST}")
    digest = connection.get(f"{LIBRARY}/{FIRMWARE}").decode().strip()
    version = connection.get(f"{LIBRARY}/{VERSION}").decode().strip() if VERSION in hashes else ""
    modules = {path: one for path, one in hashes.items() if path.endswith((".mpy", ".py"))}
    words = "".join(f"{modules[path]}  {path}\n" for path in sorted(modules)).encode()
    whole = "whole" if words == listed and sha256(listed) == digest else "changed"
    said = version if whole == "whole" else f"{version}, changed since: tally device flash"
    program = connection.ask(f"_there({PROGRAM!r}) and _hash({PROGRAM!r})")
    return [
        ("library", version, said),
        ("library digest", digest, ""),
        ("library is", whole, ""),
        ("firmware digest", firmware(digest, program or None), ""),
    ]


def _device(connection: Connection, there: onboard.Onboard) -> list[tuple[str, Any, str]]:
    rows: list[tuple[str, Any, str]] = [
        ("fleet", there.config.get("fleet"), ""),
        ("key", there.key, "in a file" if there.key == "file" else there.key),
        ("uplink", there.config.get("uplink"), there.config.get("uplink") or "none"),
    ]
    credential = onboard.read_credential(connection, there)
    if credential is None:
        return [("device", None, "not enrolled: there is no credential"), *rows]
    try:
        who = onboard.identity(there.config, credential)
    except TallyError as error:
        return [("device", None, f"its credential does not verify: {error}"), *rows]
    text = device_text(who.id)
    return [("device", text, ""), ("enrolment", who.status, ""), *rows]


def _journal(connection: Connection, there: onboard.Onboard) -> list[tuple[str, Any, str]]:
    bound = there.config.get("journal_bytes")
    files = len(there.journal)
    words = f"{there.used:,} bytes in {files} files"
    if bound is not None:
        words += f", of {bound:,}"
    rows: list[tuple[str, Any, str]] = [("journal bytes", there.used, words)]
    log = onboard.newest_log(connection, there)
    if log is None:
        return [*rows, ("epoch", None, "none" if not files else "the newest file cannot be read")]
    custody = log.custody[0] if log.custody else 0
    unsent = log.tree.size - custody
    return [
        *rows,
        ("epoch", log.epoch.hex(), ""),
        ("boots", log.boot, ""),
        ("records", log.tree.size, ""),
        ("in custody", custody, ""),
        ("unsent", unsent, f"{unsent} records that no gateway has given a receipt for"),
    ]
