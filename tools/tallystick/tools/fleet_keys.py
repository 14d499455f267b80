"""`tally fleet rotate | replace | revoke | show | publish`: what becomes of members' keys."""

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keychange import REASONS
from tallystick.evidence.keys import from_b64u
from tallystick.hw.signer import Signer
from tallystick.recorder import config as device_config
from tallystick.tools import keychanges, provision, secrets
from tallystick.tools._masked import masked
from tallystick.tools._screen import indented, screen
from tallystick.tools.fleet_enroll import FOLDER, absolute
from tallystick.tools.fleetdir import Fleet, Member, write_private
from tallystick.tools.keychanges import Head

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NOTHING = "none"
_KEY_LINE = re.compile(r"(?m)^key = .*$")
_PIN_LINE = re.compile(r"(?m)^key_pin_file = (.*)$")


def register(fleet: click.Group) -> None:
    """Give `tally fleet` its commands about keys."""
    for command in (rotate, replace, revoke, show, publish):
        fleet.add_command(command)


def _open(folder: Path) -> Fleet:
    opened = Fleet.open(folder)
    click.get_current_context().call_on_close(opened.close)
    return opened


def open_signer(uri: str, pin_file: Path | None) -> Signer:
    """A key named on the command line; it is closed when the command ends."""
    signer = Signer.from_uri(absolute(uri), secrets.secrets(pin_file))
    click.get_current_context().call_on_close(signer.close)
    return signer


def _head(member: Member, head: str | None, url: str | None, *, journal: bool) -> Head | None:
    """The head that was named; `journal`: a device's own, where it is here and none is named."""
    if head is not None and url is not None:
        message = "give either --head or --head-from"
        raise click.UsageError(message)
    if head == NOTHING:
        return None
    if head is not None:
        return keychanges.parse_head(head)
    if url is not None:
        return keychanges.head_at(url, member)
    if journal and member.kind == "device":
        return keychanges.journal_head(_journal(member), member.id)
    return None


def _journal(member: Member) -> Path:
    path = member.path / provision.CONFIGS["device"]
    if not path.is_file():
        raise Malformed("bad-value", f"no {path}: name the head with --head or --head-from")
    return Path(str(device_config.load(str(path))["journal"]))


HEAD = click.option(
    "--head",
    metavar="EPOCH:SIZE:ROOT",
    help=f"The last trusted head, as `tally fleet show` writes it; `{NOTHING}` trusts nothing.",
)
HEAD_FROM = click.option(
    "--head-from",
    "head_url",
    metavar="URL",
    help="A validator: its newest head of the member is the last trusted one.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For scripts.")


# --- rotate ---------------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples, with the recorder stopped:
  tally fleet rotate acme robot-7 --key file:new.key      both keys are here
  tally fleet rotate acme robot-7 --request robot-7.rotation   they stay on the robot
""",
    short_help="Give a member a new key; its id and log go on.",
)
@click.argument("folder", type=FOLDER)
@click.argument("member")
@click.option("--key", "new_uri", help="Where the new key is, on this machine.")
@click.option("--old-key", "old_uri", help="Where the old one is; as configured unless given.")
@click.option("--request", type=FILE, help="What `tally key rotate-request` wrote on the device.")
@click.option("--as-software", is_flag=True, help="Claim no custody for --key, whatever holds it.")
@HEAD
@HEAD_FROM
@secrets.pin_file_option
def rotate(
    folder: Path,
    member: str,
    new_uri: str | None,
    old_uri: str | None,
    request: Path | None,
    as_software: bool,  # noqa: FBT001 - click passes flags by name
    head: str | None,
    head_url: str | None,
    pin_file: Path | None,
) -> None:
    """Sign that a new key goes on where MEMBER's old one ended.

    The old key, the new key and the fleet root sign. A device's recorder is stopped meanwhile: what
    the old key signs beyond the head that is named counts for nothing. Give the device its longer
    credential and its new key, then start it.
    """
    if (new_uri is None) == (request is None):
        message = "give either --key or --request"
        raise click.UsageError(message)
    opened = _open(folder)
    found = keychanges.find(opened, member)
    if request is not None:
        asked = keychanges.parse_request(request.read_bytes())
    else:
        named = _head(found, head, head_url, journal=True)
        pin_file = pin_file or _configured_pin_file(found)
        old = open_signer(old_uri or _configured_key(found), pin_file)
        new = open_signer(str(new_uri), pin_file)
        asked = keychanges.make_rotation(
            old,
            new,
            opened.name,
            found.id,
            named,
            found.identity.last_change,
            as_software=as_software,
        )
    changed = keychanges.sign_rotation(opened, found, asked)
    if new_uri is not None:
        _configure_key(changed, absolute(new_uri))
    click.echo(f"{changed.kind} {changed.label} goes on under a new key")
    if changed.kind == "device" or asked.head is not None:
        say_head(asked.head)
    click.echo(f"its credential: {changed.credential_path}")
    config = changed.path / provision.CONFIGS[changed.kind]
    if request is not None:
        click.echo(f"bring it to the device, and let `key` in its {config.name} name the new key")
    elif config.is_file():
        click.echo(f"its configuration names the new key, from its next start: {config}")
    _say_who_must_know(opened, changed)


def _configured_key(member: Member) -> str:
    path = member.path / provision.CONFIGS[member.kind]
    if member.kind == "device" and path.is_file():
        return str(device_config.load(str(path))["key"])
    match = _KEY_LINE.search(path.read_text()) if path.is_file() else None
    uri = json.loads(match[0].partition("=")[2]) if match else "file:key"
    if uri.startswith("file:") and not uri.startswith("file:/"):
        return f"file:{member.path / uri[5:]}"
    return str(uri)


def _configured_pin_file(member: Member) -> Path | None:
    """Of a gateway or validator: the new key's too, since the configuration goes on with it."""
    path = member.path / provision.CONFIGS[member.kind]
    match = _PIN_LINE.search(path.read_text()) if path.is_file() else None
    return None if match is None else member.path / json.loads(match[1])


def _configure_key(member: Member, uri: str) -> None:
    """Let the configuration in the member's folder name the new key."""
    path = member.path / provision.CONFIGS[member.kind]
    if not path.is_file():
        return
    text = path.read_text()
    if member.kind == "device":
        settings = json.loads(text)
        settings["key"] = uri
        text = json.dumps(settings, indent=2) + "\n"
    else:
        text = _KEY_LINE.sub(lambda _: f"key = {json.dumps(uri)}", text, count=1)
    write_private(path, text.encode())


def say_head(head: Any) -> None:
    """Print the head that a key change names."""
    if head is None:
        click.echo("no head is named")
    else:
        click.echo(f"the head that is named: {keychanges.head_text(head)}")


def _say_who_must_know(fleet: Fleet, member: Member) -> None:
    if member.kind == "gateway":
        pin = json.dumps(provision.gateway_pin(member))
        click.echo(f"devices take its receipts once their `gateways` have\n  {pin}")
    elif member.kind == "validator":
        click.echo("gateways need its new credential, and policies that pin its key the new line")
    click.echo(
        f"validators learn it from gateways, or at once: tally fleet publish {fleet.path} "
        f"{member.label} --to URL"
    )


# --- replace, revoke ------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Example, after robot-7's chip died and robot-7b was enrolled:
  tally fleet revoke acme robot-7 --reason lost --head-from https://validator.example
  tally fleet replace acme robot-7 robot-7b --head-from https://validator.example
""",
    short_help="Say that a new id stands in for a dead one.",
)
@click.argument("folder", type=FOLDER)
@click.argument("old")
@click.argument("new")
@HEAD
@HEAD_FROM
def replace(folder: Path, old: str, new: str, head: str | None, head_url: str | None) -> None:
    """Sign that NEW, which is enrolled already, stands in for OLD, whose chip is dead."""
    opened = _open(folder)
    dead, found = keychanges.find(opened, old), keychanges.find(opened, new)
    named = _head(dead, head, head_url, journal=False)
    changed = keychanges.replace(opened, dead, found, named)
    click.echo(f"{changed.kind} {changed.label} replaces {dead.label}")
    say_head(named)
    if dead.identity.status == "active":
        click.echo(
            f"{dead.label}'s key is still active: tally fleet revoke {opened.path} {dead.label} "
            "--reason lost"
        )
    _say_who_must_know(opened, changed)


@click.command(
    epilog="""\b
Examples:
  tally fleet revoke acme robot-7 --reason retired --head-from https://validator.example
  tally fleet revoke acme robot-7 --reason compromised --head none
""",
    short_help="End a member's key: retired, lost or compromised.",
)
@click.argument("folder", type=FOLDER)
@click.argument("member")
@click.option("--reason", type=click.Choice(REASONS), required=True, help="Why it ended.")
@click.option("--key", metavar="THUMBPRINT", help="Which of its keys; the current one otherwise.")
@HEAD
@HEAD_FROM
def revoke(
    folder: Path, member: str, reason: str, key: str | None, head: str | None, head_url: str | None
) -> None:
    """Sign that a key of MEMBER ended, and up to which head it is trusted.

    retired and lost: what lies up to that head stays good whenever it arrives. compromised: only
    what the validators that count had logged of it. It cannot be taken back.
    """
    opened = _open(folder)
    found = keychanges.find(opened, member)
    if found.kind == "device" and head is None and head_url is None:
        message = (
            "name the last trusted head: --head-from a validator, --head EPOCH:SIZE:ROOT, or "
            f"--head {NOTHING}"
        )
        raise click.UsageError(message)
    named = _head(found, head, head_url, journal=False)
    thumbprint = None if key is None else from_b64u(key, 32)
    changed = keychanges.revoke(opened, found, reason, named, thumbprint)
    click.echo(f"{changed.kind} {changed.label}: its key is {reason}")
    say_head(named)
    click.echo(
        f"validators must hear of it: tally fleet publish {opened.path} {changed.label} --to URL"
    )


# --- publish --------------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples:
  tally fleet publish acme --to https://validator.example
  tally fleet publish acme robot-7 --to http://127.0.0.1:8470 --to http://127.0.0.1:8471
""",
    short_help="Hand members' key changes to validators.",
)
@click.argument("folder", type=FOLDER)
@click.argument("members", nargs=-1)
@click.option("--to", "urls", multiple=True, required=True, help="A validator's URL, repeatable.")
@AS_JSON
def publish(
    folder: Path,
    members: tuple[str, ...],
    urls: tuple[str, ...],
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Hand credentials to validators: of MEMBERS, else of all whose keys have changed.

    A device that is gone sends its revocation to nobody, and its gateway may be down: this works
    without both. It may be repeated; what is known gets the same answer.
    """
    opened = _open(folder)
    chosen = [keychanges.find(opened, name) for name in members]
    if not members:
        chosen = [one for one in opened.members() if len(one.identity.digests) > 1]
    rows = []
    failed: list[str] = []
    for url in urls:
        try:
            for member, row in keychanges.publish(url, chosen):
                rows.append({"to": masked(url), "member": member.label, **row})
        except TallyError as error:
            # One validator that is away must not keep the others from hearing it.
            failed.append(masked(f"{url}: {error.message}"))
    bad = [row for row in rows if row["reason"] is not None]
    if as_json:
        click.echo(json.dumps({"published": rows, "failed": failed}))
    else:
        for row in rows:
            what = row["reason"] or f"logged at {row['entry']}"
            click.echo(f"{row['member']} at {row['to']}: {what}")
        if not chosen:
            click.echo("no member's key has changed: nothing to publish")
        for line in failed:
            click.echo(f"not sent to {line}", err=True)
    if bad or failed:
        click.get_current_context().exit(1)


# --- show -----------------------------------------------------------------------------------------


@click.command(
    epilog="""\b
Examples:
  tally fleet show acme robot-7
  tally fleet show acme robot-7 --json | jq '.keys[].status'
""",
    short_help="Show a member's keys, and what ended when and why.",
)
@click.argument("folder", type=FOLDER)
@click.argument("member")
@AS_JSON
def show(folder: Path, member: str, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show everything that the fleet root signed of MEMBER."""
    opened = _open(folder)
    told = keychanges.shown(opened, keychanges.find(opened, member))
    if as_json:
        click.echo(json.dumps(told))
        return
    console = screen()
    console.print(Text(f"{told['kind']} {told['label']} of {told['fleet']}", style="bold"))
    indented(console, f"id: {told['id']}")
    indented(console, f"status: {told['status']}")
    indented(
        console,
        f"valid: {_day(told['valid_from_s'] * 1000)} to {_day(told['valid_until_s'] * 1000)}",
    )
    if told["replaces"] is not None:
        indented(console, f"replaces: {told['replaces_label'] or told['replaces']}")
    for label in told["replaced_by"]:
        indented(console, f"replaced by: {label}")
    indented(console, f"configuration: {told['config']}")
    for number, key in enumerate(told["keys"], 1):
        console.print(Text(f"key {number} of {len(told['keys'])}", style="bold"))
        for line in _key_lines(key):
            indented(console, line)


def _key_lines(key: dict[str, Any]) -> list[str]:
    custody = key["custody"]
    if custody != key["claimed"]:
        custody += f" (the root says {key['claimed']}; its evidence does not show it)"
    lines = [
        f"thumbprint: {key['key']}",
        f"algorithm: {key['alg']}, custody: {custody}",
        *(f"  shown: {sentence}" for sentence in key["shown"]),
        *(f"  not proven: {sentence}" for sentence in key["not_proven"]),
        f"since: {_day(key['since_ms'])}"
        + (f", from the head {key['begins_at']} on" if key["begins_at"] else ""),
        f"status: {key['status']}",
    ]
    if key["ended_ms"] is not None:
        lines.append(f"ended: {_day(key['ended_ms'])}")
        lines.append(f"trusted up to: {key['ends_at'] or 'nothing'}")
    return lines


def _day(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
    return at.strftime("%Y-%m-%d %H:%M UTC")
