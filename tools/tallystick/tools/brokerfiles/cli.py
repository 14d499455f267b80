"""`tally gateway broker-config`: everything that a site's own Mosquitto needs for a fleet."""

import ipaddress
import json
import re
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.tools import provision
from tallystick.tools.brokerfiles import authority, members, settings
from tallystick.tools.brokertls import BrokerTls, Issuer
from tallystick.tools.fleetdir import VALID_DAYS_MAX, Fleet, Member, write_private

PORT = 8883
SERVER_DAYS = 800
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command(
    "broker-config",
    epilog="""\b
Examples:
  tally gateway broker-config acme --host broker.acme.example
  tally gateway broker-config acme --host broker.acme.example --host 10.0.0.2
  tally gateway broker-config acme --host 10.0.0.2 --at /etc/mosquitto/acme
  tally gateway broker-config acme --host 10.0.0.2 --ca ca.pem --ca-key ca.key
""",
    short_help="Write Mosquitto's configuration and certificates for a fleet.",
)
@click.argument("folder", metavar="FLEET", type=DIRECTORY)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    required=True,
    help="A name or an address by which robots reach the broker; the first goes into "
    "configurations.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=PORT, show_default=True)
@click.option("--bind", help="The address to listen on; all of them unless given.")
@click.option(
    "--at",
    help="The folder of these files on the broker's machine; where they are written unless given.",
)
@click.option(
    "--persistence",
    default=settings.PERSISTENCE,
    show_default=True,
    help="Where the broker keeps what waits.",
)
@click.option("--ca", type=FILE, help="An authority of yours; one is made unless given.")
@click.option("--ca-key", type=FILE, help="The key of --ca.")
@click.option(
    "--valid-days",
    type=click.IntRange(1, VALID_DAYS_MAX),
    default=SERVER_DAYS,
    show_default=True,
    help="How long new certificates are valid.",
)
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def broker_config(
    folder: Path,
    hosts: tuple[str, ...],
    port: int,
    bind: str | None,
    at: str | None,
    persistence: str,
    ca: Path | None,
    ca_key: Path | None,
    valid_days: int,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Write Mosquitto's configuration, access list and certificates for FLEET, into FLEET/broker.

    Every device and gateway of the fleet gets a certificate in its folder, and the broker in its
    configuration. Called again it renews what ends soon and adds who was enrolled since.
    """
    if (ca is None) != (ca_key is None):
        raise click.UsageError("--ca and --ca-key: both or neither")
    if len(hosts) > authority.HOSTS_MAX or any(not _is_host(host) for host in hosts):
        message = f"--host: up to {authority.HOSTS_MAX} names or addresses, without a port"
        raise click.UsageError(message)
    fleet = Fleet.open(folder)
    out = fleet.path.resolve() / "broker"
    where = at or str(out)
    for text in (where, persistence):
        if not text.startswith("/") or not settings.fits(Path(text)):
            raise click.UsageError(f"{text!r}: an absolute path without blanks or #")
    url = f"mqtts://{_in_url(hosts[0])}:{port}"
    out.mkdir(exist_ok=True)
    ca, ca_key = _authority(fleet, out, ca, ca_key)
    tls = members.issuer_of(ca, ca_key, url)
    renewed = _server(out, tls, hosts, valid_days)
    enrolled = list(fleet.members())
    gateways = [member for member in enrolled if member.kind == "gateway"]
    text = settings.configuration(fleet.name, where, port, bind, persistence)
    (out / settings.CONFIGURATION).write_text(text)
    _write_access(fleet, out, gateways)
    brought = _bring(enrolled, tls, url, valid_days)
    _say(out, url, brought, renewed=renewed, as_json=as_json)


def _authority(fleet: Fleet, out: Path, ca: Path | None, ca_key: Path | None) -> tuple[Path, Path]:
    if ca is not None and ca_key is not None:
        return ca, ca_key
    ca, ca_key = out / settings.AUTHORITY, out / "ca.key"
    if not ca.exists() and not ca_key.exists():
        authority.make(fleet.name, ca, ca_key)
    if not ca.exists() or not ca_key.exists():
        missing = ca if ca_key.exists() else ca_key
        raise Malformed(
            "bad-value",
            f"{missing} is gone: bring it back, or remove both files for a new authority; then "
            "every member needs a new certificate",
        )
    return ca, ca_key


def _server(out: Path, tls: BrokerTls, hosts: tuple[str, ...], valid_days: int) -> bool:
    """Whether a new certificate was made for the broker."""
    issuer = _issuer(tls)
    (out / settings.AUTHORITY).write_bytes(tls.ca)
    cert_file, key_file = out / settings.SERVER, out / settings.SERVER_KEY
    if key_file.exists() and authority.good(cert_file, issuer, hosts):
        return False
    cert, key = authority.server(issuer, hosts, valid_days)
    write_private(key_file, key)
    cert_file.write_bytes(cert)
    return True


def _issuer(tls: BrokerTls) -> Issuer:
    if tls.issuer is None:
        raise Malformed("bad-value", "an authority's key is needed to issue certificates")
    return tls.issuer


def _write_access(fleet: Fleet, out: Path, gateways: list[Member]) -> None:
    known = [(member.label, member.id_text) for member in gateways]
    text = settings.access(fleet.name, provision.topic_prefix(fleet), known)
    # Newer brokers refuse a list that others may read.
    write_private(out / settings.ACCESS, text.encode())


def _bring(
    enrolled: list[Member], tls: BrokerTls, url: str, valid_days: int
) -> list[members.Brought]:
    found = [
        members.bring(member, tls, url, valid_days)
        for member in enrolled
        if member.kind in {"device", "gateway"}
    ]
    return [one for one in found if one is not None and one.changed]


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return _HOST_NAME.fullmatch(text) is not None
    return True


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _say(
    out: Path,
    url: str,
    brought: list[members.Brought],
    *,
    renewed: bool,
    as_json: bool,
) -> None:
    labels = [one.member.label for one in brought]
    if as_json:
        click.echo(
            json.dumps({"broker": url, "folder": str(out), "server": renewed, "members": labels})
        )
        return
    click.echo(
        f"{out}: {settings.CONFIGURATION}, {settings.ACCESS}, {settings.AUTHORITY}, "
        f"{settings.SERVER}, {settings.SERVER_KEY}, for {url}"
    )
    if renewed:
        click.echo("the broker has a new certificate")
    if brought:
        click.echo(
            "bring these folders to their members, whose certificate or configuration is "
            "new, and start them again:"
        )
        for one in brought:
            click.echo(f"  {one.member.path}")
    click.echo(
        "copy all but ca.key to the broker's machine, where its user may read server.key and acl "
        "and nobody else may; then restart Mosquitto, or send it SIGHUP where only acl and "
        "certificates changed"
    )
    click.echo("look at the running broker: tally doctor --config gateway.toml")
