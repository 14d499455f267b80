"""`tally device wipe`: take the recorder's parts off a board, and say what is lost."""

import json
import sys

import click

from tallystick.evidence.errors import TransportError
from tallystick.tools.device import board as known_board
from tallystick.tools.device import onboard, ports
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.install import NEW, OLD

PROFILE = ".cbor"
# What provisioning left beside the configuration: a WiFi's password, a code to join with.
SECRETS = ("/wifi.json", "/join.json")
# What a recorder keeps in its journal's folder beside the journal.
BESIDE = ("about", "lock")


@click.command(
    epilog="""\b
Examples:
  tally device wipe --journal
  tally device wipe --configuration --journal --library --yes
""",
    short_help="Take the recorder off a board, or its records.",
)
@ports.port_options
@click.option("--journal", is_flag=True, help="The records.")
@click.option(
    "--configuration",
    is_flag=True,
    help="tallystick.json, credential, profiles, TLS's and WiFi's files, a key in a file.",
)
@click.option("--library", is_flag=True, help="The recorder's code.")
@click.option("--yes", is_flag=True, help="For scripts: do not ask.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def wipe(
    port: str | None,
    board: str | None,
    journal: bool,  # noqa: FBT001 - click passes flags by name
    configuration: bool,  # noqa: FBT001 - as above
    library: bool,  # noqa: FBT001 - as above
    yes: bool,  # noqa: FBT001 - as above
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Remove what is named from a board; all else on it stays, main.py too.

    What is lost is said and confirmed first: records that no gateway has given a receipt for, and a
    key in a file. A key in a chip stays there. `tally device pull` fetches the records before.
    """
    if not (journal or configuration or library):
        message = "say what: --journal, --configuration, --library"
        raise click.UsageError(message)
    with Connection(ports.choose(port, board)) as connection:
        known_board.named(connection, board)
        there = onboard.read(connection)
        lost = _lost(connection, there, journal=journal, configuration=configuration)
        lost += ["the recorder's library"] if library else []
        for line in lost:
            click.echo(f"would be lost: {line}", err=True)
        _confirm(yes=yes)
        removed = _remove(
            connection, there, journal=journal, configuration=configuration, library=library
        )
    if as_json:
        click.echo(json.dumps({"port": connection.port, "lost": lost, "removed": removed}))
        return
    click.echo("removed: " + (", ".join(removed) or "nothing, none of it was there"))


def _lost(
    connection: Connection,
    there: onboard.Onboard | None,
    *,
    journal: bool,
    configuration: bool,
) -> list[str]:
    if there is None:
        return []
    lost = []
    if journal:
        log = onboard.newest_log(connection, there)
        if log is not None:
            unsent = log.tree.size - (log.custody[0] if log.custody else 0)
            lost.append(f"{unsent} records that no gateway has given a receipt for")
        elif there.journal:
            lost.append("a journal that cannot be read, and whatever is in it")
    if configuration:
        if there.key == "file":
            lost.append("the device's key: it cannot sign as this device ever again")
        else:
            lost.append(f"not the key: it is in a chip ({there.key}), and stays there")
        lost.append("the configuration and the credential; enrolment gives them again")
    return lost


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        message = "nothing was done: no terminal here to confirm at; --yes confirms"
        raise click.UsageError(message)
    if not click.confirm("Remove it?", err=True):
        raise TransportError("not-confirmed", "nothing was done")


def _remove(
    connection: Connection,
    there: onboard.Onboard | None,
    *,
    journal: bool,
    configuration: bool,
    library: bool,
) -> list[str]:
    """In an order in which a board that loses power meanwhile is only less provisioned."""
    gone: list[str] = []
    folders: list[str] = []
    if configuration and there is not None:
        # The configuration first: without it nothing else is looked for.
        gone += [onboard.CONFIG, *_named(there, "credential"), *SECRETS]
        tls = there.config.get("tls")
        gone += [onboard.beside(str(path)) for path in (tls.values() if tls else ())]
        for folder in _named(there, "profiles"):
            gone += [path for path in connection.files(folder) if path.endswith(PROFILE)]
            folders.append(folder)
        gone += [there.key_path] if there.key_path else []
    if journal and there is not None:
        # Oldest first, as a recorder frees them.
        names = [*sorted(there.journal), *BESIDE]
        gone += [f"{there.journal_folder}/{name}" for name in names]
        folders.append(there.journal_folder)
    if library:
        # In one step, so that a part of it is never imported.
        connection.run(
            f"if _there({LIBRARY!r}):\n _remove({OLD!r})\n os.rename({LIBRARY!r}, {OLD!r})"
        )
        gone += [OLD, NEW]
    found = [path for path in gone if connection.ask(f"_there({path!r})")]
    for path in found:
        connection.run(f"_remove({path!r})")
    for folder in folders:
        # What else somebody put there stays.
        connection.run(f"try: os.rmdir({folder!r})\nexcept OSError: pass")
    return [LIBRARY if path == OLD else path for path in found]


def _named(there: onboard.Onboard, name: str) -> list[str]:
    value = there.config.get(name)
    return [onboard.beside(value)] if isinstance(value, str) else []
