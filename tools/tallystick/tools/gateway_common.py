"""What the commands about gateways share: their options, and how times and others' texts look."""

from datetime import datetime, timezone
from pathlib import Path

import click

CONFIG = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("gateway.toml"),
    show_default=True,
    help="The gateway's TOML file.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="For scripts.")


def when(time_ms: int | None) -> str:
    """A time in UTC, to the second."""
    if time_ms is None:
        return "never"
    return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def plain(text: str) -> str:
    """What others wrote: it must not be read as markup, nor move the cursor."""
    return "".join(c if c.isprintable() else "?" for c in text).replace("[", "\\[")
