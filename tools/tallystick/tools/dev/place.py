"""The folder of `tally dev`: a fleet, a gateway, a validator, robots, and a program to begin with.

tally-dev/                  a fleet as `tally fleet` makes one
tally-dev/devices/NAME/     a robot: its tallystick.json, key, journal
tally-dev/ports.json        the broker's and the validator's, kept between runs
tally-dev/first.py          two robots hand over a pallet
tally-dev/running           locked while `tally dev` runs
"""

import fcntl
import json
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tallystick.evidence.errors import CouldNotCheck, Malformed
from tallystick.tools import provision
from tallystick.tools._ports import free_port
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.verify import profiles as packaged

FLEET = "dev"
# Seconds in place of minutes, because a developer waits for the verdict.
DEADLINE_S = 10
INTERVAL_S = 2
CHECKPOINT_S = 0.5
RESEND_S = 3
POLL_S = 0.5
RETRY_S_MAX = 1.0
_DEADLINE = re.compile(r"(?m)^deadline = .*$")

FIRST = '''"""Two robots hand over a pallet: run it while `tally dev` runs, and watch there."""

import time

from tallystick.recorder import Recorder

giver = Recorder.open({giver})
receiver = Recorder.open({receiver})
order = f"order-{{int(time.time())}}"  # a task is claimed once
where = {{"item": "pallet-7", "position_m": ["1.20", "3.40"]}}

giver.decision(
    model="grasp-net@1",
    inputs={{"distance_m": "0.12"}},
    constraints={{"speed_m_s": ("0.4", "<=", "0.5", "m/s")}},
    output={{"action": "hand over"}},
)
half = giver.claim(
    "handover@1", task=order, role="giver", claim="released",
    peers={{"receiver": receiver.device}}, **where,
)
receiver.accept(half)  # verified here; any link will do
receiver.claim(
    "handover@1", task=order, role="receiver", claim="acquired",
    peers={{"giver": giver.device}}, relied=[half], **where,
)

while giver.backlog() or receiver.backlog():  # until the gateway has it
    time.sleep(0.1)
giver.close()
receiver.close()
'''


class Place:
    """A folder that is ready to run."""

    def __init__(self, folder: Path, fleet: Fleet, ports: dict[str, int]) -> None:
        self.folder = folder
        self.fleet = fleet
        self.broker_port = ports["broker"]
        self.bind = f"127.0.0.1:{ports['validator']}"
        self.profiles = [_quick(name) for name in packaged.NAMES]

    @property
    def broker(self) -> str:
        """The broker's address, of loopback."""
        return f"mqtt://127.0.0.1:{self.broker_port}"

    @property
    def gateway(self) -> Path:
        """The gateway's configuration."""
        return self.folder / "gateways" / "gateway" / "gateway.toml"

    @property
    def validator(self) -> Path:
        """The validator's configuration."""
        return self.folder / "validators" / "validator" / "validator.toml"

    def config(self, name: str) -> Path:
        """A robot's configuration, by the path that works from everywhere."""
        return (self.folder / "devices" / name / "tallystick.json").resolve()

    def robots(self) -> list[Member]:
        """All robots, by name."""
        return [member for member in self.fleet.members() if member.kind == "device"]

    def robot(self, name: str) -> Path:
        """A robot's configuration; one that is new is enrolled."""
        path = self.config(name)
        if path.exists():
            return path
        member = self.fleet.enrol("device", name, interval_s=INTERVAL_S)
        provision.device(
            self.fleet,
            member,
            uplink=self.broker,
            namespace=FLEET,
            profiles=self.profiles,
            settings={"checkpoint_s": CHECKPOINT_S, "resend_s": RESEND_S},
        )
        return path

    def services(self) -> None:
        """Enrol gateway and validator where they are not; write their configurations."""
        fleet = self.fleet
        known = {member.kind: member for member in fleet.members()}
        judge = known.get("validator") or fleet.enrol(
            "validator",
            "validator",
            details=lambda made: provision.validator_details(fleet, "validator", self.bind, made),
        )
        provision.validator(fleet, judge, bind=self.bind, profiles=self.profiles, open_reads=True)
        peer = provision.ValidatorPeer(FLEET, f"http://{self.bind}", judge.credential_path)
        provision.gateway(
            fleet,
            known.get("gateway") or fleet.enrol("gateway", "gateway"),
            broker=self.broker,
            validators=[peer],
            limits={"retry_s_max": RETRY_S_MAX, "verdicts_poll_s": POLL_S},
        )
        # Robots of an earlier run, where the broker has another port now.
        for member in self.robots():
            path = self.config(member.label)
            said = json.loads(path.read_text())
            if said["uplink"] != self.broker:
                path.write_text(json.dumps({**said, "uplink": self.broker}, indent=2) + "\n")

    def first_program(self, names: Sequence[str]) -> Path:
        """Write a program for two robots, unless there is one; its path."""
        path = self.folder / "first.py"
        if not path.exists():
            giver, receiver = (json.dumps(str(self.config(name))) for name in names[:2])
            path.write_text(FIRST.format(giver=giver, receiver=receiver))
        return path


def _quick(name: str) -> provision.ProfileFile:
    text = _DEADLINE.sub(f'deadline = "{DEADLINE_S} s"', packaged.text(name))
    return provision.profile_file(text)


def opened(folder: Path) -> Place:
    """The place that `tally dev` made here; Malformed where it made none."""
    file = folder / "ports.json"
    if not file.is_file():
        raise Malformed("bad-value", f"{folder} was not made by `tally dev`; run `tally dev` first")
    return Place(folder, Fleet.open(folder), _read(file))


def made(folder: Path) -> Place:
    """The place in this folder, which is made where it is new or empty."""
    file = folder / "ports.json"
    if file.is_file():
        ports = {name: _free_or_other(port) for name, port in _read(file).items()}
        fleet = Fleet.open(folder)
    else:
        if folder.exists() and any(one.name != "running" for one in folder.iterdir()):
            message = f"{folder} holds something else; choose another folder with --folder"
            raise Malformed("bad-value", message)
        ports = {"broker": free_port(), "validator": free_port()}
        fleet = Fleet.init(folder, FLEET)
    file.write_text(json.dumps(ports) + "\n")
    place = Place(folder, fleet, ports)
    place.services()
    return place


def _read(file: Path) -> dict[str, int]:
    try:
        found = json.loads(file.read_text())
        return {name: int(found[name]) for name in ("broker", "validator")}
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed("bad-value", f"{file} is damaged; remove it ({error})") from error


def _free_or_other(port: int) -> int:
    with socket.socket() as probe:
        # Connections of the run before may still linger.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return free_port()
    return port


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """CouldNotCheck where another `tally dev` runs in this folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "running").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = (
                f"`tally dev` runs in {folder} already; `tally dev robot NAME` enrols another robot"
            )
            raise CouldNotCheck("in-use", message) from error
        yield
