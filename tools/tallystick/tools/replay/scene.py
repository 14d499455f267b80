"""What the replay runs on: five robots, a gateway and three validators of three organisations."""

from dataclasses import dataclass
from pathlib import Path

from tallystick.hw.signer import Signer
from tallystick.tools import provision
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.mosquitto import free_port
from tallystick.tools.replay.held import Hardware, Held
from tallystick.verify import profiles as packaged

NAMESPACE = "mrclam"
ROBOT_FLEET = "utias"
VALIDATOR_FLEETS = ("utias", "borealis", "assure")
ROBOT_INTERVAL_S = 5


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
    profile: provision.ProfileFile
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


def build(folder: Path, broker: str, robots: int, hardware: Hardware | None = None) -> Scene:
    """Make the fleets, enrol everyone, write every configuration.

    `hardware` makes the robots' keys; software keys are made without it.
    """
    profile = provision.profile_file(packaged.text("sighting"))
    fleets = {name: Fleet.init(folder / name, name) for name in VALIDATOR_FLEETS}
    for fleet in fleets.values():
        for other in fleets.values():
            if other is not fleet:
                fleet.trust(other.root_line)
    validators, peers = [], []
    for name, fleet in fleets.items():
        made, peer = _validator(fleet, name, profile)
        validators.append(made)
        peers.append(peer)
    home = fleets[ROBOT_FLEET]
    gateway = provision.gateway(home, home.enrol("gateway", "lab"), broker=broker, validators=peers)
    held = [hardware.key(home, n) if hardware else None for n in range(1, robots + 1)]
    members = [_robot(home, n, key, profile, broker) for n, key in enumerate(held, 1)]
    lines = [fleet.root_line for fleet in fleets.values()]
    policy = folder / "policy.toml"
    # A conflict is what the replay looks for, so its policy accepts one that three attest.
    policy.write_text(
        provision.policy(
            lines[:1],
            lines,
            [profile],
            at_least=len(lines),
            custody="pkcs11" if hardware else "software",
            states=("matched", "conflicting"),
        )
    )
    environments = {
        member.label: key.environment for member, key in zip(members, held, strict=True) if key
    }
    return Scene(folder, profile, members, gateway, validators, policy, environments)


def _validator(
    fleet: Fleet, name: str, profile: provision.ProfileFile
) -> tuple[Validator, provision.ValidatorPeer]:
    bind = f"127.0.0.1:{free_port()}"
    member = fleet.enrol(
        "validator",
        "validator",
        details=lambda made: provision.validator_details(fleet, "validator", bind, made),
    )
    config = provision.validator(fleet, member, bind=bind, profiles=[profile], open_reads=True)
    url = f"http://{bind}"
    return Validator(name, url, config), provision.ValidatorPeer(name, url, member.credential_path)


def _robot(
    fleet: Fleet, number: int, key: Held | None, profile: provision.ProfileFile, broker: str
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
    settings = {"key": key.uri} if key else {}
    provision.device(
        fleet, member, uplink=broker, namespace=NAMESPACE, profiles=[profile], settings=settings
    )
    return member
