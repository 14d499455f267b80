"""`tally fleet attester`: the fleet root vouches for attestation keys in TPMs."""

import json
import shlex
from pathlib import Path

import click
from rich.table import Table

from tallystick.evidence.attester import VerifiedAttester
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.tools import attesters, ek_certificate, secrets
from tallystick.tools._screen import screen
from tallystick.tools.attesters import BY_CERTIFICATE, Request
from tallystick.tools.fleetdir import VALID_DAYS, VALID_DAYS_MAX, Fleet

FOLDER = click.Path(path_type=Path, file_okay=False)
INPUT = click.Path(path_type=Path, exists=True, dir_okay=False)
OUTPUT = click.Path(path_type=Path, dir_okay=False)
KEY = click.option(
    "--key",
    "uri",
    required=True,
    metavar="URI",
    help="The TPM and its key, such as 'tpm2:handle=0x81020001;ak=0x81020002'.",
)


@click.group(
    epilog="""\b
Examples:
  TPM='tpm2:handle=0x81020001;ak=0x81020002'
  tally fleet attester add acme robot-7 --key "$TPM" --ek-ca maker.pem
  tally fleet attester request --key "$TPM" --out robot-7.tpm
  tally fleet attester challenge acme robot-7 robot-7.tpm --out robot-7.challenge
  tally fleet attester answer robot-7.challenge --key "$TPM" --out robot-7.answer
  tally fleet attester add acme robot-7 --answer robot-7.answer --ek-ca maker.pem
  tally fleet attester list acme
""",
    short_help="Vouch for attestation keys in TPMs.",
)
def attester() -> None:
    """Vouch for attestation keys in TPMs, so that their keys' custody can be checked.

    The TPM proves by a challenge that the attestation key is in it, beside the endorsement key that
    its maker certified. `add` does all of it where fleet root and TPM are on one machine; else
    request, challenge, answer and add go from one machine to the other by files.
    """


@attester.command(
    epilog="""\b
Example, on the machine with the TPM:
  tally fleet attester request --key "$TPM" --out robot-7.tpm
""",
    short_help="On the TPM's machine: make its attestation key, and ask.",
)
@KEY
@click.option("--out", type=OUTPUT, required=True)
@secrets.pin_file_option
def request(uri: str, out: Path, pin_file: Path | None) -> None:
    """Make the attestation key at `ak=` unless it is there, and a request to vouch for it."""
    out.write_bytes(_identified(uri, pin_file).encode())
    click.echo(f"{out} is the request; bring it to `tally fleet attester challenge`")


@attester.command(
    epilog="""\b
Example, where the fleet root is:
  tally fleet attester challenge acme robot-7 robot-7.tpm --out robot-7.challenge
""",
    short_help="At the fleet root: set the TPM a challenge.",
)
@click.argument("folder", type=FOLDER)
@click.argument("label")
@click.argument("request_file", metavar="REQUEST", type=INPUT)
@click.option("--out", type=OUTPUT, required=True)
def challenge(folder: Path, label: str, request_file: Path, out: Path) -> None:
    """Set the TPM of REQUEST a challenge, which only it can answer, once."""
    fleet = Fleet.open(folder)
    asked = attesters.parse_request(_read(request_file))
    out.write_bytes(attesters.set_challenge(fleet, label, asked))
    click.echo(f"{out} is the challenge; bring it to `tally fleet attester answer`")


@attester.command(
    epilog="""\b
Example, on the machine with the TPM:
  tally fleet attester answer robot-7.challenge --key "$TPM" --out robot-7.answer
""",
    short_help="On the TPM's machine: answer the challenge.",
)
@click.argument("challenge_file", metavar="CHALLENGE", type=INPUT)
@KEY
@click.option("--out", type=OUTPUT, required=True)
@secrets.pin_file_option
def answer(challenge_file: Path, uri: str, out: Path, pin_file: Path | None) -> None:
    """Let the TPM answer CHALLENGE."""
    ask = secrets.secrets(pin_file)
    blob, seed = attesters.parse_challenge(_read(challenge_file))
    out.write_bytes(attesters.answer(attesters.answer_by(uri, blob, seed, ask)))
    click.echo(f"{out} is the answer; bring it to `tally fleet attester add --answer`")


@attester.command(
    epilog="""\b
Examples:
  tally fleet attester add acme robot-7 --key "$TPM" --ek-ca maker.pem
  tally fleet attester add acme robot-7 --answer robot-7.answer --trust-this-tpm
""",
    short_help="At the fleet root: vouch for a TPM's attestation key.",
)
@click.argument("folder", type=FOLDER)
@click.argument("label")
@click.option(
    "--key",
    "uri",
    metavar="URI",
    help="A TPM on this machine, such as 'tpm2:handle=0x81020001;ak=0x81020002'.",
)
@click.option("--answer", "answer_file", type=INPUT, help="Of a TPM elsewhere, to its challenge.")
@click.option(
    "--ek-ca",
    "ca_files",
    type=INPUT,
    multiple=True,
    help="The TPM maker's certificates (PEM), up to its root, repeatable.",
)
@click.option(
    "--trust-this-tpm",
    is_flag=True,
    help="Take the TPM for genuine without its maker's certificate: you know the machine.",
)
@click.option(
    "--valid-days",
    type=click.IntRange(1, VALID_DAYS_MAX),
    default=VALID_DAYS,
    show_default=True,
    help="How long enrolments may rest on it.",
)
@secrets.pin_file_option
def add(
    folder: Path,
    label: str,
    uri: str | None,
    answer_file: Path | None,
    ca_files: tuple[Path, ...],
    trust_this_tpm: bool,  # noqa: FBT001 - click passes flags by name
    valid_days: int,
    pin_file: Path | None,
) -> None:
    """Vouch for the attestation key of a TPM, after it has answered a challenge."""
    if (uri is None) == (answer_file is None):
        message = "give --key for a TPM on this machine, or --answer for one elsewhere"
        raise click.UsageError(message)
    if bool(ca_files) == trust_this_tpm:
        message = (
            "what makes this TPM a genuine one? Give its maker's certificates with --ek-ca, or say "
            "--trust-this-tpm when you know the machine"
        )
        raise click.UsageError(message)
    ca = ek_certificate.read_ca(ca_files) if ca_files else None
    fleet = Fleet.open(folder)
    if uri is not None:
        asked = _identified(uri, pin_file)
        secret = attesters.challenged(fleet, label, uri, asked, secrets.secrets(pin_file))
    else:
        secret = attesters.parse_answer(_read(Path(str(answer_file))))
    asked = attesters.take_answer(fleet, label, secret)
    vouched = attesters.vouch(fleet, label, asked, ca, valid_days)
    _say(fleet, label, vouched, uri)


@attester.command(
    "list",
    epilog="""\b
Examples:
  tally fleet attester list acme
  tally fleet attester list acme --json | jq .
""",
    short_help="Show for which TPMs the fleet vouches.",
)
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def list_attesters(folder: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show for which TPMs' attestation keys the fleet vouches, and what makes them genuine."""
    rows = [
        {
            "label": label,
            "key": device_text(one.key.thumbprint()),
            "manufacturer": str(one.details.get("manufacturer", "")),
            "genuine_by": str(one.details.get("genuine_by", "")),
            "valid_until_s": one.validity[1],
        }
        for label, one in attesters.vouched(Fleet.open(folder))
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    columns = ("label", "key", "manufacturer", "genuine_by")
    table = Table(*columns, box=None, pad_edge=False, collapse_padding=True)
    for row in rows:
        table.add_row(*(str(row[column]) for column in columns))
    screen().print(table)


def _identified(uri: str, pin_file: Path | None) -> Request:
    asked, made = attesters.identify(uri, secrets.secrets(pin_file))
    if made:
        click.echo("an attestation key was made in the TPM", err=True)
    return asked


def _read(path: Path) -> bytes:
    with path.open("rb") as opened:
        data = opened.read(attesters.FILE_BYTES_MAX + 1)
    if len(data) > attesters.FILE_BYTES_MAX:
        raise Malformed("too-large", f"{path}: over {attesters.FILE_BYTES_MAX:,} bytes")
    return data


def _say(fleet: Fleet, label: str, vouched: VerifiedAttester, uri: str | None) -> None:
    path = attesters.statement_path(fleet, label)
    click.echo(f"{fleet.name} vouches for {device_text(vouched.key.thumbprint())}")
    if vouched.details["genuine_by"] == BY_CERTIFICATE:
        click.echo(f"its TPM's endorsement certificate is by {vouched.details['ek_issuer']}")
        click.echo("not checked: whether the maker has revoked that certificate")
    else:
        click.echo("not checked: that the TPM is a genuine chip; that is your word")
    click.echo(f"the statement is {path}; name it as attester= in the URI of each key there:")
    click.echo("  " + shlex.quote(f"{uri or 'tpm2:handle=...;ak=...'};attester={path}"))
