"""Options that several benches have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tallystick.tools.bench.bound import SECONDS_MAX
from tallystick.tools.bench.notary import STORES

Option = Callable[[Any], Any]

STORE: Option = click.option(
    "--store",
    "stores",
    type=click.Choice(STORES),
    multiple=True,
    default=STORES,
    show_default=True,
    help="Where; may be given more than once. What is not installed is said to be not measured.",
)
JSON: Option = click.option("--json", "as_json", is_flag=True, help="Print the JSON object only.")


def picture(said: str = "Draw it into this SVG.") -> Option:
    """--picture FILE.svg; `said`: what is drawn."""
    return click.option(
        "--picture",
        type=click.Path(path_type=Path, dir_okay=False, writable=True),
        help=said,
    )


def seconds(default: float, said: str = "How long each peer is measured, about.") -> Option:
    """--seconds, of something that `said` names."""
    return click.option(
        "--seconds",
        type=click.FloatRange(0.05, SECONDS_MAX),
        default=default,
        show_default=True,
        help=said,
    )


def number(name: str, least: int, most: int, default: int, said: str) -> Option:
    """A whole number from `least` to `most`."""
    return click.option(
        name,
        type=click.IntRange(least, most),
        default=default,
        show_default=True,
        help=said,
    )
