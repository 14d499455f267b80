"""`tally peer`: exchange roots, keys and addresses with another organisation, in one file."""

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from tallystick.evidence import peercircle, peerfile, root
from tallystick.evidence.errors import Malformed, Unverified
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX
from tallystick.evidence.peerfile import PeerFile, VerifiedPeerFile
from tallystick.tools import peerdir
from tallystick.tools._files import read_bytes
from tallystick.tools._screen import screen
from tallystick.tools.fleetdir import BACKDATE_S, DAY_S, Fleet, Member, read_credential
from tallystick.tools.provision import written_without

VALID_DAYS = 365
VALID_DAYS_MAX = 3_650
JSON = click.option("--json", "as_json", is_flag=True, help="For scripts.")
WHERE = click.argument("where", type=click.Path(path_type=Path, exists=True))


@click.group(
    epilog="""\b
Examples:
  tally peer export acme --organisation 'Acme Ltd' --out acme.peer
  tally peer import borealis.peer acme
  tally peer list acme
  tally peer remove acme borealis
"""
)
def peer() -> None:
    """Exchange roots, keys and addresses with other organisations, in one file each.

    WHERE is a fleet's folder, with all its gateways and validators, or one gateway.toml or
    validator.toml. Services that run notice within a second.
    """


@peer.command(
    epilog="""\b
Examples:
  tally peer export acme --organisation 'Acme Ltd' --out acme.peer
  tally peer export acme --url v-1=https://validator.acme.example --out acme.peer
"""
)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--organisation", help="Its name for people; the fleet's name unless given.")
@click.option(
    "--valid-days", type=click.IntRange(1, VALID_DAYS_MAX), default=VALID_DAYS, show_default=True
)
@click.option(
    "--url", "urls", multiple=True, metavar="LABEL=URL",
    help="Where others reach a validator, repeatable; else what its enrolment says.",
)  # fmt: skip
@click.option(
    "--without", "without", multiple=True, metavar="LABEL",
    help="Leave a gateway or validator out, repeatable.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@JSON
def export(
    folder: Path,
    organisation: str | None,
    valid_days: int,
    urls: tuple[str, ...],
    without: tuple[str, ...],
    out: Path,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Write what others import: our root, gateways and validators, signed by the root.

    Send it by any way. Others compare its fingerprint with you by voice.
    """
    fleet = Fleet.open(folder)
    try:
        members = [m for m in fleet.members() if _belongs(m, without)]
        known = {member.label for member in members}
        for label in without:
            if label not in {m.label for m in fleet.members()}:
                raise Malformed("bad-value", f"--without {label}: nobody of that label is enrolled")
        addresses = _addresses(urls, known)
        now_s = peerdir.now_s()
        made = PeerFile(
            organisation or fleet.name,
            _after(out, now_s * 1000),
            [now_s - BACKDATE_S, now_s + valid_days * DAY_S],
            [(fleet.name, fleet.key)],
            [_credential(m) for m in members if m.kind == "gateway"],
            [(_url(m, addresses), _credential(m)) for m in members if m.kind == "validator"],
        )
        data = made.sign(fleet.signer, fleet.name, fleet.key.thumbprint())
    finally:
        fleet.close()
    file = peerfile.parse(data).verify(now_s)
    out.write_bytes(data)
    if as_json:
        click.echo(json.dumps({**_row(file), "file": str(out)}))
        return
    _show(file)
    inside = [url for url, _ in file.validators if peerdir.is_inside(url)]
    if inside:
        click.echo(f"only this machine reaches {', '.join(inside)}: --url says another address")
    click.echo(f"{out}: give it to them, and read them these groups when they ask:\n{file.spoken}")


def _belongs(member: Member, without: tuple[str, ...]) -> bool:
    wanted = member.kind != "device" and member.label not in without
    return wanted and member.identity.status == "active"


def _addresses(urls: tuple[str, ...], known: set[str]) -> dict[str, str]:
    found = {}
    for text in urls:
        label, _, url = text.partition("=")
        if label not in known:
            raise click.UsageError(f"--url {text}: LABEL=URL, of an enrolled validator")
        found[label] = peerfile.check_url(url.rstrip("/"))
    return found


def _url(member: Member, addresses: dict[str, str]) -> str:
    url = addresses.get(member.label, member.identity.enrolment.details.get("url"))
    if not isinstance(url, str):
        raise Malformed(
            "bad-value", f"where is {member.label}? Say --url {member.label}=https://..."
        )
    return url


def _credential(member: Member) -> list[bytes]:
    return read_credential(member.credential_path).statements


def _after(out: Path, now_ms: int) -> int:
    # A clock that was set back must not make a file that everybody refuses as old.
    try:
        return max(now_ms, peerdir.read(out).made_ms + 1)
    except (Malformed, Unverified, OSError):
        return now_ms


@peer.command(
    "import",
    epilog="""\b
Examples:
  tally peer import borealis.peer acme
  tally peer import borealis.peer acme --fingerprint '51327 90417 ...'
  tally peer import borealis.peer validator.toml
""",
)  # fmt: skip
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@WHERE
@click.option("--fingerprint", metavar="DIGITS", help="As they said it; then nothing is asked.")
@click.option("--local", is_flag=True, help="Take addresses of this machine too, for trials.")
@JSON
def import_(
    file: Path,
    where: Path,
    fingerprint: str | None,
    local: bool,  # noqa: FBT001 - click passes flags by name
    as_json: bool,  # noqa: FBT001 - as above
) -> None:
    """Accept another organisation's file: its roots, gateways and validators.

    A first file is taken only after its fingerprint was compared by voice: type yes, or give
    --fingerprint. A newer file by the same key replaces it, and nothing is asked.

    Exit code: 0 it is taken, 1 it is refused and nothing was changed, 2 used wrongly.
    """
    read = peerfile.parse(read_bytes(file, PEER_FILE_BYTES_MAX)).verify(peerdir.now_s())
    to = peerdir.where(where)
    to.check(read)
    _refuse_inside(read, local)
    renewed = to.places[0].known(read.iss) is not None
    if not as_json:
        _show(read)
    if fingerprint is not None:
        if _digits(fingerprint) != _digits(read.spoken):
            raise Unverified("wrong-key", "the fingerprint is another one: it is not their file")
    elif not renewed:
        _confirm(read, as_json)
    written = to.take(read)
    if as_json:
        row = {**_row(read), "renewed": renewed, "written": [str(path) for path in written]}
        click.echo(json.dumps(row))
        return
    click.echo(f"{read.iss} is {'renewed' if renewed else 'imported'}:")
    for path in written:
        click.echo(f"  {path}")
    _say_unaware(to, read)


def _refuse_inside(read: VerifiedPeerFile, local: bool) -> None:  # noqa: FBT001 - passed on
    inside = [url for url, _ in read.validators if peerdir.is_inside(url)]
    if inside and not local:
        raise Unverified(
            "bad-value",
            f"{', '.join(inside)} is on this machine, and not theirs; --local takes it anyway",
        )


def _digits(text: str) -> str:
    digits = "".join(text.replace("-", " ").split())
    if not digits.isascii() or not digits.isdigit() or len(digits) != peerfile.SPOKEN_DIGITS:
        raise click.UsageError("--fingerprint: 8 groups of 5 digits")
    return digits


def _confirm(read: VerifiedPeerFile, as_json: bool) -> None:  # noqa: FBT001 - passed on
    refusal = Unverified(
        "not-authorised",
        "nobody compared the fingerprint, so nothing was imported; compare it by voice, then "
        "answer yes or give --fingerprint",
    )
    if as_json or not _asks():
        raise refusal
    click.echo(f"call {read.organisation} on a number that you knew before. Do they read this?")
    click.echo(read.spoken)
    if click.prompt("type yes if every group is the same", default="no") != "yes":
        raise refusal


def _asks() -> bool:
    # An answer out of a pipe is nobody's who compared anything.
    return sys.stdin.isatty()


def _say_unaware(to: peerdir.Where, read: VerifiedPeerFile) -> None:
    for path in to.unaware():
        click.echo(f"{path} looks into no folder of peers: add {peerdir.SETTING} and restart it")
    if to.fleet is None:
        return
    line = root.format_root(*read.roots[0])
    robots = written_without(to.fleet, line, ("device",))
    if robots:
        click.echo("robots that were enrolled before do not accept halves of theirs until their")
        click.echo(f"`roots` have {line}:")
        for path in robots:
            click.echo(f"  {path}")


@peer.command(
    "list",
    epilog="""\b
Examples:
  tally peer list acme
  tally peer list validator.toml --json
""",
)
@WHERE
@JSON
def list_(where: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Show who was imported and until when; exit code 1 when one has expired or is bad."""
    place = peerdir.where(where).places[0]
    rows: list[dict[str, Any]] = []
    for name, file in peerdir.files(place).items():
        if isinstance(file, str):
            rows.append({"name": name, "state": "bad", "problem": file})
        else:
            rows.append({**_row(file), "problem": None})
    good = all(row["state"] in {"in-force", "expires-soon"} for row in rows)
    if as_json:
        click.echo(json.dumps({"good": good, "peers": rows}))
    else:
        _table(rows)
    if not good:
        sys.exit(1)


def _table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        click.echo("nobody was imported")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("peer", "organisation", "state", "until", "days left", "validators"):
        table.add_column(column, overflow="fold")
    for row in rows:
        if row["problem"] is not None:
            table.add_row(row["name"], "", "bad", "", "", row["problem"])
            continue
        urls = "\n".join(one["url"] for one in row["validators"])
        days = str((row["valid_until_s"] - peerdir.now_s()) // DAY_S)
        shown = (row["name"], row["organisation"], row["state"], _day(row["valid_until_s"]))
        table.add_row(*(one.replace("[", "\\[") for one in (*shown, days, urls)))
    screen().print(table)


@peer.command(
    epilog="""\b
Example:
  tally peer remove acme borealis
"""
)
@WHERE
@click.argument("name")
@JSON
def remove(where: Path, name: str, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """Accept a peer no more: its roots, gateways and validators, from now on.

    What was logged stays, and so do verdicts and evidence files.
    """
    gone = peerdir.where(where).remove(name)
    if not gone:
        raise Malformed(
            "bad-value", f"nobody of the name {name} was imported; see `tally peer list`"
        )
    if as_json:
        click.echo(json.dumps({"name": name, "removed": [str(path) for path in gone]}))
        return
    click.echo(f"{name} is removed:")
    for path in gone:
        click.echo(f"  {path}")


# --- what is shown -------------------------------------------------------------------------


def _row(file: VerifiedPeerFile) -> dict[str, Any]:
    validators = [
        {"id": one.text, "url": url}
        for one, (url, _) in zip(file.validator_ids, file.validators, strict=True)
    ]
    return {
        "name": file.iss,
        "organisation": file.organisation,
        "fingerprint": file.spoken,
        "state": peercircle.state(file, peerdir.now_s()),
        "valid_until_s": file.validity[1],
        "roots": [name for name, _ in file.roots],
        "gateways": [one.text for one in file.gateway_ids],
        "validators": validators,
    }


def _show(file: VerifiedPeerFile) -> None:
    click.echo(f"{file.organisation}, fleet {', '.join(name for name, _ in file.roots)}")
    click.echo(f"valid until {_day(file.validity[1])}")
    for gateway in file.gateway_ids:
        click.echo(f"gateway   {gateway.text}")
    for one, (url, _) in zip(file.validator_ids, file.validators, strict=True):
        click.echo(f"validator {one.text} at {url}")


def _day(time_s: int) -> str:
    try:
        return datetime.fromtimestamp(time_s, tz=timezone.utc).strftime("%Y-%m-%d")
    except (OverflowError, ValueError, OSError):
        return "the end of time"
