"""`tally device join`: a Linux robot asks a gateway to be enrolled."""

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import click

from tallystick.evidence import joincode
from tallystick.evidence.errors import Malformed, TransportError
from tallystick.evidence.keys import device_text
from tallystick.hw import boards, secret
from tallystick.recorder.joining import CONFIG, NAME, Joining
from tallystick.recorder.joining_files import check_settings
from tallystick.tools import secrets
from tallystick.tools.fleet_enroll import absolute, pair
from tallystick.tools.fleetdir import write_private

ENVIRONMENT = "TALLY_JOIN_CODE"
STEP_S = 0.02
WAIT_S = 600
WAIT_S_MAX = 30 * 86_400


@click.command(
    epilog="""\b
Examples:
  tally device join https://gw-1.acme.example:8471 --ca gw-1.pem
  tally device join http://10.0.0.2:8471 --code-file code --folder /etc/tallystick
  tally device join http://10.0.0.2:8471 --key 'tpm2:handle=0x81020001' --serial 0001
  tally device join                                       goes on where it was
""",
    short_help="Ask a gateway to enrol this computer's robot.",
)
@click.argument("url", required=False)
@click.option(
    "--code",
    help="The code that `tally fleet invite` showed. Others on this computer may see it here: "
    "better --code-file, TALLY_JOIN_CODE, or typed when asked.",
)
@click.option(
    "--code-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file (mode 0600) with the code.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Where key and configuration are written; here unless given.",
)
@click.option(
    "--key",
    "key_uri",
    default="file:key",
    show_default=True,
    metavar="URI",
    help="Where the key is made; a file's path is relative to the folder.",
)
@click.option(
    "--ca",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What an https:// gateway's certificate is checked with, else what this computer trusts.",
)
@click.option("--serial", help="The robot's serial number, by which the operator knows it.")
@click.option("--detail", "details", multiple=True, metavar="NAME=TEXT", help="Told, repeatable.")
@click.option(
    "--wait",
    "wait_s",
    type=click.IntRange(0, WAIT_S_MAX),
    default=WAIT_S,
    show_default=True,
    help="Seconds to wait for the operator at most; call it again to wait on.",
)
@secrets.pin_file_option
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def join(
    url: str | None,
    code: str | None,
    code_file: Path | None,
    folder: Path,
    key_uri: str,
    ca: Path | None,
    serial: str | None,
    details: tuple[str, ...],
    wait_s: int,
    pin_file: Path | None,
    as_json: bool,  # noqa: FBT001 - click passes flags by name
) -> None:
    """Make a key here, ask the gateway at URL for its enrolment, and write the configuration.

    The operator lets it in with `tally fleet approve`. Interrupted or not let in yet, it is called
    again and goes on with the same key and the same request.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asks = folder / NAME
    if not (folder / CONFIG).exists() and (url is not None or not asks.exists()):
        if url is None:
            message = f"nothing waits in {folder}: give the gateway's URL"
            raise click.UsageError(message)
        said = dict(pair(text, "--detail") for text in details)
        if serial is not None:
            said["serial"] = serial
        settings = {
            "url": url,
            "code": _code(code, code_file),
            "key": _key(key_uri, pin_file),
            "ca": None if ca is None else str(ca.absolute()),
            "details": said,
        }
        check_settings(settings, "the command line")
        write_private(asks, json.dumps(settings).encode())
    work = Joining(str(asks), secrets.for_new_key(key_uri, pin_file))
    try:
        _wait(work, time.monotonic() + wait_s)
    finally:
        work.close()
    config = folder / CONFIG
    device = None if work.device is None else device_text(work.device)
    if as_json:
        click.echo(json.dumps({"device": device, "config": str(config)}))
    elif device is None:
        click.echo(f"it has joined before; its configuration: {config}")
    else:
        click.echo(f"it has joined, as {device}; its configuration: {config}")
        secrets.say_if_open(
            f"file:{folder / key_uri.removeprefix('file:')}" if key_uri[:5] == "file:" else key_uri,
            secrets.for_new_key(key_uri, pin_file),
            "--pin-file seals it with a passphrase",
        )


def _code(code: str | None, file: Path | None) -> str:
    """The code in its one form; it is never part of an error."""
    if code is not None and file is not None:
        message = "--code or --code-file, not both"
        raise click.UsageError(message)
    if file is not None:
        code = secret.read_secret(str(file))
    if code is None:
        code = os.environ.get(ENVIRONMENT)
    if code is None:
        if not sys.stdin.isatty():
            message = f"no code: --code-file, or {ENVIRONMENT}"
            raise click.UsageError(message)
        code = click.prompt("the code", hide_input=True, err=True)
    if not isinstance(code, str):
        raise Malformed("bad-value", "the code is no text")
    return joincode.parse(code).text()


def _key(uri: str, pin_file: Path | None) -> str:
    """As the configuration has it: a file beside it keeps its short name."""
    expanded = boards.expand(uri)
    if expanded.startswith("file:") and not expanded.startswith("file:/"):
        return expanded
    expanded = absolute(expanded)
    if pin_file is None or "pin-source=" in expanded:
        return expanded
    if not expanded.startswith("pkcs11:"):
        click.echo("the recorder takes the PIN or passphrase from TALLY_PIN", err=True)
        return expanded
    between = "&" if "?" in expanded else "?"
    return f"{expanded}{between}pin-source=file:{quote(str(pin_file.absolute()))}"


def _wait(work: Joining, until_s: float) -> None:
    told = ""
    while not work.step():
        now = work.trouble or work.said
        if now != told:
            told = now
            click.echo(now, err=True)
        if time.monotonic() >= until_s:
            raise TransportError(
                "not-ready",
                f"not let in yet ({now}); call `tally device join` again to wait on",
            )
        time.sleep(STEP_S)
