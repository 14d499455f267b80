"""`tally fleet invite`: codes with which devices may ask to join."""

import contextlib
import json
from pathlib import Path

import click

from tallystick.evidence.errors import TallyError
from tallystick.evidence.keys import b64u
from tallystick.evidence.limits import INVITATION_USES_MAX
from tallystick.tools import joincodes
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.joingate import STATEMENTS_AT_ONCE, open_gate

FOLDER = click.Path(path_type=Path, file_okay=False)
HOURS_MAX = 24 * 366
COUNT_MAX = 10_000
GATEWAY = click.option(
    "--gateway",
    "gateways",
    multiple=True,
    metavar="URL|FOLDER",
    help="A gateway's door, or its folder on this machine; repeatable.",
)
CA = click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What a door's certificate is checked with, else what this computer trusts.",
)


@click.command(
    epilog="""\b
Examples:
  tally fleet invite acme --gateway https://gw-1.acme.example:8471
  tally fleet invite acme --gateway acme/gateways/gw-1 --count 100 --json > codes.json
  tally fleet invite acme --gateway http://127.0.0.1:8471 --uses 20 --hours 8
  tally fleet invite acme --gateway http://127.0.0.1:8471 --withdraw Yl7vJ0cF1rWq4yq5dPq8Zw
""",
    short_help="Make a code with which a device may ask to join.",
)
@click.argument("folder", type=FOLDER)
@GATEWAY
@CA
@click.option(
    "--uses",
    type=click.IntRange(1, INVITATION_USES_MAX),
    default=1,
    show_default=True,
    help="How many devices may ask with one code.",
)
@click.option(
    "--hours",
    type=click.IntRange(1, HOURS_MAX),
    default=72,
    show_default=True,
    help="How long devices may ask with it.",
)
@click.option(
    "--count",
    type=click.IntRange(1, COUNT_MAX),
    default=1,
    show_default=True,
    help="So many codes at once.",
)
@click.option("--withdraw", metavar="NAME", help="End a code, by its name, at these gateways.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def invite(
    folder: Path,
    gateways: tuple[str, ...],
    ca: Path | None,
    uses: int,
    hours: int,
    count: int,
    withdraw: str | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Make a code with which a device may ask to join, and tell the gateways of it.

    The code is shown once and kept nowhere: hand it to whoever sets the device up. It carries the
    fleet root's fingerprint, so that no other root can be put in its place.
    """
    fleet = Fleet.open(folder)
    click.get_current_context().call_on_close(fleet.close)
    with contextlib.ExitStack() as stack:
        # Whatever can be wrong with a gateway's name is found before a code is made.
        gates = [(where, stack.enter_context(open_gate(where, fleet, ca))) for where in gateways]
        if withdraw is not None:
            made = [(withdraw, "", joincodes.withdraw(fleet, withdraw))]
        else:
            made = []
            for _ in range(count):
                code, statement = joincodes.invite(fleet, uses, hours * joincodes.HOUR_S)
                made.append((b64u(code.name()), code.text(), statement))
        for where, gate in gates:
            for at in range(0, len(made), STATEMENTS_AT_ONCE):
                some = [statement for _, _, statement in made[at : at + STATEMENTS_AT_ONCE]]
                for reason in gate.hand_in(some):
                    if reason is not None:
                        message = f"{where} refuses the invitation: {reason}"
                        raise TallyError(reason, message)
    _say(fleet, made, gateways, withdrawn=withdraw is not None, as_json=as_json)


def _say(
    fleet: Fleet,
    made: list[tuple[str, str, bytes]],
    gateways: tuple[str, ...],
    *,
    withdrawn: bool,
    as_json: bool,
) -> None:
    if as_json:
        rows = [{"name": name, "code": text} if text else {"name": name} for name, text, _ in made]
        click.echo(json.dumps({"fleet": fleet.name, "codes": rows, "gateways": list(gateways)}))
        return
    for name, text, _ in made:
        click.echo(f"withdrawn: {name}" if withdrawn else f"{text}\n  its name: {name}")
    if not gateways and not withdrawn:
        kept = fleet.path / joincodes.FOLDER
        click.echo(
            f"no gateway knows it yet: copy {kept}/*.statements into a gateway's join folder, or "
            "call this with --gateway",
            err=True,
        )
