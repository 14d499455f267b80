"""Where peer files lie: in a fleet's folder, and beside the services that look into theirs.

    FLEET/peers/NAME.peer             who was imported here
    FLEET/trusted/ROOT.pub            the roots of those files too, for who is enrolled from now on
    FLEET/gateways/LABEL/peers/       what that gateway looks into each second
    FLEET/validators/LABEL/peers/

A gateway or validator elsewhere is named by its configuration file.
"""

import ipaddress
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tallystick.evidence import peercircle, peerfile, root
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.limits import PEER_FILE_BYTES_MAX
from tallystick.evidence.peerfile import VerifiedPeerFile
from tallystick.tools import provision
from tallystick.tools._files import read_bytes, read_text
from tallystick.tools.fleetdir import Fleet, Member

CONFIG_BYTES_MAX = 1 << 20
SETTING = 'peer_files = "peers"'


@dataclass
class Place:
    """A folder of peer files, and the roots that are accepted beside it."""

    folder: Path
    what: str  # for people
    configured: Mapping[str, PublicKey] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where the file of a peer lies."""
        return self.folder / peerfile.file_name(name)

    def known(self, name: str) -> VerifiedPeerFile | None:
        """The peer's file that is here; None where there is none, or a bad one."""
        try:
            return read(self.path(name))
        except (TallyError, OSError):
            return None

    def check(self, file: VerifiedPeerFile) -> None:
        """Unverified unless the file may be taken here."""
        name = file.iss
        known = self.known(name)
        why = None if known is None else peercircle.refused_renewal(file, known)
        if why is not None:
            reason = "replayed" if known is not None and known.root == file.root else "wrong-key"
            raise Unverified(reason, f"{self.what}: {why}; `tally peer remove` forgets a peer")
        for other, key in file.roots:
            if self.configured.get(other, key) != key:
                raise Unverified("wrong-key", f"{self.what}: {other} is known with another key")

    def write(self, file: VerifiedPeerFile) -> None:
        """Put it there, whole or not at all: a service reads beside us."""
        self.folder.mkdir(exist_ok=True)
        path = self.path(file.iss)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as opened:
            opened.write(file.encode())
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(path)


def read(path: Path) -> VerifiedPeerFile:
    """A peer file, verified; its validity is not looked at."""
    return peerfile.parse(read_bytes(path, PEER_FILE_BYTES_MAX)).verify()


@dataclass
class Where:
    """What the command line names: a fleet, or one service."""

    places: list[Place]
    fleet: Fleet | None = None

    def check(self, file: VerifiedPeerFile) -> None:
        """Every place, before anything is written."""
        for place in self.places:
            place.check(file)

    def take(self, file: VerifiedPeerFile) -> list[Path]:
        """Write it everywhere; the files that were written."""
        for place in self.places:
            place.write(file)
        if self.fleet is not None:
            for name, key in file.roots:
                if name != self.fleet.name:
                    self.fleet.trust(root.format_root(name, key))
        return [place.path(file.iss) for place in self.places]

    def remove(self, name: str) -> list[Path]:
        """Take it away everywhere; the files that went."""
        main = self.places[0]
        gone = []
        file = main.known(name)
        for place in self.places:
            path = place.path(name)
            if path.exists():
                path.unlink()
                gone.append(path)
        if self.fleet is not None and file is not None:
            kept = {root for other in files(main).values() for root, _ in _roots_of(other)}
            for other, key in file.roots:
                trusted = self.fleet.path / "trusted" / f"{other}.pub"
                if other not in kept and self.fleet.roots().get(other) == key and trusted.exists():
                    trusted.unlink()
                    gone.append(trusted)
        return gone

    def unaware(self) -> list[Path]:
        """Configurations of the fleet's services that look into no folder of peers."""
        if self.fleet is None:
            return []
        kinds = ("gateway", "validator")
        return provision.written_without(self.fleet, "peer_files", kinds)


def _roots_of(found: VerifiedPeerFile | str) -> list[tuple[str, PublicKey]]:
    return [] if isinstance(found, str) else found.roots


def where(path: Path) -> Where:
    """A fleet's folder, or the configuration of one gateway or validator."""
    if path.is_dir():
        fleet = Fleet.open(path)
        places = [Place(path / "peers", f"fleet {fleet.name}", fleet.roots())]
        places += [
            Place(member.path / "peers", f"{member.kind} {member.label}")
            for member in fleet.members()
            if _looks(member)
        ]
        return Where(places, fleet)
    return Where([_service(path)])


def _looks(member: Member) -> bool:
    config = member.path / provision.CONFIGS[member.kind]
    return member.kind != "device" and config.is_file() and SETTING in config.read_text()


def _service(path: Path) -> Place:
    try:
        raw = msgspec.toml.decode(read_text(path, CONFIG_BYTES_MAX))
    except msgspec.DecodeError as error:
        raise Malformed("bad-value", f"{path}: {error}") from error
    from tallystick.gateway import config as gateways  # noqa: PLC0415 - one of the two
    from tallystick.validator import config as validators  # noqa: PLC0415

    loaded = validators.load(path) if "origin" in raw else gateways.load(path)
    if loaded.peer_files is None:
        raise Malformed("bad-value", f"{path} names no folder for peers: add {SETTING} to it")
    return Place(loaded.peer_files, str(path), loaded.roots)


def files(place: Place) -> dict[str, VerifiedPeerFile | str]:
    """Every peer of a place: its file, or what is wrong with it."""
    found: dict[str, VerifiedPeerFile | str] = {}
    for path in sorted(place.folder.glob(f"*{peerfile.SUFFIX}")) if place.folder.is_dir() else []:
        try:
            found[path.stem] = read(path)
        except (TallyError, OSError) as error:
            found[path.stem] = str(error)
    return found


def is_inside(url: str) -> bool:
    """Whether an address is plainly one of this machine or its link (A20)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_link_local or address.is_unspecified


def now_s() -> int:
    """The machine's clock."""
    return int(time.time())
