"""One TOML file: who this validator is, whom it believes, where it listens.

    name = "acme"                          # iss of what it signs: 1 to 20 of a-z 0-9 . -
    origin = "validator.acme.example/log"  # the log's name in checkpoints and receipts
    bind = "127.0.0.1:8470"                # loopback unless you say otherwise
    key = "file:validator.key"             # signs receipts and verdicts; or pkcs11:, tpm2:
    key_pin_file = "validator.pin"         # its PIN or passphrase; mode 0600, and nowhere else
    note_key = "file:note.key"             # Ed25519, so a file or pkcs11:; signs log checkpoints
    note_key_pin_file = "note.pin"
    credential = "credential.cbor"         # its own enrolment, for evidence files
    store = "validator.sqlite"
    workers = 0                            # processes that help; on PostgreSQL only
    roots = ["acme+pAEBIAY...", "trusted/borealis.pub"]   # lines, or files of lines
    profiles = "profiles"                  # a folder of TOML files
    gateways = ["gateways/north/credential.cbor"]         # others are vouched for by the roots
    tiles = "tiles"                        # a folder for its log as files (protocol, 8.3)
    peer_files = "peers"                   # a folder of imported organisations (tally peer)
    open_reads = false                     # true: callers on loopback read bodies without a token

    [readers]                              # who may read bodies: name = token
    insurer = "a-long-random-token"

    [readers.acme]                         # ... or only some of them (docs/operations.md)
    token = "another-long-random-token"
    fleets = ["acme"]                      # or devices, namespaces, interactions ("dock-3/ID")
    counterparts = true                    # and what was claimed to them

    [operators]                            # who may put bodies on hold: name = token
    counsel = "a-third-long-random-token"

    [retention]                            # older bodies are erased, their hashes stay
    decisions = "30 d"                     # or claims, events, halves; kept unless given

    [quotas.device]                        # what a key may send (protocol, 6.7); gateway, fleet too
    records_per_s = 2000
    bytes_per_day = 4_294_967_296

    [[peers]]                              # other validators, asked what they heard (protocol, 8.2)
    name = "insurer"
    url = "https://validator.insurer.example"
    poll_s = 5.0
    note_key = "validator.insurer.example/log+1a2b3c4d+AfG..."  # with it they cosign one another

Paths are relative to the file. A key's URI is the only place where a key is named. Without
`key_pin_file` a PIN is systemd's credential `key_pin` (`note_key_pin`), else TALLY_KEY_PIN
(TALLY_NOTE_KEY_PIN) or TALLY_PIN of the environment (hw/secret.py).
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from tallystick.evidence import cbor, note
from tallystick.evidence.errors import Malformed, TallyError
from tallystick.evidence.keys import PublicKey
from tallystick.evidence.note import NoteKey
from tallystick.hw import configfile
from tallystick.validator.access import Raw, Scope, parse_readers
from tallystick.validator.limits import (
    CREDENTIAL_BYTES_MAX,
    PEER_POLL_S,
    PEER_POLL_S_MIN,
    PEERS_MAX,
    WORKERS_MAX,
)
from tallystick.validator.place import Place, parse_place
from tallystick.validator.quotaconfig import Quota, Tables, parse_quotas
from tallystick.validator.retention import RawRetention, Retention, parse_retention

CONFIG_BYTES_MAX = 1 << 20
ROOTS_MAX = 256  # of a registration policy's 384: imported peers bring more
PROFILE_FILES_MAX = 512  # what a registration policy holds
PORT_MAX = 65_535
POLL_S_MAX = 86_400.0

_NAME = re.compile(r"[a-z0-9.-]{1,20}")
_ORIGIN = re.compile(r"[!-*,-~]{1,64}")  # printable, neither space nor plus (C2SP signed-note)
_BIND = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


class _Peer(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    url: str
    poll_s: float = PEER_POLL_S
    note_key: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    origin: str
    key: str
    note_key: str
    store: str
    roots: list[str]
    key_pin_file: str | None = None
    note_key_pin_file: str | None = None
    bind: str = "127.0.0.1:8470"
    credential: str | None = None
    profiles: str | None = None
    gateways: list[str] = []
    tiles: str | None = None
    open_reads: bool = False
    readers: Raw = {}
    operators: dict[str, str] = {}
    retention: RawRetention = RawRetention()
    peer_files: str | None = None
    workers: int = 0
    quotas: Tables = {}
    peers: list[_Peer] = []


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """Another validator: what it heard is compared with what is known here.

    With the key of its log's checkpoints each cosigns the other's.
    """

    name: str
    url: str
    poll_s: float = PEER_POLL_S
    note_key: NoteKey | None = None


@dataclass(frozen=True, kw_only=True)
class Config:
    """What `run` needs; every path absolute, every root parsed."""

    name: str
    origin: str
    host: str
    port: int
    key: str
    note_key: str
    store: Place
    roots: dict[str, PublicKey]
    key_pin_file: Path | None = None
    note_key_pin_file: Path | None = None
    credential: tuple[bytes, ...] | None = None
    profiles: tuple[tuple[Path, str], ...] = ()
    gateways: tuple[tuple[bytes, ...], ...] = ()
    open_reads: bool = False
    peers: tuple[PeerConfig, ...] = ()
    peer_files: Path | None = None
    quotas: dict[str, Quota] = field(default_factory=lambda: parse_quotas({}))
    tiles: Path | None = None
    workers: int = 0
    # Not in repr: a token must not reach a log or a traceback.
    readers: dict[str, str] = field(default_factory=dict, repr=False)
    operators: dict[str, str] = field(default_factory=dict, repr=False)
    scopes: dict[str, Scope] = field(default_factory=dict)
    retention: Retention = field(default_factory=lambda: Retention({}))


def load(path: Path) -> Config:
    """Read and check one file; Malformed names the file, the setting and what to do."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Malformed("bad-value", f"{path}: {error.strerror}") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise Malformed("too-large", f"{path}: a configuration of over 1 MiB")
    try:
        raw = msgspec.toml.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed("bad-value", f"{path}: {error}") from error
    try:
        return _resolve(raw, path.resolve().parent)
    except TallyError as error:
        raise Malformed(error.reason, f"{path}: {error.message}") from error
    except OSError as error:
        raise Malformed("bad-value", f"{path}: {error.filename}: {error.strerror}") from error


def _resolve(raw: _File, folder: Path) -> Config:
    if not _NAME.fullmatch(raw.name):
        raise Malformed("bad-value", f"name: 1 to 20 of a-z 0-9 . - and not {raw.name!r}")
    if not _ORIGIN.fullmatch(raw.origin):
        raise Malformed(
            "bad-value", "origin: 1 to 64 printable characters, such as validator.example.org/log"
        )
    host, port = parse_bind(raw.bind)
    tokens, scopes = parse_readers(raw.readers, raw.operators)
    return Config(
        name=raw.name,
        origin=raw.origin,
        host=host,
        port=port,
        key=configfile.key_uri(raw.key, folder, "file:validator.key"),
        note_key=configfile.key_uri(raw.note_key, folder, "file:validator.key"),
        key_pin_file=None if raw.key_pin_file is None else folder / raw.key_pin_file,
        note_key_pin_file=(
            None if raw.note_key_pin_file is None else folder / raw.note_key_pin_file
        ),
        store=parse_place(raw.store, folder),
        roots=_roots(raw.roots, folder),
        credential=None if raw.credential is None else read_credential(folder / raw.credential),
        profiles=_profiles(raw.profiles, folder),
        gateways=tuple(read_credential(folder / name) for name in raw.gateways),
        open_reads=raw.open_reads,
        readers=tokens,
        operators=dict(raw.operators),
        scopes=scopes,
        retention=parse_retention(raw.retention),
        peers=_peers(raw.peers, raw.origin),
        peer_files=None if raw.peer_files is None else folder / raw.peer_files,
        quotas=parse_quotas(raw.quotas),
        tiles=None if raw.tiles is None else folder / raw.tiles,
        workers=_workers(raw),
    )


def _workers(raw: _File) -> int:
    if not 0 <= raw.workers <= WORKERS_MAX:
        raise Malformed("bad-value", f"workers: 0 to {WORKERS_MAX}")
    if raw.workers and "://" not in raw.store:
        raise Malformed(
            "bad-value", "workers: a store in a file has one process; PostgreSQL takes any number"
        )
    return raw.workers


def _peers(raw: list[_Peer], origin: str) -> tuple[PeerConfig, ...]:
    if len(raw) > PEERS_MAX:
        raise Malformed("too-large", f"peers: at most {PEERS_MAX}")
    if len({peer.name for peer in raw}) != len(raw):
        raise Malformed("duplicate-key", "peers: two have the same name")
    for peer in raw:
        url = urlsplit(peer.url)
        plain = not (url.username or url.password or url.query or url.fragment)
        if url.scheme not in {"http", "https"} or not url.hostname or not plain:
            raise Malformed(
                "bad-value", f"peers.{peer.name}.url: http://HOST:PORT or https://HOST, only that"
            )
        if not PEER_POLL_S_MIN <= peer.poll_s <= POLL_S_MAX:
            raise Malformed(
                "bad-value", f"peers.{peer.name}.poll_s: {PEER_POLL_S_MIN} to {POLL_S_MAX} seconds"
            )
    found = tuple(
        PeerConfig(
            name=p.name, url=p.url.rstrip("/"), poll_s=p.poll_s, note_key=_note_key(p, origin)
        )
        for p in raw
    )
    origins = [peer.note_key.name for peer in found if peer.note_key is not None]
    if len(set(origins)) != len(origins):
        raise Malformed("duplicate-key", "peers: two note keys have the same origin")
    return found


def _note_key(peer: _Peer, origin: str) -> NoteKey | None:
    if peer.note_key is None:
        return None
    try:
        key = note.parse_key(peer.note_key)
    except Malformed as error:
        raise Malformed(error.reason, f"peers.{peer.name}.note_key: {error.message}") from None
    if key.name == origin:
        raise Malformed("wrong-key", f"peers.{peer.name}.note_key: this validator's own origin")
    return key


def parse_bind(text: str) -> tuple[str, int]:
    """(address, port); Malformed unless it is `ADDRESS:PORT`."""
    match = _BIND.fullmatch(text)
    if match is None or int(match[2]) > PORT_MAX:
        raise Malformed("bad-value", f"bind: an address and a port, 127.0.0.1:8470, not {text!r}")
    return match[1].strip("[]"), int(match[2])


def _roots(items: list[str], folder: Path) -> dict[str, PublicKey]:
    found = configfile.roots(items, folder)
    if len(found) > ROOTS_MAX:
        raise Malformed("too-large", f"roots: at most {ROOTS_MAX}")
    return found


def read_credential(path: Path) -> tuple[bytes, ...]:
    """The statements of a credential file: an enrolment, and the key changes after it."""
    data = path.read_bytes()
    if len(data) > CREDENTIAL_BYTES_MAX:
        raise Malformed("too-large", f"{path} is no credential: over 256 KiB")
    statements = cbor.decode(data)
    if not isinstance(statements, list) or not all(isinstance(s, bytes) for s in statements):
        raise Malformed("bad-type", f"{path} is no credential; `tally fleet enroll` makes one")
    return tuple(statements)


def _profiles(name: str | None, folder: Path) -> tuple[tuple[Path, str], ...]:
    if name is None:
        return ()
    base = folder / name
    if not base.is_dir():
        raise Malformed("bad-value", f"profiles: {base} is no folder")
    files = sorted(base.glob("*.toml"))
    if len(files) > PROFILE_FILES_MAX:
        raise Malformed("too-large", f"profiles: at most {PROFILE_FILES_MAX} files")
    return tuple((file, file.read_text()) for file in files)
