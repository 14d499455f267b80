"""`tally fleet`: make a fleet root, enrol members, list them, trust others' roots."""

import json
from pathlib import Path

import click
from rich.table import Table

from tallystick.evidence import keycustody, root
from tallystick.evidence.enrolment import CUSTODIES
from tallystick.tools import fleet_erase, fleet_keys, fleetdir, provision, rootkey, secrets
from tallystick.tools._files import read_text
from tallystick.tools._screen import screen
from tallystick.tools.attester import attester
from tallystick.tools.fleet_approve import approve
from tallystick.tools.fleet_enroll import ALGORITHMS, FOLDER, enroll, say_unaware
from tallystick.tools.fleet_invite import invite
from tallystick.verify.policy import CUSTODY_DEFAULT


@click.group(
    epilog="""\b
Examples:
  tally fleet init acme --name acme.example
  tally fleet trust acme borealis.pub
  tally fleet enroll acme gw-1 --kind gateway
  tally fleet enroll acme robot-7 --detail asset_tag=A-0007 --broker mqtt://10.0.0.2:1883
  tally fleet list acme
  tally fleet rotate acme robot-7 --request robot-7.rotation
  tally fleet revoke acme robot-7 --reason lost --head-from https://validator.example
"""
)
def fleet() -> None:
    """Make a fleet root, enrol devices, gateways and validators, change and end their keys."""


fleet.add_command(attester)
fleet.add_command(enroll)
fleet.add_command(invite)
fleet.add_command(approve)


@fleet.command(
    epilog="""\b
Examples:
  tally fleet init acme --name acme.example
  tally fleet init acme --name acme.example --seal
  tally fleet init acme --name acme.example --key 'pkcs11:token=root;object=acme'
"""
)
@click.argument("folder", type=FOLDER)
@click.option("--name", required=True, help="The fleet's name: 1 to 20 of a-z 0-9 . -")
@click.option(
    "--key",
    "uri",
    default=rootkey.FILE,
    show_default=True,
    metavar="URI",
    help="Where the root key is made.",
)
@click.option("--existing", is_flag=True, help="The root key is there already; make none.")
@click.option(
    "--alg", type=click.Choice(list(ALGORITHMS)), help="Else what the hardware has, or Ed25519."
)
@secrets.pin_file_option
@secrets.seal_option
def init(
    folder: Path,
    name: str,
    uri: str,
    existing: bool,  # noqa: FBT001 - click passes flags by name
    alg: str | None,
    pin_file: Path | None,
    seal: bool,  # noqa: FBT001 - as above
) -> None:
    """Make a fleet root in FOLDER, or in hardware; whoever has its key can enrol.

    The path of --pin-file is kept in fleet.toml. Without it, commands that sign take the PIN from
    TALLY_ROOT_PIN or TALLY_PIN, or ask for it.
    """
    wanted = None if alg is None else ALGORITHMS[alg]
    made = fleetdir.Fleet.init(
        folder, name, wanted, uri=uri, existing=existing, pin_file=pin_file, seal=seal
    )
    kept = made.root_key.uri.removeprefix("file:")
    click.echo(f"fleet {name} is in {folder}; its root key: keep {kept} safe and offline")
    made.close()
    if not seal and pin_file is None:
        secrets.say_if_open(made.root_key.uri, None, "--seal keeps it under a passphrase")
    click.echo(f"others pin this line ({folder / 'root.pub'}):\n{made.root_line}")


@fleet.command(
    epilog="""\b
Example:
  tally fleet trust acme borealis.pub
""",
    short_help="Accept another organisation's root.",
)
@click.argument("folder", type=FOLDER)
@click.argument("root_file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def trust(folder: Path, root_file: Path) -> None:
    """Accept another organisation's root: its devices' halves, its gateways, its validators.

    Compare the fingerprint by voice before you rely on it. Who is enrolled afterwards accepts it;
    configurations that were written before are listed.
    """
    opened = fleetdir.Fleet.open(folder)
    name = opened.trust(read_text(root_file, rootkey.ROOT_LINE_BYTES_MAX))
    click.echo(f"{name} is trusted; its fingerprint is")
    key = opened.roots()[name]
    click.echo(provision.fingerprint(key))
    line = root.format_root(name, key)
    say_unaware(
        provision.written_without(opened, line), "do not accept it until their `roots` have", line
    )


@fleet.command(
    "list",
    epilog="""\b
Examples:
  tally fleet list acme
  tally fleet list acme --json | jq .members
""",
)
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_members(folder: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show whom the fleet enrolled and whom it trusts."""
    opened = fleetdir.Fleet.open(folder)
    rows = [
        {
            "kind": member.kind,
            "label": member.label,
            "id": member.id_text,
            "status": member.identity.status,
            "custody": CUSTODIES[keycustody.current(member.identity).level],
            "valid_until_s": member.identity.enrolment.validity[1],
            "config": str(member.path),
        }
        for member in opened.members()
    ]
    trusted = sorted(set(opened.roots()) - {opened.name})
    if as_json:
        click.echo(json.dumps({"fleet": opened.name, "trusts": trusted, "members": rows}))
        return
    # Narrow gaps: an id of 43 characters and all the rest fit into 80 columns.
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for column in ("kind", "label", "id", "status", "custody"):
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for row in rows:
        table.add_row(*(str(row[c]) for c in ("kind", "label", "id", "status", "custody")))
    console = screen()
    console.print(f"fleet {opened.name}")
    console.print(table)
    console.print("trusts: " + (", ".join(trusted) or "nobody else"))


@fleet.command(
    epilog="""\b
Example:
  tally fleet policy acme --at-least 2 --out policy.toml
  tally fleet policy acme --custody software --out policy.toml   keys in files too
""",
    short_help="Write a policy that trusts this fleet's roots.",
)
@click.argument("folder", type=FOLDER)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("handover",),
    show_default=True,
    help="A packaged profile or a TOML file, repeatable.",
)
@click.option("--at-least", default=1, show_default=True, help="Organisations that must vouch.")
@click.option(
    "--custody",
    type=click.Choice(CUSTODIES),
    default=CUSTODIES[CUSTODY_DEFAULT],
    show_default=True,
    help="How robots' keys must be held at least; evidence must show it.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
def policy(folder: Path, profiles: tuple[str, ...], at_least: int, custody: str, out: Path) -> None:
    """Write a policy that trusts this fleet's roots and the validators that they vouch for.

    A start to edit: who relies on evidence decides whom it trusts.
    """
    opened = fleetdir.Fleet.open(folder)
    lines = opened.root_lines()
    if not 1 <= at_least <= len(lines):
        message = f"--at-least is 1 to {len(lines)}: so many organisations are trusted here"
        raise click.UsageError(message)
    wanted = provision.packaged_profiles(profiles)
    out.write_text(provision.policy(lines, lines, wanted, at_least=at_least, custody=custody))
    click.echo(f"the policy: {out}")
    demanded = CUSTODIES.index(custody)
    for member in opened.members():
        held = keycustody.current(member.identity)
        if member.kind == "device" and held.level < demanded:
            click.echo(
                f"it refuses {member.label}: its key is held in {CUSTODIES[held.level]}"
                + (f" ({held.why()})" if held.why() else "")
            )


fleet_keys.register(fleet)
fleet.add_command(fleet_erase.erase)
