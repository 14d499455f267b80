"""`tally fleet enroll`: vouch for a member, and write its folder."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from tallystick.evidence import keycustody
from tallystick.evidence.enrolment import CUSTODIES, SUBJECTS
from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.evidence.limits import STATEMENT_BYTES_MAX
from tallystick.hw import boards
from tallystick.hw.signer import Signer
from tallystick.tools import brokertls, fleetdir, provision, secrets
from tallystick.tools._masked import has_user
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.provision import ProfileFile, ValidatorPeer
from tallystick.validator.config import parse_bind

ALGORITHMS = {"ed25519": EDDSA, "p256": ES256}
FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(
    epilog="""\b
Examples:
  tally fleet enroll acme robot-7                       a key is made here
  tally fleet enroll acme robot-7 --request robot-7.request --key 'atecc608:bus=1'
  tally fleet enroll acme robot-8 --key 'atecc608:bus=1' the key is in a chip on this machine
  tally fleet enroll acme gw-1 --kind gateway --broker mqtt://127.0.0.1:1883
  tally fleet enroll acme robot-9 --broker mqtts://broker --tls-ca ca.pem --tls-ca-key ca.key
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
@brokertls.options
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
    "--join",
    metavar="ADDRESS:PORT",
    help="Where this gateway lets devices ask to join; not at all unless given.",
)
@click.option(
    "--page",
    metavar="ADDRESS:PORT",
    help="Where this gateway shows its page, on loopback; not at all unless given.",
)
@click.option(
    "--note-key",
    "note_uri",
    metavar="URI",
    help="Where a validator's Ed25519 key for log checkpoints is, on this machine; else one is "
    "made in its folder.",
)
@secrets.pin_file_option
def enroll(**given: Any) -> None:
    """Enrol LABEL and write its folder, configuration included.

    --pin-file is for the keys of --key and --note-key, and is named in the configuration (a
    robot's: as pin-source in a pkcs11: URI); the fleet root has its own.
    """
    _Given(**given).enroll()


@dataclass
class _Given:
    """What the command line says."""

    folder: Path
    label: str
    kind: str
    alg: str
    request: Path | None
    key_uri: str | None
    as_software: bool
    details: tuple[str, ...]
    releases: tuple[str, ...]
    interval_s: int
    valid_days: int
    broker: str
    tls_ca: Path | None
    tls_ca_key: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    namespace: str | None
    profiles: tuple[str, ...]
    bind: str
    validators: tuple[str, ...]
    join: str | None
    page: str | None
    note_uri: str | None
    pin_file: Path | None

    def enroll(self) -> None:
        """Enrol, write, and say what was done."""
        opened = Fleet.open(self.folder)
        click.get_current_context().call_on_close(opened.close)
        parse_bind(self.bind)
        if any(has_user(text) for text in (self.broker, *self.validators)):
            message = "--broker and --validator: no user or password in an address"
            raise click.UsageError(message)
        # Whatever can be wrong with what was given is found before anybody is enrolled.
        wanted = provision.packaged_profiles(self.profiles)
        peers = [provision.validator_peer(*pair(text, "--validator")) for text in self.validators]
        if self.request is None and self.pin_file is not None:
            self.pin_file = self.pin_file.absolute()
        elif self.pin_file is not None and self.kind == "device":
            message = "with --request a robot's URI names its PIN file: &pin-source=file:/PATH"
            raise click.UsageError(message)
        tls = self._tls()
        self.note_uri = None if self.note_uri is None else absolute(self.note_uri)
        member = self._enrol(opened)
        broker_tls = tls.write(member, self.valid_days) if tls is not None else None
        written = self._configure(opened, member, wanted, peers, broker_tls)
        held = CUSTODIES[keycustody.current(member.identity).level]
        click.echo(f"{self.kind} {self.label} is {member.id_text}; its key is held in {held}")
        if self.request is None and self.key_uri is None:
            how = "for a sealed one, `tally key create file:PATH --seal`, then `enroll --key`"
            secrets.say_if_open(f"file:{member.key_path}", None, how)
        click.echo(f"its configuration: {written}")
        if self.kind == "gateway":
            say_unaware(
                provision.written_without(opened, member.id_text, ["device"]),
                "take no receipts from it until their `gateways` have",
                json.dumps(provision.gateway_pin(member)),
            )

    def _enrol(self, opened: Fleet) -> Member:
        named = dict(pair(text, "--detail") for text in self.details)
        ask = secrets.secrets(self.pin_file)

        def describe(made: Path) -> dict[str, Any]:
            if self.kind != "validator":
                return named
            notes = provision.note_key(opened, self.label, made, self.note_uri, ask)
            return provision.validator_details(opened, self.label, self.bind, made, notes) | named

        signer = None
        if self.key_uri is not None and self.request is None:
            self.key_uri = absolute(self.key_uri)
            signer = Signer.from_uri(self.key_uri, ask)
            click.get_current_context().call_on_close(signer.close)
        return opened.enrol(
            self.kind,
            self.label,
            alg=ALGORITHMS[self.alg],
            request=_request(self.request),
            signer=signer,
            as_software=self.as_software,
            details=describe,
            releases=tuple(_release(text) for text in self.releases),
            interval_s=self.interval_s,
            valid_days=self.valid_days,
        )

    def _configure(
        self,
        opened: Fleet,
        member: Member,
        wanted: list[ProfileFile],
        peers: list[ValidatorPeer],
        tls: dict[str, str] | None,
    ) -> Path:
        key = boards.expand(self.key_uri or "file:key")
        if self.kind == "device":
            key = self._with_pin_source(key)
            return provision.device(
                opened,
                member,
                uplink=self.broker,
                namespace=self.namespace or opened.name,
                profiles=wanted,
                settings={"key": key} | ({} if tls is None else {"tls": tls}),
            )
        if self.kind == "gateway":
            return provision.gateway(
                opened,
                member,
                broker=self.broker,
                tls=tls,
                validators=peers,
                key=key,
                pin_file=self.pin_file,
                join=self.join,
                page=self.page,
            )
        return provision.validator(
            opened,
            member,
            bind=self.bind,
            profiles=wanted,
            key=key,
            note_key=self.note_uri or "file:note.key",
            pin_file=self.pin_file,
        )

    def _tls(self) -> brokertls.BrokerTls | None:
        if self.kind == "validator":
            return None
        tls = brokertls.read(self.broker, self.tls_ca, self.tls_ca_key, self.tls_cert, self.tls_key)
        if tls is None and self.kind == "device" and self.broker.startswith("mqtts:"):
            message = (
                "an mqtts:// broker needs --tls-ca; or leave --broker out, and "
                "`tally gateway broker-config` writes address and certificates afterwards"
            )
            raise click.UsageError(message)
        return tls

    def _with_pin_source(self, key: str) -> str:
        """A robot's configuration names no PIN file: its key's URI does, where it may."""
        if self.pin_file is None:
            return key
        if not key.startswith("pkcs11:"):
            click.echo("its recorder takes the PIN or passphrase from TALLY_PIN", err=True)
            return key
        if "pin-source=" in key:
            return key
        between = "&" if "?" in key else "?"
        return f"{key}{between}pin-source=file:{quote(str(self.pin_file))}"


def say_unaware(paths: list[Path], what: str, text: str) -> None:
    """Members have their configurations where they run: only their operator can change those."""
    if paths:
        click.echo(f"these were written before, and {what}\n  {text}")
        for path in paths:
            click.echo(f"  in {path}")


def pair(text: str, option: str) -> tuple[str, str]:
    """What an option of two parts says; click.UsageError where it has one."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        message = f"{option} takes two parts with = between them, not {text!r}"
        raise click.UsageError(message)
    return name, value


def _release(text: str) -> tuple[str, bytes]:
    name, digest = pair(text, "--release")
    if len(digest) != 64 or any(c not in "0123456789abcdef" for c in digest):
        message = (
            f"a release's digest is 64 lower-case hex digits (sha256sum prints it), not {digest!r}"
        )
        raise click.UsageError(message)
    return name, bytes.fromhex(digest)


def absolute(uri: str) -> str:
    """A file's path in a configuration is relative to it, and on a command line to here."""
    for begin in ("file:", "atecc608:virtual="):
        if uri.startswith(begin):
            path, *rest = uri[len(begin) :].split(";")
            return begin + ";".join([str(Path(path).absolute()), *rest])
    if uri.startswith("tpm2:"):
        begin = "attester="
        parts = [one.partition(begin) for one in uri.split(";")]
        return ";".join(
            begin + str(Path(path).absolute()) if found and not before else before + found + path
            for before, found, path in parts
        )
    return uri


def _request(path: Path | None) -> bytes | None:
    if path is None:
        return None
    if path.stat().st_size > STATEMENT_BYTES_MAX:
        raise Malformed("too-large", f"{path} is no request for enrolment: it is too long")
    return path.read_bytes()
