"""`tally fleet`: make a fleet root, enrol members, list them, trust others' roots."""

import json
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.evidence import keycustody, root
from tallystick.evidence.enrolment import CUSTODIES, SUBJECTS
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.hw import boards
from tallystick.hw.signer import Signer
from tallystick.tools import fleet_keys, fleetdir, provision, rootkey, secrets
from tallystick.tools._files import read_text
from tallystick.tools._screen import screen
from tallystick.tools.attester import attester
from tallystick.validator.config import parse_bind
from tallystick.verify.policy import CUSTODY_DEFAULT

ALGORITHMS = {"ed25519": EDDSA, "p256": ES256}
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(
    epilog="""\b
Examples:
  tally fleet init acme --name acme.example
  tally fleet trust acme borealis.pub
  tally fleet enroll acme gw-1 --kind gateway
  tally fleet enroll acme robot-7 --detail asset_tag=A-0007 --broker mqtt://10.0.0.2:1883
  tally fleet list acme
"""
)
def fleet() -> None:
    """Make a fleet root, enrol devices, gateways and validators."""


fleet.add_command(attester)


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
    click.echo(f"others pin this line ({folder / 'root.pub'}):\n{made.root_line}")


@fleet.command(
    epilog="""\b
Examples:
  tally fleet enroll acme robot-7                       a key is made here
  tally fleet enroll acme robot-7 --request robot-7.request --key 'atecc608:bus=1'
  tally fleet enroll acme robot-8 --key 'atecc608:bus=1' the key is in a chip on this machine
  tally fleet enroll acme gw-1 --kind gateway --broker mqtt://127.0.0.1:1883
  tally fleet enroll acme v-1 --kind validator --bind 127.0.0.1:8470
"""
)
@click.argument("folder", type=FOLDER)
@click.argument("label")
@click.option(
    "--kind",
    type=click.Choice(SUBJECTS),
    default="device",
    show_default=True,
    help="What is enrolled.",
)
@click.option(
    "--alg",
    type=click.Choice(list(ALGORITHMS)),
    default="ed25519",
    show_default=True,
    help="Of the key that is made here.",
)
@click.option(
    "--request",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What `tally key request` wrote where the key is.",
)
@click.option(
    "--key",
    "key_uri",
    metavar="URI",
    help="Where the key is: with --request on the member's machine, else on this one. Without "
    "either, a key is made in the member's folder.",
)
@click.option(
    "--as-software",
    is_flag=True,
    help="Enrol the key as software, whatever its evidence shows or does not.",
)
@click.option("--detail", "details", multiple=True, metavar="NAME=TEXT", help="Signed, repeatable.")
@click.option(
    "--release", "releases", multiple=True, metavar="NAME=SHA256", help="Accepted firmware release."
)
@click.option(
    "--interval",
    "interval_s",
    default=fleetdir.INTERVAL_S,
    show_default=True,
    help="Seconds between two checkpoints at most, also when idle.",
)
@click.option(
    "--valid-days",
    default=fleetdir.VALID_DAYS,
    show_default=True,
    help="How long the enrolment is valid.",
)
@click.option(
    "--broker",
    default="mqtt://127.0.0.1:1883",
    show_default=True,
    help="Of a device or gateway; mqtts:// for TLS.",
)
@click.option("--namespace", help="Where interactions take place; the fleet's name unless given.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    default=("handover",),
    show_default=True,
    help="A packaged profile or a TOML file, repeatable.",
)
@click.option("--bind", default="127.0.0.1:8470", show_default=True, help="Of a validator.")
@click.option(
    "--validator",
    "validators",
    multiple=True,
    metavar="URL=CREDENTIAL",
    help="A validator that this gateway sends to, repeatable.",
)
@click.option(
    "--note-key",
    "note_uri",
    metavar="URI",
    help="Where a validator's Ed25519 key for log checkpoints is, on this machine; else one is "
    "made in its folder.",
)
@secrets.pin_file_option
def enroll(
    folder: Path,
    label: str,
    kind: str,
    alg: str,
    request: Path | None,
    key_uri: str | None,
    as_software: bool,  # noqa: FBT001 - click passes flags by name
    details: tuple[str, ...],
    releases: tuple[str, ...],
    interval_s: int,
    valid_days: int,
    broker: str,
    namespace: str | None,
    profiles: tuple[str, ...],
    bind: str,
    validators: tuple[str, ...],
    note_uri: str | None,
    pin_file: Path | None,
) -> None:
    """Enrol LABEL and write its folder, configuration included.

    --pin-file is for the keys of --key and --note-key, and is named in the configuration; the
    fleet root has its own.
    """
    opened = fleetdir.Fleet.open(folder)
    click.get_current_context().call_on_close(opened.close)
    named = dict(_pair(text, "--detail") for text in details)
    parse_bind(bind)
    # Whatever can be wrong with what was given is found before anybody is enrolled.
    wanted = provision.packaged_profiles(profiles)
    peers = [provision.validator_peer(*_pair(text, "--validator")) for text in validators]
    if request is None and pin_file is not None:
        pin_file = pin_file.absolute()
    ask = secrets.secrets(pin_file)
    note_uri = None if note_uri is None else _absolute(note_uri)

    def describe(made: Path) -> dict[str, Any]:
        if kind == "validator":
            notes = provision.note_key(opened, label, made, note_uri, ask)
            return provision.validator_details(opened, label, bind, made, notes) | named
        return dict(named)

    signer = None
    if key_uri is not None and request is None:
        key_uri = _absolute(key_uri)
        signer = Signer.from_uri(key_uri, ask)
        click.get_current_context().call_on_close(signer.close)
    key = boards.expand(key_uri or "file:key")
    member = opened.enrol(
        kind,
        label,
        alg=ALGORITHMS[alg],
        request=_request(request),
        signer=signer,
        as_software=as_software,
        details=describe,
        releases=tuple((name, _digest(value)) for name, value in map(_release, releases)),
        interval_s=interval_s,
        valid_days=valid_days,
    )
    if kind == "device":
        written = provision.device(
            opened,
            member,
            uplink=broker,
            namespace=namespace or opened.name,
            profiles=wanted,
            settings={"key": key},
        )
    elif kind == "gateway":
        written = provision.gateway(
            opened, member, broker=broker, validators=peers, key=key, pin_file=pin_file
        )
    else:
        written = provision.validator(
            opened,
            member,
            bind=bind,
            profiles=wanted,
            key=key,
            note_key=note_uri or "file:note.key",
            pin_file=pin_file,
        )
    held = CUSTODIES[keycustody.current(member.identity).level]
    click.echo(f"{kind} {label} is {member.id_text}; its key is held in {held}")
    click.echo(f"its configuration: {written}")
    if kind == "gateway":
        _say_unaware(
            provision.written_without(opened, member.id_text, ["device"]),
            "take no receipts from it until their `gateways` have",
            json.dumps(provision.gateway_pin(member)),
        )


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
    _say_unaware(
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


def _say_unaware(paths: list[Path], what: str, text: str) -> None:
    """Members have their configurations where they run: only their operator can change those."""
    if paths:
        click.echo(f"these were written before, and {what}\n  {text}")
        for path in paths:
            click.echo(f"  in {path}")


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        message = f"{option} takes two parts with = between them, not {text!r}"
        raise click.UsageError(message)
    return name, value


def _release(text: str) -> tuple[str, str]:
    return _pair(text, "--release")


def _digest(text: str) -> bytes:
    if len(text) != 64 or any(c not in "0123456789abcdef" for c in text):
        message = (
            f"a release's digest is 64 lower-case hex digits (sha256sum prints it), not {text!r}"
        )
        raise click.UsageError(message)
    return bytes.fromhex(text)


def _absolute(uri: str) -> str:
    """A file's path in a configuration is relative to it, and on a command line to here."""
    for begin in ("file:", "atecc608:virtual="):
        if uri.startswith(begin):
            path, *rest = uri[len(begin) :].split(";")
            return begin + ";".join([str(Path(path).absolute()), *rest])
    return uri


def _request(path: Path | None) -> bytes | None:
    if path is None:
        return None
    if path.stat().st_size > STATEMENT_BYTES_MAX:
        raise Malformed("too-large", f"{path} is no request for enrolment: it is too long")
    return path.read_bytes()


fleet_keys.register(fleet)
