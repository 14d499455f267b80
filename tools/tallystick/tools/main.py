"""The entry point of the command `tally`."""

from importlib.metadata import version

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("tallystick"), prog_name="tally")
def main() -> None:
    """Signed evidence of what machines decided, and its verification."""
