"""What a replay runs on: robots, a gateway, and validators of other organisations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.hw.signer import Signer
from tallystick.tools import provision
from tallystick.tools._ports import free_port
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.replay.held import Hardware, Held
from tallystick.verify import profiles as packaged

ROBOT_INTERVAL_S = 5
# 1,024 records that wait, and more.
BUFFER_BYTES = 1 << 18


@dataclass(frozen=True)
class Cast:
    """Who takes part: whose robots, whose validators, and what is reconciled, if anything is."""

    namespace: str
    robot_fleet: str
    validator_fleets: tuple[str, ...]
    profile: str | None = None
    # What the policy accepts.
    states: tuple[str, ...] = ("matched",)


# A conflict is what this replay looks for, so its policy accepts one that three attest.
MRCLAM = Cast(
    "mrclam", "utias", ("utias", "borealis", "assure"), "sighting", ("matched", "conflicting")
)
SONAR = Cast("sonar", "scitos", ("assure",))


@dataclass(frozen=True)
class Validator:
    """One validator: whose it is, where it listens, its configuration."""

    name: str
    url: str
    config: Path


@dataclass(frozen=True)
class Scene:
    """All configurations of a replay."""

    folder: Path
    robots: list[Member]
    gateway: Path
    validators: list[Validator]
    policy: Path
    # What a robot's process needs to find its key, by label.
    environments: dict[str, dict[str, str]]


def robot_count(data: Path) -> int:
    """How many robots the dataset's folder has; they are numbered from 1 without a hole."""
    count = 0
    while (data / f"Robot{count + 1}_Measurement.dat").is_file():
        count += 1
    return count


def build(
    folder: Path, broker: str, robots: int, hardware: Hardware | None = None, cast: Cast = MRCLAM
) -> Scene:
    """Make the fleets, enrol everyone, write every configuration.

    `hardware` makes the robots' keys; software keys are made without it.
    """
    profiles = [provision.profile_file(packaged.text(cast.profile))] if cast.profile else []
    names = dict.fromkeys((cast.robot_fleet, *cast.validator_fleets))
    fleets = {name: Fleet.init(folder / name, name) for name in names}
    for fleet in fleets.values():
        for other in fleets.values():
            if other is not fleet:
                fleet.trust(other.root_line)
    validators, peers = [], []
    for name in cast.validator_fleets:
        made, peer = _validator(fleets[name], name, profiles)
        validators.append(made)
        peers.append(peer)
    home = fleets[cast.robot_fleet]
    gateway = provision.gateway(home, home.enrol("gateway", "lab"), broker=broker, validators=peers)
    held = [hardware.key(home, n) if hardware else None for n in range(1, robots + 1)]
    members = [
        _robot(home, n, key, profiles, broker, cast.namespace) for n, key in enumerate(held, 1)
    ]
    policy = folder / "policy.toml"
    policy.write_text(
        provision.policy(
            [home.root_line],
            [fleets[name].root_line for name in cast.validator_fleets],
            profiles,
            at_least=len(validators),
            custody="pkcs11" if hardware else "software",
            states=cast.states,
        )
    )
    environments = {
        member.label: key.environment for member, key in zip(members, held, strict=True) if key
    }
    return Scene(folder, members, gateway, validators, policy, environments)


def _validator(
    fleet: Fleet, name: str, profiles: list[provision.ProfileFile]
) -> tuple[Validator, provision.ValidatorPeer]:
    bind = f"127.0.0.1:{free_port()}"
    member = fleet.enrol(
        "validator",
        "validator",
        details=lambda made: provision.validator_details(fleet, "validator", bind, made),
    )
    config = provision.validator(fleet, member, bind=bind, profiles=profiles, open_reads=True)
    url = f"http://{bind}"
    # They are of one circle, and count the decisions too.
    peer = provision.ValidatorPeer(name, url, member.credential_path, send="full")
    return Validator(name, url, config), peer


def _robot(
    fleet: Fleet,
    number: int,
    key: Held | None,
    profiles: list[provision.ProfileFile],
    broker: str,
    namespace: str,
) -> Member:
    label = f"robot-{number}"
    signer = Signer.from_uri(key.uri) if key else None
    try:
        member = fleet.enrol(
            "device",
            label,
            signer=signer,
            interval_s=ROBOT_INTERVAL_S,
            details=lambda _: {"asset_tag": label},
        )
    finally:
        if signer is not None:
            signer.close()
    # A set is replayed without a pause: the robot's backlog bounds what waits.
    settings: dict[str, Any] = {"buffer_bytes": BUFFER_BYTES, **({"key": key.uri} if key else {})}
    provision.device(
        fleet, member, uplink=broker, namespace=namespace, profiles=profiles, settings=settings
    )
    return member
