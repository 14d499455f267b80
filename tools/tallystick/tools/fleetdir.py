"""A fleet on disk: its root key, whom it enrolled, and whom else it trusts.

    FLEET/fleet.toml              the fleet's name, its root key's URI and its PIN's file
    FLEET/root.key                the root key (mode 0600), unless hardware holds it; whoever has
                                  it can enrol
    FLEET/root.pub                the root line that others pin
    FLEET/trusted/*.pub           root lines of other organisations that our devices accept
    FLEET/devices/LABEL/          credential.cbor, and a key where it was made here
    FLEET/gateways/LABEL/
    FLEET/validators/LABEL/

Commands (`tally fleet`), the demo, the replay and the benches all enrol through this file.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tallystick.evidence import cbor, credential, enrolment, enrolmentrequest, keycustody, root
from tallystick.evidence.credential import Credential, Identity, verify_credential
from tallystick.evidence.enrolment import CUSTODY_TPM, SUBJECTS
from tallystick.evidence.enrolmentrequest import EnrolmentRequest, VerifiedRequest
from tallystick.evidence.errors import Malformed, TallyError, Unverified
from tallystick.evidence.keys import EDDSA, PublicKey, device_text
from tallystick.hw.signer import Signer
from tallystick.tools import chipslots, rootkey
from tallystick.tools._files import read_text
from tallystick.tools.rootkey import ROOT_LINE_BYTES_MAX, RootKey

FLEET_NAME = re.compile(r"[a-z0-9.-]{1,20}")
LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
DAY_S = 86_400
VALID_DAYS = 3_650
VALID_DAYS_MAX = 36_500
INTERVAL_S = 60
FLEET_BYTES_MAX = 4_096
# A clock that runs a little behind must not refuse an enrolment made a moment ago.
BACKDATE_S = 3_600


class FleetFile(msgspec.Struct, forbid_unknown_fields=True):
    """What fleet.toml holds."""

    name: str
    key: str
    key_pin_file: str | None = None


@dataclass(frozen=True)
class Member:
    """One enrolled device, gateway or validator.

    `label` is the name of its folder; it is ours and not signed.
    """

    label: str
    kind: str
    path: Path
    identity: Identity

    @property
    def id(self) -> bytes:
        """32 bytes, for life."""
        return self.identity.id

    @property
    def id_text(self) -> str:
        """The 43 characters that people and topics use."""
        return device_text(self.identity.id)

    @property
    def credential_path(self) -> Path:
        """The file that holds the enrolment and later key changes."""
        return self.path / "credential.cbor"

    @property
    def key_path(self) -> Path:
        """The software key, where it was made here."""
        return self.path / "key"


def _no_details(_folder: Path) -> Mapping[str, Any]:
    return {}


def read_credential(path: Path) -> Credential:
    """Read a credential file: a CBOR array of signed statements."""
    try:
        return credential.parse(path.read_bytes())
    except TallyError as error:
        message = f"{path} is no credential; `tally fleet enroll` makes one: {error.message}"
        raise Malformed(error.reason, message) from error


def parse_request(data: bytes) -> EnrolmentRequest:
    """A request as received; Malformed says what makes one."""
    try:
        return enrolmentrequest.parse(data)
    except Malformed as error:
        message = f"no request for enrolment; `tally key request` makes one: {error.message}"
        raise Malformed(error.reason, message) from error


def write_private(path: Path, data: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


class Fleet:
    """One organisation's root and the members that it enrolled."""

    def __init__(self, path: Path, name: str, root_key: RootKey) -> None:
        self.path = path
        self.name = name
        self.root_key = root_key
        self._members: dict[str, tuple[tuple[int, int, int], Member]] = {}

    @property
    def key(self) -> PublicKey:
        """The root's public key; nothing is opened for it."""
        return self.root_key.public

    @property
    def signer(self) -> Signer:
        """The root's key, opened when it is first needed."""
        return self.root_key.signer()

    def close(self) -> None:
        """Give the root's key back."""
        self.root_key.close()

    @classmethod
    def init(
        cls,
        path: Path,
        name: str,
        alg: int | None = None,
        *,
        uri: str = rootkey.FILE,
        existing: bool = False,
        pin_file: Path | None = None,
        seal: bool = False,
    ) -> "Fleet":
        """Make a fleet in a new folder; its root key where `uri` says, or the one that is there.

        alg: Ed25519 in a file, else the hardware's own. pin_file is kept in fleet.toml by its
        path. Raises Malformed for a name that does not fit `iss` (1 to 20 of a-z 0-9 . -) and
        FileExistsError where a fleet is already.
        """
        if not FLEET_NAME.fullmatch(name):
            raise Malformed(
                "bad-value", f"a fleet's name is 1 to 20 of a-z 0-9 . - and not {name!r}"
            )
        if (path / "fleet.toml").exists():
            raise FileExistsError(17, "a fleet is here already; choose another folder", str(path))
        path.mkdir(parents=True, exist_ok=True)
        pin_file = None if pin_file is None else pin_file.absolute()
        made = rootkey.make(path, uri, alg, existing=existing, pin_file=pin_file, seal=seal)
        (path / "root.pub").write_text(root.format_root(name, made.public) + "\n")
        for folder in ("trusted", "devices", "gateways", "validators"):
            (path / folder).mkdir(exist_ok=True)
        # A JSON string without control characters is a TOML string.
        lines = [f"name = {json.dumps(name)}", f"key = {json.dumps(uri)}"]
        lines += [f"key_pin_file = {json.dumps(str(pin_file))}"] if pin_file else []
        (path / "fleet.toml").write_text("\n".join(lines) + "\n")
        return cls(path, name, made)

    @classmethod
    def open(cls, path: Path) -> "Fleet":
        """Open a fleet folder; raises Malformed with the file and the line that is wrong."""
        file = path / "fleet.toml"
        if not file.exists():
            raise Malformed("bad-value", f"{path} is no fleet; make one with `tally fleet init`")
        try:
            settings = msgspec.toml.decode(read_text(file, FLEET_BYTES_MAX), type=FleetFile)
        except msgspec.DecodeError as error:
            raise Malformed("bad-value", f"{file}: {error}") from error
        found = rootkey.known(path, settings.name, settings.key, settings.key_pin_file)
        return cls(path, settings.name, found)

    @property
    def root_line(self) -> str:
        """The line that others pin."""
        return root.format_root(self.name, self.key)

    def trust(self, line: str) -> str:
        """Keep another organisation's root line; returns its name.

        A second, different key for one name is refused: that is how a forged root would come in.
        """
        name, key = root.parse_root(line.strip())
        file = self.path / "trusted" / f"{name}.pub"
        if key == self.key:
            raise Malformed("bad-value", f"this is {self.name}'s own root; give another fleet's")
        known = self.roots().get(name)
        if known is not None and known != key:
            raise Unverified(
                "wrong-key",
                f"{name} is trusted with another key; remove {file} first if you mean it",
            )
        file.write_text(root.format_root(name, key) + "\n")
        return name

    def roots(self) -> dict[str, PublicKey]:
        """Name to key: our own root and the trusted ones."""
        found = {self.name: self.key}
        for line in self.trusted_lines():
            name, key = root.parse_root(line)
            found[name] = key
        return found

    def trusted_lines(self) -> list[str]:
        """The root lines of other organisations, in the order of their names."""
        files = sorted((self.path / "trusted").glob("*.pub"))
        return [read_text(file, ROOT_LINE_BYTES_MAX).strip() for file in files]

    def root_lines(self) -> list[str]:
        """Our own root line, then the trusted ones."""
        return [self.root_line, *self.trusted_lines()]

    def enrol(
        self,
        kind: str,
        label: str,
        *,
        alg: int = EDDSA,
        request: bytes | None = None,
        signer: Signer | None = None,
        as_software: bool = False,
        details: Callable[[Path], Mapping[str, Any]] = _no_details,
        releases: tuple[tuple[str, bytes], ...] = (),
        interval_s: int = INTERVAL_S,
        valid_days: int = VALID_DAYS,
    ) -> Member:
        """Enrol one member and write its folder.

        Without `request` and `signer` a software key is made in the folder. With either (the
        bytes of a request, docs/protocol.md section 5.1; a key that is open here) the key stays
        where it was made, and is enrolled as held as its evidence shows: Unverified when that is
        less than is claimed, unless `as_software`.
        `details` gives what the enrolment says of the member; it may make files in the folder.
        Nothing is left behind unless all of it could be written.
        """
        self._check_new(kind, label, valid_days)
        # Made beside its place and moved there when it is complete.
        folder = self.path / f"{kind}s" / f".{label}.partial"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            asked = self._asked(folder, alg, request, signer)
            statement = self._enrolment(
                SUBJECTS.index(kind),
                asked,
                as_software,
                details(folder),
                releases,
                interval_s,
                valid_days,
            )
            write_private(folder / "credential.cbor", cbor.encode([statement]))
            verify_credential(Credential([statement]), self.roots(), None)
            folder.rename(self.path / f"{kind}s" / label)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.member(kind, label)

    def _check_new(self, kind: str, label: str, valid_days: int) -> None:
        if not LABEL.fullmatch(label):
            raise Malformed(
                "bad-value", f"a label is 1 to 64 letters, digits, . _ - and not {label!r}"
            )
        if not 1 <= valid_days <= VALID_DAYS_MAX:
            raise Malformed("bad-value", f"valid days are 1 to {VALID_DAYS_MAX}, not {valid_days}")
        if (self.path / f"{kind}s" / label).exists():
            raise Malformed(
                "already-enrolled",
                f"{kind} {label} is enrolled already; see `tally fleet list {self.path}`",
            )

    def _asked(
        self, folder: Path, alg: int, request: bytes | None, signer: Signer | None
    ) -> VerifiedRequest:
        if request is not None:
            asked = parse_request(request)
        else:
            signer = signer or Signer.create(f"file:{folder / 'key'}", alg=alg)
            asked = enrolmentrequest.make(signer, self.name)
        for member in self.members():
            if any(period.key == asked.key for period in member.identity.keys):
                raise Unverified(
                    "already-enrolled", f"this key is enrolled already, as {member.label}"
                )
        chipslots.check_free(self.members(), asked.evidence)
        return asked.verify(self.name)

    def _check_custody(self, asked: VerifiedRequest, since_s: int) -> None:
        """Unverified unless the evidence shows the level that is claimed."""
        counted = keycustody.count(
            asked.key, asked.id, self.name, self.key, asked.custody, asked.evidence, since_s
        )
        if counted.level != asked.custody:
            raise uncounted(counted)

    def _enrolment(
        self,
        subject: int,
        asked: VerifiedRequest,
        as_software: bool,  # noqa: FBT001 - passed on
        details: Mapping[str, Any],
        releases: tuple[tuple[str, bytes], ...],
        interval_s: int,
        valid_days: int,
    ) -> bytes:
        now_s = int(time.time())
        if not as_software:
            self._check_custody(asked, now_s - BACKDATE_S)
        made = enrolment.Enrolment(
            subject=subject,
            id=asked.id,
            key=asked.key,
            custody=enrolment.CUSTODY_SOFTWARE if as_software else asked.custody,
            evidence=[] if as_software else asked.evidence,
            details=dict(details),
            releases=[list(r) for r in releases],
            interval_s=interval_s,
            validity=[now_s - BACKDATE_S, now_s + valid_days * DAY_S],
            possession=asked.possession,
        )
        return made.sign(self.signer, self.name, device_text(asked.id))

    def member(self, kind: str, label: str) -> Member:
        """One member, its credential verified against our own root."""
        path = self.path / f"{kind}s" / label
        if not path.is_dir():
            raise Malformed("bad-value", f"no {kind} {label} in {self.path}")
        received = read_credential(path / "credential.cbor")
        identity = verify_credential(received, {self.name: self.key}, None)
        return Member(label, kind, path, identity)

    def members(self) -> Iterator[Member]:
        """All members, kind by kind, in the order of their labels."""
        for kind in SUBJECTS:
            with os.scandir(self.path / f"{kind}s") as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                if entry.is_dir() and not entry.name.startswith("."):
                    yield self._seen(kind, entry)

    def _seen(self, kind: str, folder: os.DirEntry[str]) -> Member:
        # Who enrols a thousand devices looks at all of them a thousand times: each file is verified
        # once, and again when it is another one.
        try:
            found = os.stat(f"{folder.path}/credential.cbor")  # noqa: PTH116 - a tenth of Path's time
        except FileNotFoundError:
            return self.member(kind, folder.name)  # which says what is wrong
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._members.get(folder.path)
        if known is None or known[0] != stamp:
            known = self._members[folder.path] = (stamp, self.member(kind, folder.name))
        return known[1]


def uncounted(counted: keycustody.Counted) -> Unverified:
    """Why a level that a key claims is not signed for, and what to do about it."""
    advice = "--as-software claims no more than that"
    if counted.claimed == CUSTODY_TPM and not counted.not_checked:
        advice = (
            f"`tally fleet attester add` makes what the URI then names as attester=; or {advice}"
        )
    return Unverified("bad-custody", f"{counted.why()}; {advice}")
