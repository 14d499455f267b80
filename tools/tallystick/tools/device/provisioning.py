"""Provisioning a board, step by step; each step looks first whether it is done.

The order keeps an interrupted run harmless: the key is made where it stays, the enrolment is kept
in the fleet's folder before anything of it is sent, and the configuration is written last. So a
board has no configuration, or a whole one, and never a second identity.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tallystick.evidence.errors import KeyDriverError, TallyError, TransportError, Unverified
from tallystick.evidence.keys import device_text
from tallystick.hw.signer import DRIVERS
from tallystick.recorder import config as recorder_config
from tallystick.tools import brokertls, provision
from tallystick.tools.brokertls import BrokerTls
from tallystick.tools.device import board as known_board
from tallystick.tools.device import onboard
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.connection import Connection
from tallystick.tools.device.wifi import PATH as WIFI
from tallystick.tools.device.wifi import Wifi
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.provision import ProfileFile

KEY = "file:/key"
CREDENTIAL = "/credential.cbor"
PROFILES = "/profiles"
TLS = "/tls"
JOURNAL = "/journal"
# A pure-Python key or signature takes a microcontroller seconds; a new chip's locks too.
SLOW_S_MAX = 120.0
CALL = "from tallystick.recorder.provisioning import call as _call"


@dataclass(frozen=True)
class Wanted:
    """What a board shall be."""

    label: str
    key: str | None
    as_software: bool
    details: dict[str, Any]
    interval_s: int
    valid_days: int
    uplink: str
    namespace: str
    profiles: list[ProfileFile]
    tls: BrokerTls | None = field(repr=False)
    wifi: Wifi | None = None
    settings: dict[str, Any] = field(default_factory=dict)


class Provisioning:
    """`run`, or `plan` for what it would do; `typed` asks for a secure element's serial number."""

    def __init__(
        self,
        fleet: Fleet,
        wanted: Wanted,
        port: str,
        board: str | None,
        say: Callable[[str], None],
        typed: Callable[[str], str],
    ) -> None:
        self._fleet = fleet
        self._wanted = wanted
        self._port = port
        self._board = board
        self._say = say
        self._typed = typed
        # The configuration that was on the board before.
        self._kept: dict[str, Any] = {}

    def plan(self) -> dict[str, Any]:
        """Say what would be done; nothing is changed."""
        with Connection(self._port) as connection:
            uri = self._look(connection)
            try:
                thumbprint, custody = self._call(connection, "find", uri)
            except KeyDriverError as error:
                if error.reason == "not-locked":
                    for line in self._call(connection, "set_up", uri, None):
                        self._say(line)
                elif error.reason != "no-key":
                    raise
                self._say(f"a key would be made: {uri}")
                self._check_label_free()
                thumbprint = None
            else:
                self._say(f"the board's key: {device_text(thumbprint)}, held in {custody}")
            member = None if thumbprint is None else self._member(thumbprint)
            if member is None:
                self._say(f"it would be enrolled as {self._wanted.label}")
            else:
                self._say(f"it is enrolled as {member.label}")
            self._say("its configuration would be written, and its recorder opened")
        return {
            "label": self._wanted.label,
            "device": None if thumbprint is None else device_text(thumbprint),
            "enrolled": member is not None,
            "done": False,
        }

    def run(self) -> dict[str, Any]:
        """Do what is not done yet."""
        with Connection(self._port) as connection:
            uri = self._look(connection)
            thumbprint, custody = self._key(connection, uri)
            self._say(f"its key is on the board: {device_text(thumbprint)}, held in {custody}")
            member = self._member(thumbprint) or self._enrol(connection, uri)
            self._say(f"device {member.label} is {member.id_text}")
            written = self._write(connection, member, uri)
            self._say(f"written: {', '.join(written)}" if written else "nothing was to be written")
        # With a fresh heap, as the board's own program has it.
        with Connection(self._port) as connection:
            opened = self._call(connection, "opened", onboard.CONFIG)
        if opened != member.id:
            message = f"{self._port}: the board says that it is {device_text(opened)}"
            raise Unverified("wrong-device", message)
        self._say(f"its recorder opens, and says that it is {device_text(opened)}")
        return {
            "label": member.label,
            "device": member.id_text,
            "enrolled": True,
            "written": written,
            "done": True,
        }

    # --- the board --------------------------------------------------------------------------

    def _look(self, connection: Connection) -> str:
        """The key's URI, once it is clear that this board can be provisioned."""
        known_board.check(connection, self._board)
        if not connection.ask(f"_there({LIBRARY!r})"):
            message = f"{self._port}: no recorder is on the board yet: tally device flash"
            raise TransportError("no-library", message)
        connection.run(CALL)
        there = onboard.read(connection)
        if there is not None and there.config.get("fleet") != self._fleet.name:
            message = (
                f"{self._port}: the board belongs to the fleet {there.config.get('fleet')}; "
                "tally device wipe --configuration takes that off"
            )
            raise Unverified("already-enrolled", message)
        self._kept = {} if there is None else dict(there.config)
        kept = self._kept.get("key")
        uri = self._wanted.key or (kept if isinstance(kept, str) else KEY)
        scheme, _, rest = uri.partition(":")
        if scheme not in DRIVERS or not rest:
            raise KeyDriverError("bad-key-uri", f"--key {uri}: is no key's URI")
        if isinstance(kept, str) and _placed(kept) != _placed(uri):
            message = f"{self._port}: the board's key is {kept}, and another one was asked for"
            raise Unverified("already-enrolled", message)
        return _placed(uri)

    def _call(self, connection: Connection, name: str, *arguments: Any) -> Any:
        given = "".join(f", {one!r}" for one in arguments)
        connection.run(CALL)
        said = connection.run(f"print(repr(_call({name!r}{given})))", SLOW_S_MAX).strip()
        answer = _answer(said, self._port)
        if answer[0] == "ok":
            return answer[1]
        reason, message = str(answer[1]), f"{self._port}, on the board: {answer[2]}"
        known = KeyDriverError if name in {"find", "make", "request", "set_up"} else TallyError
        raise known(reason, message)

    def _key(self, connection: Connection, uri: str) -> tuple[bytes, str]:
        try:
            thumbprint, custody = self._call(connection, "find", uri)
        except KeyDriverError as error:
            if error.reason not in {"no-key", "not-locked"}:
                raise
            # Found out before a key is made that nobody would then enrol.
            self._check_label_free()
            if error.reason == "not-locked":
                self._set_up(connection, uri)
            else:
                self._say("the board makes its key")
            thumbprint, custody = self._call(connection, "make", uri)
        return thumbprint, custody

    def _set_up(self, connection: Connection, uri: str) -> None:
        said = self._call(connection, "set_up", uri, None)
        for line in said:
            self._say(line)
        serial = said[0].rpartition(" ")[2] if said else ""
        for line in self._call(connection, "set_up", uri, self._typed(serial))[len(said) :]:
            self._say(line)

    # --- the fleet --------------------------------------------------------------------------

    def _check_label_free(self) -> None:
        """Unverified where LABEL is another board's already."""
        label = self._wanted.label
        if (self._fleet.path / "devices" / label).exists():
            member = self._fleet.member("device", label)
            message = (
                f"{label} is enrolled already, as {member.id_text}, and this board does not have "
                "that key: choose another label, or connect that board"
            )
            raise Unverified("already-enrolled", message)

    def _member(self, thumbprint: bytes) -> Member | None:
        """As whom the board's key is enrolled; None where it is not."""
        for member in self._fleet.members():
            if member.identity.key.thumbprint() != thumbprint:
                continue
            if (member.kind, member.label) != ("device", self._wanted.label):
                message = (
                    f"this board's key is enrolled already, as {member.kind} {member.label}: "
                    f"tally device provision {self._fleet.path} {member.label}"
                )
                raise Unverified("already-enrolled", message)
            return member
        self._check_label_free()
        return None

    def _enrol(self, connection: Connection, uri: str) -> Member:
        wanted = self._wanted
        said = {"serial": wanted.details["serial"]} if "serial" in wanted.details else {}
        request = self._call(connection, "request", uri, self._fleet.name, said)
        asked = _parsed(request)
        details = (
            {"serial": asked.details["serial"], **wanted.details}
            if asked.details
            else (wanted.details)
        )
        return self._fleet.enrol(
            "device",
            wanted.label,
            request=request,
            as_software=wanted.as_software,
            details=lambda _folder: details,
            interval_s=wanted.interval_s,
            valid_days=wanted.valid_days,
        )

    # --- what is written --------------------------------------------------------------------

    def _tls(self, member: Member) -> dict[str, bytes]:
        """What the broker's TLS needs; a certificate that was issued before is kept."""
        tls = self._wanted.tls
        if tls is None:
            return {}
        names = {"ca": brokertls.CA, "cert": brokertls.CERT, "key": brokertls.KEY}
        paths = {name: member.path / file for name, file in names.items()}
        issued = tls.issuer is not None and all(path.is_file() for path in paths.values())
        if not issued or paths["ca"].read_bytes() != tls.ca:
            names = tls.write(member, self._wanted.valid_days)
        return {name: paths[name].read_bytes() for name in names}

    def _write(self, connection: Connection, member: Member, uri: str) -> list[str]:
        """Write what differs, the configuration last; the names of what was written."""
        wanted = self._wanted
        extra: dict[str, Any] = {"key": uri, "journal": JOURNAL, **wanted.settings}
        secure = self._tls(member)
        if secure:
            extra["tls"] = {name: f"{TLS}/{name}.pem" for name in secure}
        path = provision.device(
            self._fleet,
            member,
            uplink=wanted.uplink,
            namespace=wanted.namespace,
            profiles=wanted.profiles,
            settings=extra,
        )
        config = json.loads(path.read_text())
        config |= {"credential": CREDENTIAL, "profiles": PROFILES}
        # What others wrote into it, such as `tally device monitor --enable`, stays.
        kept = self._kept.items()
        config |= {name: value for name, value in kept if name not in {*config, "tls"}}
        # What the recorder would refuse is not written.
        recorder_config.check(config, "the configuration", "")
        files = {
            f"{PROFILES}/{name}": data
            for name, data in provision.device_profiles(wanted.profiles).items()
        }
        files |= {f"{TLS}/{name}.pem": data for name, data in secure.items()}
        if wanted.wifi is not None:
            files[WIFI] = wanted.wifi.encode()
        files[CREDENTIAL] = member.credential_path.read_bytes()
        files[onboard.CONFIG] = json.dumps(config).encode()
        hashes = connection.ask(f"[_there(path) and _hash(path) for path in {list(files)!r}]")
        written = []
        for (name, data), there in zip(files.items(), hashes, strict=True):
            if there != sha256(data).hexdigest():
                connection.put(name, data)
                written.append(name)
        return written


def _parsed(request: bytes) -> Any:
    from tallystick.tools.fleetdir import parse_request  # noqa: PLC0415 - here only

    return parse_request(request)


def _placed(uri: str) -> str:
    """A key file's path on a board begins at its root."""
    scheme, _, path = uri.partition(":")
    return f"file:{onboard.beside(path)}" if scheme == "file" else uri


def _answer(said: str, port: str) -> tuple[Any, ...]:
    import ast  # noqa: PLC0415 - here only

    try:
        answer = ast.literal_eval(said.splitlines()[-1])
    except (ValueError, SyntaxError, IndexError):
        answer = None
    if not isinstance(answer, tuple) or len(answer) not in {2, 3}:
        message = (
            f"{port}: the board answered what is no answer of its recorder: tally device flash"
        )
        raise TransportError("bad-answer", message)
    return answer
