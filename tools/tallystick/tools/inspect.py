"""`tally inspect`: any of our objects, readable, with what is and what is not verified."""

import json
from pathlib import Path
from typing import Any

import click
from rich.text import Text
from rich.tree import Tree

from tallystick.evidence import score as scores
from tallystick.evidence.limits import EVIDENCE_BYTES_MAX
from tallystick.tools import attester_files, logsource
from tallystick.tools._screen import screen
from tallystick.tools.verify import FILE, read_limited
from tallystick.verify.describe import describe
from tallystick.verify.scorecheck import scored_again


@click.command(
    epilog="""\b
Examples:
  tally inspect handover.tally
  tally inspect robot-7/credential.cbor
  tally inspect handover.toml          a profile, with its digest
  tally inspect robot-7.rotation       or robot-7.request, robot-7.tpm
  tally inspect acme/root.pub --json
  tally inspect november.score --log URL1 --log URL2
"""
)
@click.argument("file", type=FILE)
@click.option("--log", "logs", multiple=True, help="Of a score: compute it again; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a tree.")
def inspect(file: Path, logs: tuple[str, ...], *, as_json: bool) -> None:
    """Show any of our objects, and what of it is verified.

    Records, statements, segments, halves, batches, receipts, log entries, log checkpoints,
    evidence files, messages, profiles, credentials, requests (for enrolments, rotations and
    attesters), public keys, proofs of misbehaviour, scores. Never a key file.
    """
    data = read_limited(file, EVIDENCE_BYTES_MAX)
    described = attester_files.described(data) if attester_files.is_one(data) else describe(data)
    if logs:
        scored_again(scores.parse(data), [logsource.read_log(where) for where in logs])
        described["verified"].append("its numbers: these logs give them")
        described["not_verified"] = [
            one for one in described["not_verified"] if "numbers" not in one
        ]
    if as_json:
        click.echo(json.dumps(described, indent=2, ensure_ascii=False))
        return
    screen().print(_object(described))


def _object(described: dict[str, Any]) -> Tree:
    title = f"{described['object']}, {described['bytes']:,} bytes"
    tree = Tree(Text(title, style="bold"))
    _grow(tree, described["fields"])
    for one in described.get("receipts", ()):
        tree.add(_object(one))
    for key, word, style in (
        ("verified", "verified", "green"),
        ("not_verified", "not verified", "yellow"),
    ):
        for line in described[key]:
            tree.add(Text(f"{word}: {line}", style=style))
    return tree


def _grow(tree: Tree, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        _branch(tree, str(name), value)


def _branch(tree: Tree, name: str, value: Any) -> None:
    if isinstance(value, dict) and "object" in value and "not_verified" in value:
        below = _object(value)
        below.label = Text(f"{name}: {value['object']}, {value['bytes']:,} bytes")
        tree.add(below)
    elif isinstance(value, dict) and value:
        _grow(tree.add(Text(name)), value)
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        below = tree.add(Text(f"{name}: {len(value)}"))
        for at, item in enumerate(value):
            _branch(below, str(at), item)
    elif isinstance(value, list):
        tree.add(Text(f"{name}: {', '.join(map(_plain, value)) or 'none'}"))
    else:
        tree.add(Text(f"{name}: {_plain(value)}"))


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if value != {} else "none"
