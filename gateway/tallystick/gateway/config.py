"""One TOML file: who this gateway is, which broker it hears, to whom it forwards.

    name = "dock-north"                     # with the fleet, its MQTT client id
    fleet = "acme"                          # iss of what it signs: 1 to 20 of a-z 0-9 . -
    key = "file:gateway.key"                # or pkcs11:, tpm2: (docs/hardware.md)
    key_pin_file = "gateway.pin"            # its PIN or passphrase; mode 0600, and nowhere else
    credential = "credential.cbor"          # its own enrolment, for validators
    store = "gateway.sqlite"
    roots = ["acme+pAEBIAY...", "trusted/borealis.pub"]    # lines, or files of lines
    peer_files = "peers"                    # a folder of imported organisations (tally peer)
    peer_send = "claims"                    # what their validators get: "full", "claims", "hashes"
    enrolments = "enrolments"               # a folder of credentials; devices may bring their own

    [broker]
    url = "mqtt://127.0.0.1:1883"           # mqtts:// for TLS
    prefix = "tallystick/1"
    protocol = "3.1.1"                      # of MQTT; or "5"
    shared_by = ["dock-north", "dock-south"]    # gateways that share its devices (sharing.py)

    [[serial]]                              # ports beside the broker, as many tables as needed
    port = "/dev/ttyACM*"                   # a path or a pattern; looked for again each second
    baud = 115200

    [join]                                  # devices may ask to be enrolled here; off without it
    bind = "127.0.0.1:8471"                 # TLS with cert and key (PEM files)
    inbox = "join"                          # a folder for what `tally fleet approve` brings

    [page]                                  # what the operator sees; off without it
    bind = "127.0.0.1:8472"                 # elsewhere only with cert, key and token_file

    [limits]
    store_bytes_max = 64_000_000_000        # docs/durability.md

    [retention]                             # what may go once it is delivered (retention.py)
    decisions = "30 d"

    [[validators]]
    name = "insurer"
    url = "https://validator.insurer.example"
    key = "insurer+pAEBIAY..."              # or: credential = "trusted/insurer.cbor"
    send = "claims"                         # or "full", "hashes" (validatorconfig.py for more)

Paths are relative to the file. A key's URI is the only place where a key is named; the broker's
password and the key's PIN stand in files of their own. Without `key_pin_file` the PIN is systemd's
credential `key_pin`, else TALLY_KEY_PIN or TALLY_PIN of the environment (hw/secret.py).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.gateway import (
    configlines,
    joinconfig,
    limits,
    pageconfig,
    sharing,
    validatorconfig,
)
from tallystick.gateway import retention as retentions
from tallystick.gateway.validatorconfig import (
    Send,
    ValidatorConfig,
    ValidatorTable,
    read_credential,
)
from tallystick.hw import configfile

Protocol = Literal["3.1.1", "5"]
_ISS = re.compile(r"[a-z0-9.-]{1,20}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PREFIX = re.compile(r"[A-Za-z0-9._-]{1,32}(/[A-Za-z0-9._-]{1,32}){0,7}")


class _Struct(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class _Broker(_Struct):
    url: str = "mqtt://127.0.0.1:1883"
    prefix: str = "tallystick/1"
    client_id: str | None = None
    username: str | None = None
    password_file: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    protocol: Protocol = "3.1.1"
    shared_by: list[str] = msgspec.field(default_factory=list)


class _Serial(_Struct):
    port: str
    baud: int = 115_200


class _Limits(_Struct):
    parked_device_bytes_max: int = limits.PARKED_DEVICE_BYTES_MAX
    parked_bytes_max: int = limits.PARKED_BYTES_MAX
    inbox_bytes_max: int = limits.INBOX_BYTES_MAX
    retry_s_max: float = limits.RETRY_S_MAX
    verdicts_poll_s: float = limits.VERDICTS_POLL_S
    store_bytes_max: int = limits.STORE_BYTES_MAX
    verify_workers: int | None = None


class _File(_Struct):
    name: str
    fleet: str
    key: str
    credential: str
    store: str
    roots: list[str]
    key_pin_file: str | None = None
    enrolments: str | None = None
    peer_files: str | None = None
    peer_send: Send = "claims"
    broker: _Broker = msgspec.field(default_factory=_Broker)
    serial: list[_Serial] = msgspec.field(default_factory=list)
    join: joinconfig.JoinTable | None = None
    page: pageconfig.PageTable | None = None
    validators: list[ValidatorTable] = msgspec.field(default_factory=list)
    limits: _Limits = msgspec.field(default_factory=_Limits)
    retention: retentions.RetentionTable = retentions.RetentionTable()


@dataclass(frozen=True, kw_only=True)
class BrokerConfig:
    """Where the broker is, and how this gateway shows who it is."""

    host: str = "127.0.0.1"
    port: int = 1883
    tls: bool = False
    prefix: str = "tallystick/1"
    protocol: Protocol = "3.1.1"
    client_id: str
    username: str | None = None
    password_file: Path | None = None
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class SerialConfig:
    """Serial ports: a path, or a pattern of paths."""

    port: str
    baud: int = 115_200


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `run` needs; every path absolute, every root parsed."""

    name: str
    fleet: str
    key: str
    credential: tuple[bytes, ...]
    store: Path
    roots: dict[str, PublicKey]
    broker: BrokerConfig
    shared_by: tuple[str, ...] = ()
    key_pin_file: Path | None = None
    enrolments: Path | None = None
    peer_files: Path | None = None
    peer_send: Send = "claims"
    serial: tuple[SerialConfig, ...] = ()
    join: joinconfig.JoinConfig | None = None
    page: pageconfig.PageConfig | None = None
    validators: tuple[ValidatorConfig, ...] = ()
    parked_device_bytes_max: int = limits.PARKED_DEVICE_BYTES_MAX
    parked_bytes_max: int = limits.PARKED_BYTES_MAX
    inbox_bytes_max: int = limits.INBOX_BYTES_MAX
    retry_s_max: float = limits.RETRY_S_MAX
    verdicts_poll_s: float = limits.VERDICTS_POLL_S
    store_bytes_max: int = limits.STORE_BYTES_MAX
    verify_workers: int | None = None  # None: by the number of cores (ahead.py)
    retention: retentions.Retention = retentions.DEFAULT
    source: Path | None = field(default=None, compare=False)


def load(path: Path) -> Config:
    """Read and check one file; Malformed names the file, the line or setting, and what to do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Malformed("bad-value", f"{path}: {error.strerror}") from error
    if len(data) > limits.CONFIG_BYTES_MAX:
        raise Malformed("too-large", f"{path}: a configuration of over 1 MiB")
    try:
        raw = msgspec.toml.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = f"{path}: {error}{configlines.hint(data, str(error))}"
        raise Malformed("bad-value", message) from error
    try:
        return _resolve(raw, path.resolve())
    except TallyError as error:
        hint = configlines.hint(data, error.message)
        raise Malformed(error.reason, f"{path}: {error.message}{hint}") from error
    except OSError as error:
        hint = configlines.of_text(data, Path(str(error.filename)).name)
        message = f"{path}: {error.filename}: {error.strerror}{hint}"
        raise Malformed("bad-value", message) from error


def _resolve(raw: _File, path: Path) -> Config:
    folder = path.parent
    if not _NAME.fullmatch(raw.name):
        raise Malformed("bad-value", f"name: 1 to 64 of A-Z a-z 0-9 . _ - and not {raw.name!r}")
    if not _ISS.fullmatch(raw.fleet):
        raise Malformed("bad-value", f"fleet: 1 to 20 of a-z 0-9 . - and not {raw.fleet!r}")
    names = [validator.name for validator in raw.validators]
    if len(set(names)) != len(names):
        raise Malformed("duplicate-key", "validators: two have the same name")
    if len(names) > limits.VALIDATORS_MAX:
        raise Malformed("too-large", f"validators: at most {limits.VALIDATORS_MAX}")
    _check_limits(raw.limits)
    return Config(
        name=raw.name,
        fleet=raw.fleet,
        key=configfile.key_uri(raw.key, folder, "file:gateway.key"),
        key_pin_file=_optional(folder, raw.key_pin_file),
        credential=read_credential(folder / raw.credential),
        store=folder / raw.store,
        roots=configfile.roots(raw.roots, folder),
        broker=_broker(raw.broker, f"{raw.fleet}-{raw.name}", folder),
        shared_by=_shared_by(raw),
        enrolments=None if raw.enrolments is None else folder / raw.enrolments,
        peer_files=_optional(folder, raw.peer_files),
        peer_send=raw.peer_send,
        serial=_serial(raw.serial),
        join=joinconfig.resolve(raw.join, folder),
        page=pageconfig.resolve(raw.page, folder),
        validators=tuple(
            validatorconfig.resolve(item, folder, raw.fleet) for item in raw.validators
        ),
        parked_device_bytes_max=raw.limits.parked_device_bytes_max,
        parked_bytes_max=raw.limits.parked_bytes_max,
        inbox_bytes_max=raw.limits.inbox_bytes_max,
        retry_s_max=raw.limits.retry_s_max,
        verdicts_poll_s=raw.limits.verdicts_poll_s,
        store_bytes_max=raw.limits.store_bytes_max,
        verify_workers=raw.limits.verify_workers,
        retention=retentions.resolve(raw.retention, names),
        source=path,
    )


def _check_limits(raw: _Limits) -> None:
    for name in ("parked_device_bytes_max", "parked_bytes_max", "inbox_bytes_max"):
        if getattr(raw, name) < limits.BYTES_LIMIT_MIN:
            raise Malformed(
                "bad-value", f"limits.{name}: at least {limits.BYTES_LIMIT_MIN}, one segment"
            )
    if raw.store_bytes_max < limits.STORE_BYTES_MIN:
        raise Malformed("bad-value", f"limits.store_bytes_max: at least {limits.STORE_BYTES_MIN}")
    if not 0 <= (raw.verify_workers or 0) <= limits.VERIFY_WORKERS_MAX:
        raise Malformed("bad-value", f"limits.verify_workers: 0 to {limits.VERIFY_WORKERS_MAX}")
    for name in ("retry_s_max", "verdicts_poll_s"):
        if not limits.INTERVAL_S_MIN <= getattr(raw, name) <= limits.INTERVAL_S_MAX:
            raise Malformed(
                "bad-value",
                f"limits.{name}: {limits.INTERVAL_S_MIN} to {limits.INTERVAL_S_MAX} seconds",
            )


def _broker(raw: _Broker, client: str, folder: Path) -> BrokerConfig:
    url = urlsplit(raw.url)
    try:
        port = url.port
    except ValueError:
        port = -1
    plain = not (url.username or url.password or url.query or url.fragment or url.path.strip("/"))
    if url.scheme not in {"mqtt", "mqtts"} or not url.hostname or port == -1 or not plain:
        raise Malformed(
            "bad-value", "broker.url: mqtt://HOST:PORT or mqtts://HOST:PORT, and nothing else"
        )
    tls = url.scheme == "mqtts"
    if not _PREFIX.fullmatch(raw.prefix):
        raise Malformed("bad-value", "broker.prefix: a topic such as tallystick/1")
    # Two fleets that share a broker may both have a gw-1; a broker keeps one client of a name.
    client_id = raw.client_id or f"tallystick-{client}"
    if len(client_id) > limits.CLIENT_ID_CHARS_MAX:
        raise Malformed("bad-value", f"broker.client_id: {limits.CLIENT_ID_CHARS_MAX} characters")
    if (raw.cert is None) != (raw.key is None):
        raise Malformed("bad-value", "broker.cert and broker.key: both or neither")
    if raw.password_file is not None and raw.username is None:
        raise Malformed("bad-value", "broker.password_file: needs broker.username")
    if not tls and (raw.ca or raw.cert):
        raise Malformed("bad-value", "broker.ca and broker.cert: need an mqtts:// url")
    return BrokerConfig(
        host=url.hostname,
        port=port or (8883 if tls else 1883),
        tls=tls,
        prefix=raw.prefix,
        protocol=raw.protocol,
        client_id=client_id,
        username=raw.username,
        password_file=_optional(folder, raw.password_file),
        ca=_optional(folder, raw.ca),
        cert=_optional(folder, raw.cert),
        key=_optional(folder, raw.key),
    )


def _shared_by(raw: _File) -> tuple[str, ...]:
    names = raw.broker.shared_by
    if not names:
        return ()
    if raw.name not in names:
        raise Malformed("bad-value", f"broker.shared_by: {raw.name} itself must stand there too")
    if len(names) > sharing.GATEWAYS_MAX or len(set(names)) != len(names):
        raise Malformed(
            "bad-value", f"broker.shared_by: up to {sharing.GATEWAYS_MAX} names, each once"
        )
    return tuple(sorted(names))


def _serial(items: list[_Serial]) -> tuple[SerialConfig, ...]:
    if len(items) > limits.SERIAL_ENTRIES_MAX:
        raise Malformed("too-large", f"serial: at most {limits.SERIAL_ENTRIES_MAX} tables")
    for item in items:
        fits = 1 < len(item.port) <= limits.SERIAL_PATTERN_CHARS_MAX
        if not fits or not item.port.startswith("/") or "\0" in item.port:
            raise Malformed("bad-value", "serial.port: a path or pattern such as /dev/ttyACM*")
        if not 0 < item.baud <= limits.SERIAL_BAUD_MAX:
            raise Malformed("bad-value", f"serial.baud: 1 to {limits.SERIAL_BAUD_MAX}")
    ports = [item.port for item in items]
    if len(set(ports)) != len(ports):
        raise Malformed("duplicate-key", "serial: two tables have the same port")
    return tuple(SerialConfig(port=item.port, baud=item.baud) for item in items)


def _optional(folder: Path, name: str | None) -> Path | None:
    return None if name is None else folder / name
