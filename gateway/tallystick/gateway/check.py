"""`tally gateway check`: everything that can be known before the gateway runs."""

import glob
import os
import ssl
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import Malformed, TallyError, TransportError
from tallystick.evidence.peercircle import Decider
from tallystick.gateway.broker import abandon, make_client
from tallystick.gateway.config import BrokerConfig, Config
from tallystick.gateway.folder import Folder
from tallystick.gateway.http import Http
from tallystick.gateway.identity import open_signing, own_identity, peer_of
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.status import status_of
from tallystick.gateway.store import open_reader
from tallystick.gateway.validatorconfig import ValidatorConfig
from tallystick.hw.peersfolder import read_folder

BROKER_WAIT_S = 5.0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `what_to_do` is empty when it is good."""

    name: str
    good: bool
    found: str
    what_to_do: str = ""


def check(config: Config) -> list[Check]:
    """All checks; none raises, and none changes anything."""
    now_s = int(time.time())
    made = [
        _try("credential", lambda: _credential(config, now_s), "enrol: tally fleet enroll"),
        _try(
            "key",
            lambda: _key(config, now_s),
            "point `key` at the key that was enrolled; its PIN: `key_pin_file`, or TALLY_KEY_PIN",
        ),
        Check("roots", good=True, found=", ".join(sorted(config.roots))),
        _try("enrolments", lambda: _enrolments(config, now_s), "replace or remove the bad file"),
        *([_peers_check(config)] if config.peer_files is not None else []),
        _try("store", lambda: _store(config.store), "make the folder writable for this user"),
        *([_serial_check(config)] if config.serial else []),
        *([_join_check(config.join)] if config.join else []),
        _try("broker", lambda: _broker(config), "start the broker, or correct broker.url"),
    ]
    return made + [
        _try(
            f"validator {validator.name}",
            partial(_validator, validator, config, now_s),
            "correct its url or key; until it answers its records wait here",
        )
        for validator in config.validators
    ]


def _try(name: str, look: Callable[[], str], what_to_do: str) -> Check:
    try:
        return Check(name, good=True, found=look())
    except TallyError as error:
        return Check(name, good=False, found=error.message, what_to_do=what_to_do)
    except OSError as error:
        found = f"{error.filename or ''} {error.strerror or error}".strip()
        return Check(name, good=False, found=found, what_to_do=what_to_do)


def _credential(config: Config, now_s: int) -> str:
    identity = own_identity(config, now_s)
    days = (identity.enrolment.validity[1] - now_s) // 86_400
    return f"gateway {identity.text} of {identity.iss}, valid for {days} days"


def _key(config: Config, now_s: int) -> str:
    signing = open_signing(config, now_s)
    signing.close()
    return "fits the credential"


def _enrolments(config: Config, now_s: int) -> str:
    if config.enrolments is None:
        return "no folder; devices bring their own credentials"
    if not config.enrolments.is_dir():
        raise FileNotFoundError(2, "is no folder", str(config.enrolments))
    found = Folder(config.enrolments).changed()
    good = 0
    for statements in found:
        try:
            verify_credential(Credential(statements), config.roots, now_s)
            good += 1
        except TallyError as error:
            raise type(error)(error.reason, f"{config.enrolments}: {error.message}") from error
    return f"{good} credentials"


def _peers_check(config: Config) -> Check:
    what = "replace the file with one that is whole; what was in force stays in force"
    return _try("peer files", lambda: _peer_files(config), what)


def _peer_files(config: Config) -> str:
    folder = config.peer_files
    if folder is None or not folder.is_dir():
        return "no folder yet; `tally peer import` makes it"
    plan = Decider(config.roots).decide(read_folder(folder), {})
    if plan.wrong:
        said = "; ".join(f"{name}: {why}" for name, why in plan.wrong.items())
        raise Malformed("bad-value", said)
    return ", ".join(sorted(plan.files)) or "nobody was imported"


def _store(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        folder = next(parent for parent in path.parents if parent.is_dir())
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tally-check-") as probe:
        probe.write(b"x")
        probe.flush()
        os.fsync(probe.fileno())
    free = os.statvfs(folder)
    free_mib = free.f_bavail * free.f_frsize >> 20
    if not path.exists():
        return f"will be made; {free_mib} MiB free"
    open_reader(path).close()
    return f"is a gateway's store; {free_mib} MiB free"


def _join_check(join: JoinConfig) -> Check:
    return _try(
        "join door",
        lambda: _join(join),
        "correct join.bind, join.cert and join.key (PEM, the key for this user only)",
    )


def _join(join: JoinConfig) -> str:
    # The port is not tried: a gateway that runs has it.
    if join.cert is None or join.key is None:
        return f"http://{join.host}:{join.port}: requests are seen on the way, and not changed"
    if join.key.stat().st_mode & 0o077:
        raise PermissionError(13, "others may read it; chmod 600 it", str(join.key))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(join.cert, join.key, _no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise Malformed("bad-value", f"join.cert, join.key: {error}") from None
    return f"https://{join.host}:{join.port}"


def _no_passphrase() -> str:
    # Else OpenSSL asks for one at the terminal.
    message = "the key has a passphrase; its file must be one without"
    raise ValueError(message)


def _serial_check(config: Config) -> Check:
    return _try(
        "serial",
        lambda: _serial(config),
        "pip install 'tallystick[serial]'; let this user use the port (group dialout)",
    )


def _serial(config: Config) -> str:
    # Looked at and not opened: a gateway that runs holds it, and opening resets some boards.
    if find_spec("serial") is None:
        raise TransportError("no-uplink", "pyserial is not installed")
    found = []
    for item in config.serial:
        paths = sorted(glob.glob(item.port))  # noqa: PTH207 - absolute
        for path in paths:
            if not os.access(path, os.R_OK | os.W_OK):
                raise PermissionError(13, "this user may not read and write it", path)
            if not stat.S_ISCHR(Path(path).stat().st_mode):
                raise FileNotFoundError(2, "is no serial port", path)
        found.append(", ".join(paths) if paths else f"no {item.port} now; looked for each second")
    return "; ".join(found)


def _broker(config: Config) -> str:
    # Where a certificate's name is the client's, a second client would end its connection.
    if _is_open(config.store) and status_of(config.store)["process"].get("connected"):
        return f"{config.broker}: the running gateway is connected"
    return _answers(config.broker)


def _is_open(store: Path) -> bool:
    # Looked at and not tried: a lock that is held for a moment would refuse a gateway that starts.
    try:
        inode = Path(f"{store}.lock").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    held = [line.split() for line in lines if "->" not in line]
    return any(row[1] == "FLOCK" and row[5].rpartition(":")[2] == str(inode) for row in held)


def _answers(config: BrokerConfig) -> str:
    # Under another name than the gateway's: the same one would take its connection away.
    probe = BrokerConfig(
        **{**config.__dict__, "client_id": f"{config.client_id[:100]}-check-{os.getpid()}"}
    )
    client = make_client(probe, clean=True)
    answered = threading.Event()
    said: list[Any] = []

    def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        said.append(reason)
        answered.set()

    client.on_connect = on_connect
    client.connect(probe.host, probe.port)
    client.loop_start()
    try:
        if not answered.wait(BROKER_WAIT_S):
            raise TimeoutError(110, "does not answer", str(config))
        if said[0].is_failure:
            raise ConnectionRefusedError(111, f"refuses: {said[0]}", str(config))
    finally:
        abandon(client)
    return f"{config} answers"


def _validator(validator: ValidatorConfig, config: Config, now_s: int) -> str:
    peer = peer_of(validator, config.roots, now_s)
    http = Http(validator.url, validator.tls)
    try:
        http.get("/healthz")
    finally:
        http.close()
    return f"{validator.url} answers; send = {validator.send}; signs as {peer.iss}"
