"""The entry point of the command `tally`.

Each command lives in a file of its own and is imported when it is used, so that the base install
(no extras) runs every command that needs none, and `tally --help` answers at once.
"""

import importlib
import sys
from difflib import get_close_matches
from importlib.metadata import version

import click

from tallystick.evidence.errors import TallyError
from tallystick.tools._masked import masked

ERROR_CHARS_MAX = 2_000

# Command -> (module, attribute, extra that brings what it imports, one line for `tally --help`).
# The line stands here because showing it must not import the command.
COMMANDS = {
    "fleet": ("fleet", "fleet", None, "Make a fleet root, enrol devices, gateways and validators."),
    "peer": ("peer", "peer", None, "Exchange keys and addresses with other organisations."),
    "key": ("key", "key", None, "Show, make, test and set up keys in files and in hardware."),
    "gateway": ("gateway", "gateway", "gateway", "Run, check and watch a gateway."),
    "doctor": ("doctor.cli", "doctor", "gateway", "Look at a gateway's site, and name each risk."),
    "plan": ("plan", "plan_", None, "Compute bytes a day, disk and link for a fleet."),
    "hold": ("hold", "hold", "gateway", "Stop a gateway from pruning, for an incident."),
    "validator": ("validator", "validator", "validator", "Run and check a validator."),
    "recorder": ("recorder", "recorder", None, "Record for programs in any language."),
    "inspect": ("inspect", "inspect", None, "Show any of our objects, and what of it is verified."),
    "verify": ("verify", "verify", None, "Check an evidence file offline against a policy."),
    "log": ("log", "log", "client", "Check validators' logs, follow and compare them."),
    "audit": ("audit", "audit", "client", "Verify a whole log from its tiles, on all cores."),
    "profile": ("profile", "profile", None, "Show, check and try profiles with their examples."),
    "proof": ("proof", "proof", "client", "Prove misbehaviour from logs, a file for each."),
    "score": ("score", "score", "client", "Score validators and gateways from their logs."),
    "export": ("export", "export", "client", "Fetch the evidence of a record or interaction."),
    "chip": ("chip", "chip", None, "Make and serve virtual ATECC608s, for tests and trials."),
    "device": ("device.cli", "device", None, "Put the recorder on boards, and see what they do."),
    "library": ("library", "library", "board", "Write the recorder for MicroPython into a folder."),
    "replay": ("replay.cli", "replay", "all", "Send recorded robot data the whole way."),
    "demo": ("demo.cli", "demo", "demo", "Six robots, two gateways, three validators, three lies."),
    "dev": ("dev.cli", "dev", "demo", "A whole site for development, in one process, live."),
    "bench": ("bench.cli", "bench", "all", "Measure the hot paths beside their peers."),
}


class Commands(click.Group):
    """A group that imports a command when it is used."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The names, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; UsageError says which extra is missing."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, extra, _ = COMMANDS[cmd_name]
        try:
            loaded = importlib.import_module("tallystick.tools." + module)
        except ModuleNotFoundError as error:
            if extra is None or (error.name or "").startswith("tallystick"):
                raise
            message = (
                f"`tally {cmd_name}` needs the package {error.name}: "
                f"pip install 'tallystick[{extra}]'"
            )
            raise click.UsageError(message) from error
        command = getattr(loaded, attribute)
        if not isinstance(command, click.Command):
            message = f"tallystick.tools.{module}.{attribute} is no command"
            raise TypeError(message)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command for a misspelled one."""
        near = get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][3]) for name in COMMANDS])


EPILOG = """\b
Examples:
  tally demo                                 see the whole way on this machine
  tally fleet init acme --name acme.example  make a fleet root
  tally verify handover.tally --policy policy.toml
"""


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(version("tallystick"), prog_name="tally")
def cli() -> None:
    """Signed evidence of what machines decided, and its verification."""


def main() -> None:
    """Run `tally`; a fault that the user can act on is one sentence, never a traceback.

    Exit codes: 0 done, 1 the answer is no or it failed, 2 used wrongly, 130 interrupted.
    """
    try:
        # What `ctx.exit(1)` says comes back so, where click does not end the program itself.
        code = cli(standalone_mode=False)
        if isinstance(code, int) and code:
            sys.exit(code)
    except click.ClickException as error:
        error.message = masked(error.message)  # type: ignore[misc]
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except TallyError as error:
        from tallystick.verify._text import printable  # noqa: PLC0415 - used when it fails

        # A validator's answer or a file may have words in it: they must not drive the terminal.
        said = printable(masked(f"{error} ({error.reason})"), ERROR_CHARS_MAX)
        click.echo(f"Error: {said}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"Error: {where}{error.strerror or error}", err=True)
        sys.exit(1)
    except _of_stores() as error:
        click.echo(f"Error: the store cannot be read or written: {error}", err=True)
        sys.exit(1)


def _of_stores() -> tuple[type[Exception], ...]:
    # Most commands import no SQLite. A broken page of a store is found in the middle of work.
    loaded = sys.modules.get("sqlite3")
    return () if loaded is None else (loaded.Error,)
