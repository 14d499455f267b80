"""The scene: three organisations, their fleets, and every configuration, in one folder.

acme and borealis each have three robots, a gateway and a validator; assure is a third organisation
that only validates; the three validators follow one another and cosign one
another's logs. Nothing here is special to the demo
but the deadline of its profile, which is seconds, because nobody waits an hour for a demo.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tallystick.hw.signer import Signer
from tallystick.tools import provision
from tallystick.tools._ports import free_port
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.virtual_robots import new_chip
from tallystick.verify import profiles as packaged

DEADLINE_S = 8
INTERVAL_S = 1
# Validators ask one another that often, so that a fork shows while one looks on.
PEER_POLL_S = 2.0
ROBOTS_PER_FLEET = 3
NAMESPACE = "demo-site"
ROBOT_FLEETS = ("acme", "borealis")
VALIDATOR_FLEETS = ("acme", "borealis", "assure")


@dataclass(frozen=True)
class Robot:
    """One robot: its name, its company, where its configuration is."""

    name: str
    fleet: str
    member: Member
    config: Path


@dataclass(frozen=True)
class ValidatorSite:
    """One validator: whose it is and where it listens."""

    name: str
    url: str
    member: Member
    config: Path


@dataclass(frozen=True)
class Scene:
    """All that the demo runs: configurations, and the profile that the robots follow."""

    folder: Path
    profile: provision.ProfileFile
    robots: dict[str, Robot]
    gateways: dict[str, Path]
    validators: list[ValidatorSite]
    root_lines: list[str]


def quick_profile() -> provision.ProfileFile:
    """The handover profile with a deadline of seconds."""
    text = re.sub(r"(?m)^deadline = .*$", f'deadline = "{DEADLINE_S} s"', packaged.text("handover"))
    return provision.profile_file(text)


def build(folder: Path, broker: str) -> Scene:
    """Make the fleets, enrol everyone, write every configuration."""
    profile = quick_profile()
    fleets = {name: Fleet.init(folder / name, name) for name in VALIDATOR_FLEETS}
    for fleet in fleets.values():
        for other in fleets.values():
            if other is not fleet:
                fleet.trust(other.root_line)
    validators = [_validator(fleets[name], profile) for name in VALIDATOR_FLEETS]
    for site in validators:
        others = [(one.name, one.url, one.member) for one in validators if one is not site]
        provision.follow(site.config, others, PEER_POLL_S)
    # Of one circle: each gets decisions' bodies too.
    peers = [
        provision.ValidatorPeer(v.name, v.url, v.member.credential_path, send="full")
        for v in validators
    ]
    gateways = {}
    for name in ROBOT_FLEETS:
        member = fleets[name].enrol("gateway", f"{name}-dock")
        gateways[name] = provision.gateway(
            fleets[name],
            member,
            broker=broker,
            validators=peers,
            limits={"retry_s_max": 1.0, "verdicts_poll_s": 0.5},
        )
    labels = [
        (name, f"{name}-{n}") for name in ROBOT_FLEETS for n in range(1, ROBOTS_PER_FLEET + 1)
    ]
    # A chip takes a second to be set up, and mostly one waits for it.
    with ThreadPoolExecutor(len(labels)) as hands:
        uris = list(hands.map(new_chip, [folder / f"{label}.chip" for _, label in labels]))
    robots = {
        label: _robot(fleets[name], label, uri, profile, broker)
        for (name, label), uri in zip(labels, uris, strict=True)
    }
    lines = [fleet.root_line for fleet in fleets.values()]
    return Scene(folder, profile, robots, gateways, validators, lines)


def _validator(fleet: Fleet, profile: provision.ProfileFile) -> ValidatorSite:
    bind = f"127.0.0.1:{free_port()}"
    member = fleet.enrol(
        "validator",
        "validator",
        details=lambda made: provision.validator_details(fleet, "validator", bind, made),
    )
    config = provision.validator(fleet, member, bind=bind, profiles=[profile], open_reads=True)
    return ValidatorSite(fleet.name, f"http://{bind}", member, config)


def _robot(
    fleet: Fleet, label: str, uri: str, profile: provision.ProfileFile, broker: str
) -> Robot:
    signer = Signer.from_uri(uri)
    try:
        member = fleet.enrol(
            "device",
            label,
            signer=signer,
            interval_s=INTERVAL_S,
            details=lambda _: {"asset_tag": label},
        )
    finally:
        signer.close()
    config = provision.device(
        fleet,
        member,
        uplink=broker,
        namespace=NAMESPACE,
        profiles=[profile],
        settings={"key": uri, "checkpoint_s": 1, "resend_s": 3},
    )
    return Robot(label, fleet.name, member, config)
