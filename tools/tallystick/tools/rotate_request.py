"""`tally key rotate-request`: the device's half of a rotation, where both of its keys are."""

from pathlib import Path

import click

from tallystick.evidence import credential, enrolment
from tallystick.evidence.errors import Malformed
from tallystick.recorder import config as device_config
from tallystick.tools import keychanges, secrets
from tallystick.tools.fleet_keys import FILE, open_signer, say_head
from tallystick.tools.fleetdir import read_credential


@click.command(
    "rotate-request",
    epilog="""\b
Example, on the robot, and then where the fleet root is:
  tally key rotate-request tallystick.json --key 'atecc608:bus=1' --out robot-7.rotation
  tally fleet rotate acme robot-7 --request robot-7.rotation
""",
    short_help="Ask for a rotation: the old key signs for the new one.",
)
@click.argument("config", type=FILE)
@click.option("--key", "new_uri", required=True, help="Where the new key is.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True)
@click.option("--as-software", is_flag=True, help="Claim no custody, whatever holds the key.")
@secrets.pin_file_option
def rotate_request(
    config: Path,
    new_uri: str,
    out: Path,
    as_software: bool,  # noqa: FBT001 - click passes flags by name
    pin_file: Path | None,
) -> None:
    """Write a request that the device of CONFIG goes on under a new key.

    Its recorder is stopped: the request names the newest head of its journal. Both keys stay where
    they are; the file holds no secret.
    """
    settings = device_config.load(str(config))
    if settings["credential"] is None:
        raise Malformed("bad-value", f"{config} names no credential: the device is not enrolled")
    known = read_credential(Path(settings["credential"]))
    id_ = enrolment.parse(known.statements[0]).id
    head = keychanges.journal_head(Path(settings["journal"]), id_)
    old, new = open_signer(settings["key"], pin_file), open_signer(new_uri, pin_file)
    previous = credential.digests_of(known)[-1] if len(known.statements) > 1 else None
    made = keychanges.make_rotation(
        old, new, settings["fleet"], id_, head, previous, as_software=as_software
    )
    out.write_bytes(keychanges.request_bytes(made))
    say_head(head)
    click.echo(f"{out} is the request; bring it to `tally fleet rotate --request`")
