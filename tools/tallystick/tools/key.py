"""`tally key`: the keys that robots, gateways and validators sign with, wherever they are held."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from tallystick.evidence import cbor, custody_atecc608, custody_pkcs11, enrolmentrequest
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.evidence.keys import EDDSA, ES256, b64u, device_text
from tallystick.hw import boards
from tallystick.hw.signer import Signer
from tallystick.tools import secrets
from tallystick.tools.rotate_request import rotate_request

ALGORITHMS = {"ed25519": EDDSA, "p256": ES256}
NAMES = {EDDSA: "Ed25519 (EdDSA)", ES256: "P-256 (ES256)"}
# What describes hardware that may have no key yet, by scheme.
DESCRIBED_BY = {"atecc608": "tallystick.hw.atecc608_show"}
# Evidence that says the same to everyone; a TPM's is bound to the fleet and its root.
CHECKED_HERE: dict[str, Callable[[bytes], Any]] = {
    custody_atecc608.TYPE: custody_atecc608.parse,
    custody_pkcs11.TYPE: custody_pkcs11.parse,
}
AS_JSON = click.option("--json", "as_json", is_flag=True, help="For scripts.")


@click.group(
    epilog="""\b
Examples:
  tally key show 'atecc608:bus=1'
  tally key provision 'atecc608:bus=1' --dry-run
  tally key create 'pkcs11:token=gateway;object=gw-1' --alg ed25519
  tally key test 'tpm2:handle=0x81020001'
  tally key request 'atecc608:bus=1' --fleet acme --out robot-7.request

A URI with a semicolon needs quotes in a shell.
"""
)
def key() -> None:
    """Show, make, test and set up keys, and ask for their enrolment."""


@key.command(
    epilog="""\b
Examples:
  tally key show file:key
  tally key show 'atecc608:bus=1;slot=0' --json | jq -r .id
  tally key show 'atecc608:board=raspberry-pi'
""",
    short_help="Show a key, and the chip or token that holds it.",
)
@click.argument("uri")
@secrets.pin_file_option
@AS_JSON
def show(uri: str, pin_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show URI's public key, its id, how it is held, and the counter's budget.

    A chip that has no key yet is shown too; then the exit code is 1.
    """
    rows = _described(uri)
    try:
        rows += _key_rows(uri, secrets.secrets(pin_file))
    except KeyDriverError:
        if rows and not as_json:
            _print(rows, as_json=False)
        raise
    _print(rows, as_json=as_json)


def _described(uri: str) -> list[tuple[str, Any]]:
    scheme, _, rest = uri.partition(":")
    module = DESCRIBED_BY.get(scheme)
    return list(import_module(module).describe(rest)) if module else []


def _key_rows(uri: str, ask: Callable[[str], str | None]) -> list[tuple[str, Any]]:
    signer = Signer.from_uri(uri, ask)
    try:
        public = signer.public_key()
        rows: list[tuple[str, Any]] = [
            ("key", NAMES[signer.alg]),
            ("id", device_text(public.thumbprint())),
            ("public key", b64u(cbor.encode(public.cose_key()))),
            ("custody", signer.custody),
        ]
        counter = signer.counter()
        if counter is not None:
            value = counter.read()
            limit = counter.limit
            rows.append(("counter", value if limit is None else f"{value} of {limit:,}"))
        return rows
    finally:
        signer.close()


def _print(rows: list[tuple[str, Any]], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name.replace(" ", "_"): value for name, value in rows}))
        return
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"{name:<{width}}  {value}")


@key.command(
    epilog="""\b
Examples:
  tally key create file:key --alg p256
  tally key create file:root.key --seal
  tally key create 'atecc608:bus=1;slot=1'
  tally key create 'pkcs11:token=gateway;object=gw-1' --pin-file gw.pin
""",
    short_help="Make a key where it will stay.",
)
@click.argument("uri")
@click.option(
    "--alg", type=click.Choice(list(ALGORITHMS)), help="Else what the hardware has, or Ed25519."
)
@secrets.pin_file_option
@secrets.seal_option
@AS_JSON
def create(uri: str, alg: str | None, pin_file: Path | None, seal: bool, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Make the key that URI names; one that is there is never overwritten."""
    ask = secrets.for_new_key(uri, pin_file, seal=seal)
    signer = Signer.create(uri, ALGORITHMS[alg] if alg else None, ask)
    public = signer.public_key()
    signer.close()
    _print(
        [
            ("key", NAMES[public.alg]),
            ("id", device_text(public.thumbprint())),
            ("public key", b64u(cbor.encode(public.cose_key()))),
            ("custody", signer.custody),
        ],
        as_json=as_json,
    )
    secrets.say_if_open(uri, ask, "--seal keeps a key under a passphrase")


@key.command(
    epilog="""\b
Examples:
  tally key test 'atecc608:bus=1'
  tally key test 'pkcs11:token=gateway;object=gw-1' --pin-file gw.pin
""",
    short_help="Try everything that a key must do.",
)
@click.argument("uri")
@secrets.pin_file_option
@AS_JSON
def test(uri: str, pin_file: Path | None, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Try everything that URI's key must do; the exit code is 1 when something fails."""
    signer = Signer.from_uri(uri, secrets.secrets(pin_file))
    try:
        said = signer.self_test()
    finally:
        signer.close()
    if as_json:
        click.echo(json.dumps({"works": said}))
        return
    for sentence in said:
        click.echo(f"ok: {sentence}")


@key.command(
    epilog="""\b
Examples:
  tally key provision 'atecc608:bus=1' --dry-run
  tally key provision 'atecc608:bus=1'
  tally key provision 'atecc608:virtual=robot-1.chip' --yes-serial 0123A1B2C3D4E5F6EE
""",
    short_help="Set a new ATECC608 up; its locks cannot be undone.",
)
@click.argument("uri")
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option(
    "--yes-serial",
    metavar="SERIAL",
    help="For scripts: the chip's serial number, instead of typing it.",
)
def provision(uri: str, dry_run: bool, yes_serial: str | None) -> None:  # noqa: FBT001 - click passes flags by name
    """Set URI's ATECC608 up: write its configuration, make its key, lock it.

    Everything is shown first, and done when its serial number was typed. A lock cannot be undone.
    What was interrupted is gone on with when it is called again.
    """
    from tallystick.hw.atecc608_setup import provision as set_up  # noqa: PLC0415 - used here only

    def typed(question: str) -> str:
        if yes_serial is not None:
            return yes_serial
        try:
            text: str = click.prompt(question.rstrip(": "), err=True)
        except click.Abort:
            if sys.stdin.isatty():
                raise
            click.echo(err=True)
            message = "nothing was done: no terminal here to type the serial number at; give it "
            raise click.UsageError(message + "with --yes-serial") from None
        return text

    raw = set_up(uri, typed, click.echo, dry_run)
    if dry_run:
        click.echo("nothing was done (--dry-run)")
    elif raw is not None:
        click.echo(f"the key is ready: tally key request '{uri}' --fleet NAME --out FILE")


@key.command(
    epilog="""\b
Example, on the robot, and then where the fleet root is:
  tally key request 'atecc608:bus=1' --fleet acme --out robot-7.request
  tally fleet enroll acme robot-7 --request robot-7.request --key 'atecc608:bus=1'
""",
    short_help="Ask for a key's enrolment: possession and evidence of custody.",
)
@click.argument("uri")
@click.option("--fleet", "name", required=True, help="The fleet that shall enrol it.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option(
    "--detail", "details", multiple=True, metavar="NAME=TEXT", help="For the fleet, repeatable."
)
@secrets.pin_file_option
@AS_JSON
def request(
    uri: str,
    name: str,
    out: Path,
    details: tuple[str, ...],
    pin_file: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Write a request to enrol URI's key: that its holder has it, and how it is held.

    The key stays where it is; the file holds no secret. `tally fleet enroll --request` takes it.
    """
    said: dict[str, Any] = dict(map(_pair, details))
    signer = Signer.from_uri(uri, secrets.secrets(pin_file))
    try:
        made = enrolmentrequest.make(signer, name, details=said)
        out.write_bytes(made.encode())
    finally:
        signer.close()
    rows = [("id", device_text(made.id)), ("custody", signer.custody)]
    rows += [("evidence", sentence) for sentence in _shown(made)]
    if as_json:
        kinds = [kind for kind, _ in made.evidence]
        click.echo(json.dumps({**dict(rows[:2]), "evidence": kinds, "request": str(out)}))
        return
    _print([*rows, ("request", str(out))], as_json=False)


def _shown(made: enrolmentrequest.EnrolmentRequest) -> list[str]:
    found = []
    for kind, data in made.evidence:
        parse = CHECKED_HERE.get(kind)
        if parse is None:
            found.append(f"{kind}, which the fleet root checks")
        else:
            shown, not_proven = parse(data).check(made.key, b"")
            found += shown + [f"it does not prove {sentence}" for sentence in not_proven]
    return found or ["none: the key counts as software"]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Malformed("bad-value", f"--detail is NAME=TEXT and not {text!r}")
    return name, value


@key.command(
    "boards",
    epilog="""\b
Example:
  tally key boards
""",
    short_help="List boards with the place of their secure element.",
)
@AS_JSON
def list_boards(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List the boards that URIs may name (board=NAME), with their wiring."""
    known = {name: boards.load(name) for name in boards.names()}
    if as_json:
        click.echo(json.dumps({name: board.title for name, board in known.items()}))
        return
    for name, board in known.items():
        click.echo(f"{name}: {board.title}")
        click.echo(f"  {board.wiring}")
        if board.secure_element is not None:
            click.echo(f"  {boards.expand(f'atecc608:board={name}')}")


key.add_command(rotate_request)
