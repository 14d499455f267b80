"""`tally validator hold`: bodies that must be kept, whoever asks for their erasure."""

import json
from pathlib import Path

import click

from tallystick.tools._files import read_text
from tallystick.tools.api import ValidatorApi

TOKEN_BYTES_MAX = 4_096
URL = click.option("--url", required=True, help="The validator's address.")
TOKEN = click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    help="A file with an operator's token.",
)


def _api(url: str, token_file: Path) -> ValidatorApi:
    api = ValidatorApi(url, read_text(token_file, TOKEN_BYTES_MAX).strip())
    click.get_current_context().call_on_close(api.close)
    return api


@click.group(
    epilog="""\b
Examples:
  tally validator hold add case-7 --namespace dock-3 --why "claim 7" --url URL --token-file counsel
  tally validator hold list --url http://127.0.0.1:8470 --token-file counsel.token
  tally validator hold lift case-7 --url http://127.0.0.1:8470 --token-file counsel.token
"""
)
def hold() -> None:
    """Put bodies on hold: neither retention nor a fleet's order erases them then."""


@hold.command(
    epilog="""\b
Examples:
  tally validator hold add case-7 --device ID --why "insurer asks" --url URL --token-file counsel
  tally validator hold add case-8 --namespace dock-3 --interaction ID --why "case 8" \\
      --url URL --token-file counsel.token
"""
)
@click.argument("name")
@click.option("--fleet", help="What devices of this fleet recorded.")
@click.option("--device", help="What this device recorded.")
@click.option("--namespace", help="What was claimed in this namespace.")
@click.option("--interaction", help="Only in this interaction of the namespace.")
@click.option("--why", required=True, help="For whoever reads the list.")
@URL
@TOKEN
def add(
    name: str,
    fleet: str | None,
    device: str | None,
    namespace: str | None,
    interaction: str | None,
    why: str,
    url: str,
    token_file: Path,
) -> None:
    """Put bodies on hold under NAME; the same again changes nothing."""
    given = {
        "fleet": fleet,
        "device": device,
        "namespace": namespace,
        "interaction": interaction,
        "why": why,
    }
    _api(url, token_file).hold(name, {key: text for key, text in given.items() if text is not None})
    click.echo(f"{name} holds")


@hold.command(
    name="list",
    epilog="""\b
Example:
  tally validator hold list --url http://127.0.0.1:8470 --token-file counsel.token --json
""",
)
@URL
@TOKEN
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_(url: str, token_file: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List what is on hold, who ordered it and why."""
    rows = _api(url, token_file).holds()
    if as_json:
        click.echo(json.dumps({"holds": rows}))
        return
    for row in rows:
        what = ", ".join(
            f"{key} {row[key]}"
            for key in ("fleet", "device", "namespace", "interaction")
            if row.get(key) is not None
        )
        click.echo(f"{row['name']}: {what}; {row['why']} (by {row['by']})")
    if not rows:
        click.echo("nothing is on hold")


@hold.command(
    epilog="""\b
Example:
  tally validator hold lift case-7 --url http://127.0.0.1:8470 --token-file counsel.token
"""
)
@click.argument("name")
@URL
@TOKEN
def lift(name: str, url: str, token_file: Path) -> None:
    """End the hold NAME; what grew old meanwhile is erased soon."""
    _api(url, token_file).lift(name)
    click.echo(f"{name} is lifted")
