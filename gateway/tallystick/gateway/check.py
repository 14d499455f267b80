"""`tally gateway check`: everything that can be known before the gateway runs."""

import errno
import glob
import os
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
from tallystick.gateway import checkfiles, limits, retention
from tallystick.gateway.brokerclient import connect, make_client, no_answer, refusal
from tallystick.gateway.config import BrokerConfig, Config
from tallystick.gateway.folder import Folder
from tallystick.gateway.http import Http
from tallystick.gateway.identity import open_signing, own_identity, peer_of
from tallystick.gateway.joinconfig import JoinConfig
from tallystick.gateway.pageconfig import PageConfig
from tallystick.gateway.peers import imported_name
from tallystick.gateway.status import status_of
from tallystick.gateway.store import VERSION, open_reader
from tallystick.gateway.validatorconfig import Tls, ValidatorConfig
from tallystick.hw.peersfolder import read_folder

BROKER_WAIT_S = 5.0
LOOK_S = 0.1
_RENEW = "`tally gateway broker-config` writes them anew; keys and passwords for this user only"


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
        _store_check(config.store),
        _try("limits", lambda: _room(config), "make room, or put the store on a larger disk"),
        _try("retention", lambda: _retention(config), "name validators that have a table"),
        *([_serial_check(config)] if config.serial else []),
        *_doors(config, now_s),
        _try("broker files", lambda: _broker_files(config.broker, now_s), _RENEW),
        _try("broker", lambda: _broker(config), "start the broker, or correct broker.url"),
    ]
    return made + [
        _try(
            f"validator {validator.name}",
            partial(_validator, validator, config, now_s),
            "correct its url, key or certificates; until it answers its records wait here",
        )
        for validator in config.validators
    ]


def _doors(config: Config, now_s: int) -> list[Check]:
    runs = _is_open(config.store)
    what = "correct {0}.bind, {0}.cert and {0}.key (PEM, the key for this user only)"
    made = []
    if config.join is not None:
        look = partial(_join, config.join, now_s, runs=runs)
        made.append(_try("join door", look, what.format("join")))
    if config.page is not None:
        look = partial(_page, config.page, now_s, runs=runs)
        made.append(_try("page", look, what.format("page") + " and page.names"))
    return made


def _existing(folder: Path) -> Path:
    return next(one for one in (folder, *folder.parents) if one.is_dir())


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


def _store_check(path: Path) -> Check:
    try:
        return Check("store", good=True, found=_store(path))
    except OSError as error:
        what = "make the folder writable for this user"
        if error.errno == errno.ENOSPC:
            what = "make room, or put the store on a larger disk; delete nothing of the store"
        return Check("store", good=False, found=error.strerror or str(error), what_to_do=what)
    except TallyError as error:
        what = "one that cannot be read is lost: docs/operations.md says what then; one of a newer"
        what += " tallystick wants that one"
        return Check("store", good=False, found=error.message, what_to_do=what)


def _store(path: Path) -> str:
    folder = _existing(path.parent)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".tally-check-") as probe:
        probe.write(b"x")
        probe.flush()
        os.fsync(probe.fileno())
    free = os.statvfs(folder)
    free_mib = free.f_bavail * free.f_frsize >> 20
    if not path.exists():
        return f"will be made; {free_mib} MiB free"
    reader = open_reader(path)
    try:
        (version,) = reader.execute("PRAGMA user_version").fetchone()
    finally:
        reader.close()
    said = f"is a gateway's store; {free_mib} MiB free"
    if version == VERSION:
        return said
    return f"{said}; of version {version}, and the next start brings it to {VERSION}"


def _join(join: JoinConfig, now_s: int, *, runs: bool) -> str:
    said = "requests are seen on the way, and not changed"
    if join.cert is not None and join.key is not None:
        found = checkfiles.pair("join", join.cert, join.key, now_s)
        said = f"certificate {checkfiles.days(found, now_s)}"
    _address("join.bind", join.host, join.port, runs=runs)
    if join.inbox.exists() and not os.access(join.inbox, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(13, "join.inbox: this user may not use it", str(join.inbox))
    return f"{_url(join.host, join.port, tls=join.cert is not None)}: {said}"


def _page(page: PageConfig, now_s: int, *, runs: bool) -> str:
    # That a network needs TLS and a token, and that the token's file is private: config.load.
    said = ["token asked" if page.token is not None else "no token: for this machine's users"]
    if page.cert is not None and page.key is not None:
        found = checkfiles.pair("page", page.cert, page.key, now_s)
        for name in page.names:
            if not checkfiles.serves(found, name):
                raise Malformed("bad-value", f"page.names: {page.cert} is not for {name}")
        said.append(f"certificate {checkfiles.days(found, now_s)}")
    _address("page.bind", page.host, page.port, runs=runs)
    url = _url(page.host, page.port, tls=page.cert is not None)
    return f"{url}: {', '.join(said)}"


def _url(host: str, port: int, *, tls: bool) -> str:
    return f"http{'s' if tls else ''}://{f'[{host}]' if ':' in host else host}:{port}"


def _address(setting: str, host: str, port: int, *, runs: bool) -> None:
    # A gateway that runs has it.
    if runs:
        return
    try:
        checkfiles.can_listen(host, port)
    except OSError as error:
        raise TransportError("bad-value", f"{setting}: {host}:{port}: {error.strerror}") from None


def _broker_files(broker: BrokerConfig, now_s: int) -> str:
    said = []
    if broker.password_file is not None:
        checkfiles.private(broker.password_file)
        said.append(f"user {broker.username}, its password in a file")
    if broker.ca is not None:
        found = checkfiles.valid("broker.ca", broker.ca, now_s)
        said.append(f"authority {checkfiles.days(found, now_s)}")
    if broker.cert is not None and broker.key is not None:
        found = checkfiles.pair("broker", broker.cert, broker.key, now_s)
        said.append(f"own certificate {checkfiles.days(found, now_s)}")
    if not broker.tls:
        said.append("no TLS: what goes to the broker is seen on the way")
    return "; ".join(said) or "no certificate and no user: anybody may connect so"


def _links(validator: ValidatorConfig, now_s: int) -> str:
    tls = validator.tls or Tls()
    said = []
    if tls.ca is not None:
        found = checkfiles.valid("ca", tls.ca, now_s)
        said.append(f"authority {checkfiles.days(found, now_s)}")
    if tls.cert is not None and tls.key is not None:
        checkfiles.private(tls.key)
        found = checkfiles.valid("cert", tls.cert, now_s)
        said.append(f"own certificate {checkfiles.days(found, now_s)}")
    return "; ".join(said)


def _room(config: Config) -> str:
    folder = _existing(config.store.parent)
    disk = os.statvfs(folder)
    size = config.store.stat().st_size if config.store.exists() else 0
    room = size + disk.f_bavail * disk.f_frsize - limits.DISK_RESERVE_BYTES
    if room <= 0:
        raise OSError(28, f"less than {limits.DISK_RESERVE_BYTES >> 20} MiB free", str(folder))
    allowed = min(room, config.store_bytes_max)
    bound = "limits.store_bytes_max" if config.store_bytes_max <= room else "the disk"
    return f"{allowed >> 20} MiB for the store, by {bound}"


def _imported(config: Config) -> set[str]:
    # The names of imported organisations' validators.
    if config.peer_files is None or not config.peer_files.is_dir():
        return set()
    plan = Decider(config.roots).decide(read_folder(config.peer_files), {})
    files = plan.files.values()
    return {imported_name(file.iss, one) for file in files for one in file.validator_ids}


def _retention(config: Config) -> str:
    kept = config.retention
    names = ", ".join(kept.validators) or "nobody"
    known = {validator.name for validator in config.validators} | _imported(config)
    if not known.issuperset(kept.validators):
        # Nothing would ever go: nobody of this name receipts anything.
        away = ", ".join(sorted(set(kept.validators) - known))
        raise Malformed("bad-value", f"retention.validators: no table and no peer is of {away}")
    ages = ", ".join(
        f"{name} after {kept.ages_ms[kind] // 3_600_000} h"
        for name, kind in retention.KINDS.items()
        if kind in kept.ages_ms
    )
    return f"nothing goes that is not at {names}; then {ages or 'when room is needed'}"


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
    # A broker knows one connection of a name: ours would end that of a gateway that runs, and one
    # that has only begun has not said yet that it is connected.
    until_s = time.monotonic() + BROKER_WAIT_S
    while _is_open(config.store):
        state = status_of(config.store)["process"] if config.store.exists() else {}
        if state.get("running") and state.get("connected"):
            return f"{config.broker}: the running gateway is connected"
        if time.monotonic() >= until_s:
            why = state.get("error") or "it has not said why"
            message = f"{config.broker}: who has the store open is not connected: {why}"
            raise TransportError("no-uplink", message)
        time.sleep(LOOK_S)
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
    # As the gateway itself, whose certificate may name the client: its session stays, with what
    # waits there. What comes is not acknowledged, and comes again.
    client = make_client(config)
    answered = threading.Event()
    said: list[Any] = []

    def on_connect(_client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        said.append(reason)
        answered.set()

    client.on_connect = on_connect
    client.on_disconnect = lambda *_: answered.set()
    connect(client, config, once=True)
    try:
        if not answered.wait(BROKER_WAIT_S):
            raise TimeoutError(110, "does not answer", str(config))
        if not said:
            raise ConnectionAbortedError(103, no_answer(config), str(config))
        if said[0].is_failure:
            raise ConnectionRefusedError(111, refusal(config, said[0]), str(config))
    finally:
        client.give_up()
    return f"{config} answers, MQTT {config.protocol}"


def _validator(validator: ValidatorConfig, config: Config, now_s: int) -> str:
    peer = peer_of(validator, config.roots, now_s)
    files = _links(validator, now_s)
    http = Http(validator.url, validator.tls)
    try:
        http.get("/healthz")
    finally:
        http.close()
    said = f"{validator.url} answers; send = {validator.send}; signs as {peer.iss}"
    return f"{said}; {files}" if files else said
