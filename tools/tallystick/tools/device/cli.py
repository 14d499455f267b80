"""The group `tally device`; each command is imported when it is used, as those of `tally`."""

import importlib

import click

# Command -> (module, attribute, one line for `tally device --help`).
COMMANDS = {
    "list": ("listing", "list_boards", "Show the boards on this computer's ports."),
    "flash": ("flash", "flash", "Put MicroPython and the recorder on a board."),
    "provision": ("provision", "provision", "Enrol a board and write its configuration."),
    "join": ("join", "join", "Ask a gateway to enrol this computer's robot."),
    "info": ("info", "info", "Show what a board is, and what is on it."),
    "monitor": ("monitor", "monitor", "Print decisions as a board makes them."),
    "pull": ("pull", "pull", "Fetch the journal of a board without a network."),
    "send": ("send", "send", "Hand what was pulled to a gateway."),
    "wipe": ("wipe", "wipe", "Take the recorder off a board, or its records."),
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
        module, attribute, _ = COMMANDS[cmd_name]
        try:
            loaded = importlib.import_module("tallystick.tools.device." + module)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("tallystick"):
                raise
            package = (error.name or "").partition(".")[0]
            message = (
                f"`tally device {cmd_name}` needs the package {package}: "
                "pip install 'tallystick[device]'"
            )
            raise click.UsageError(message) from error
        command = getattr(loaded, attribute)
        if not isinstance(command, click.Command):
            message = f"tallystick.tools.device.{module}.{attribute} is no command"
            raise TypeError(message)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in COMMANDS])


@click.group(
    cls=Commands,
    epilog="""\b
Examples:
  tally device list
  tally device flash --image ESP32_GENERIC_S3.bin
  tally device provision acme robot-1 --broker mqtt://10.0.0.2:1883
  tally device info --port /dev/ttyACM0
  tally device pull robot-1
""",
)
def device() -> None:
    """Boards with MicroPython, on a cable.

    All but `list` and `monitor` stop the board's program, and start it again when they are done.
    """
