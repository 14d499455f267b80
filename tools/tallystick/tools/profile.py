"""`tally profile`: show a profile, check its text, and try its examples."""

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import b64u
from tallystick.evidence.limits import PROFILE_BYTES_MAX
from tallystick.evidence.profile import Profile
from tallystick.tools._screen import indented, screen
from tallystick.tools.verify import read_limited
from tallystick.verify import profiles
from tallystick.verify._text import printable
from tallystick.verify.evidence_check import tolerances
from tallystick.verify.profile_examples import (
    EXAMPLES_BYTES_MAX,
    Tried,
    parse_examples,
    try_example,
)
from tallystick.verify.profile_toml import parse_profile

EXAMPLES_SUFFIX = ".examples.toml"
WHICH = click.argument("which", metavar="NAME|FILE")
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")


@click.group(
    epilog="""\b
Examples:
  tally profile list
  tally profile show handover                what must hold between the parties' claims
  tally profile check dock.toml              before anybody uses it
  tally profile test dock.toml               with the examples in dock.examples.toml
  tally profile show joint-lift --toml > lift.toml   to start from
"""
)
def profile() -> None:
    """Profiles: what parties claim, and what must hold between their claims.

    NAME is one that ships with tally, FILE a TOML file. A policy accepts profiles by their digest.
    """


@profile.command(
    "list",
    epilog="""\b
Example:
  tally profile list
""",
)
@JSON
def list_(*, as_json: bool) -> None:
    """The profiles that ship with tally."""
    rows = []
    for name in profiles.NAMES:
        made = profiles.load(name)
        rows.append(
            {
                "name": f"{made.name}@{made.version}",
                "digest": b64u(made.digest),
                "roles": sorted(made.roles),
                "checks": [f"{kind} {check}" for kind, check, _ in map(list, made.checks)],
            }
        )
    if as_json:
        click.echo(json.dumps({"profiles": rows}, indent=2))
        return
    table = Table("profile", "digest", "roles", "checks", box=None, pad_edge=False)
    for row in rows:
        table.add_row(
            str(row["name"]), str(row["digest"]), ", ".join(row["roles"]), ", ".join(row["checks"])
        )
    screen().print(table)


@profile.command(
    epilog="""\b
Examples:
  tally profile show handover
  tally profile show dock.toml --json
  tally profile show joint-lift --toml > lift.toml
"""
)
@WHICH
@JSON
@click.option("--toml", "as_toml", is_flag=True, help="Its text, to copy and to start from.")
def show(which: str, *, as_json: bool, as_toml: bool) -> None:
    """Show roles, claims, checks with every tolerance, and the digest."""
    text, _ = _text(which)
    made = parse_profile(text)
    if as_toml:
        click.echo(text, nl=False)
    elif as_json:
        click.echo(json.dumps(_described(made), indent=2))
    else:
        _print(made)


@profile.command(
    epilog="""\b
Example:
  tally profile check dock.toml
"""
)
@WHICH
@JSON
def check(which: str, *, as_json: bool) -> None:
    """Check a profile's text; a mistake is named with its line and key."""
    text, _ = _text(which)
    made = parse_profile(text)
    if as_json:
        click.echo(json.dumps({"name": _name(made), "digest": b64u(made.digest)}))
        return
    counts = f"{len(made.roles)} roles, {len(made.checks)} checks"
    click.echo(f"{_name(made)} is a profile: {counts}, digest {b64u(made.digest)}")


@profile.command(
    epilog="""\b
Examples:
  tally profile test handover
  tally profile test dock.toml --examples trials.toml
"""
)
@WHICH
@click.option(
    "--examples",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The examples; else NAME.examples.toml beside the profile.",
)
@JSON
def test(which: str, examples: Path | None, *, as_json: bool) -> None:
    """Try the examples of a profile: the finding on each, beside what it should be.

    Exit code: 0 all are as expected, 1 one is not or there are none, 2 used wrongly.
    """
    text, beside = _text(which)
    if examples is not None:
        beside = read_limited(examples, EXAMPLES_BYTES_MAX).decode(errors="replace")
    made = parse_profile(text)
    if beside is None:
        name = Path(which).with_suffix(EXAMPLES_SUFFIX)
        message = f"{name} is not there: write examples, or name them with --examples"
        raise click.ClickException(message)
    tried = [try_example(example) for example in parse_examples(beside, made)]
    if as_json:
        click.echo(json.dumps(_tried(made, tried), indent=2))
    else:
        _print_tried(made, tried)
    if not tried or any(one.faults for one in tried):
        sys.exit(1)


def _text(which: str) -> tuple[str, str | None]:
    """The profile's text, and that of the examples beside it."""
    path = Path(which)
    if not path.is_file():
        if which in profiles.NAMES:
            return profiles.text(which), profiles.examples(which)
        known = ", ".join(profiles.NAMES)
        message = f"{which!r} is no file and no profile that ships with tally; these do: {known}"
        raise click.UsageError(message)
    beside = path.with_suffix(EXAMPLES_SUFFIX)
    examples = _utf8(beside, EXAMPLES_BYTES_MAX) if beside.is_file() else None
    return _utf8(path, PROFILE_BYTES_MAX), examples


def _utf8(path: Path, bytes_max: int) -> str:
    try:
        return read_limited(path, bytes_max).decode()
    except UnicodeDecodeError:
        message = f"{path}: this is no text in UTF-8"
        raise Malformed("bad-value", message) from None


def _name(made: Profile) -> str:
    return f"{made.name}@{made.version}"


def _described(made: Profile) -> dict[str, Any]:
    claims = {
        f"{role}.{name}": {
            field: {"type": kind, "unit": unit, "decimals": decimals, "required": required}
            for field, (kind, unit, decimals, required) in fields.items()
        }
        for role, names in made.claims.items()
        for name, fields in names.items()
    }
    return {
        "name": _name(made),
        "publisher": made.publisher,
        "digest": b64u(made.digest),
        "deadline_ms": made.deadline_ms,
        "roles": {role: {"min": least, "max": most} for role, (least, most) in made.roles.items()},
        "claims": claims,
        "tolerances": tolerances(made),
    }


def _print(made: Profile) -> None:
    console = screen()
    console.print(Text(f"{_name(made)} by {made.publisher}", style="bold"))
    indented(console, f"digest {b64u(made.digest)}")
    console.print(Text("Roles", style="bold"))
    for role, (least, most) in made.roles.items():
        devices = f"{least}" if least == most else f"{least} to {most}"
        indented(console, f"{role}: {devices} device{'s' if most > 1 else ''}")
        for name, fields in made.claims[role].items():
            indented(console, f"  claims {name}")
            for field, (kind, unit, _, required) in fields.items():
                words = [kind, *([f"in {unit}"] if unit else [])]
                words += [] if required else ["(may be left out)"]
                indented(console, f"    {field}: {' '.join(words)}")
    console.print(Text("Checks, with every tolerance", style="bold"))
    for line in tolerances(made):
        indented(console, printable(line.removeprefix(_name(made)).strip(), 400))


def _tried(made: Profile, tried: list[Tried]) -> dict[str, Any]:
    return {
        "profile": _name(made),
        "ok": sum(not one.faults for one in tried),
        "failed": sum(bool(one.faults) for one in tried),
        "examples": [
            {
                "name": one.example.name,
                "expected": one.example.state,
                "state": one.finding.state,
                "faults": one.faults,
                "checks": {
                    check.name: {"result": check.result, "reason": check.reason}
                    for check in one.finding.checks
                },
            }
            for one in tried
        ],
    }


def _print_tried(made: Profile, tried: list[Tried]) -> None:
    console = screen()
    table = Table("", "example", "finding", "checks that did not pass", box=None, pad_edge=False)
    for one in tried:
        left = [
            f"{found.name}: {found.reason}"
            for found in one.finding.checks
            if found.result != "pass"
        ]
        mark = Text("ok", style="green") if not one.faults else Text("no", style="red")
        shown = [*left, *(f"expected otherwise: {fault}" for fault in one.faults)]
        table.add_row(mark, Text(printable(one.example.name)), one.finding.state, "\n".join(shown))
    console.print(table)
    bad = sum(bool(one.faults) for one in tried)
    counted = f"{len(tried)} examples, {bad} not as expected" if bad else f"{len(tried)} examples"
    click.echo(f"{_name(made)}: {counted}" if tried else f"{_name(made)}: there is no example")
