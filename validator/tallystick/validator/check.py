"""What `tally validator check` looks at: everything that a start needs, and nothing is changed."""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence.errors import CouldNotCheck, Malformed, TallyError
from tallystick.evidence.keys import b64u
from tallystick.evidence.peercircle import Decider
from tallystick.hw.peersfolder import read_folder
from tallystick.validator import schema
from tallystick.validator._postgresql import of_server
from tallystick.validator.config import Config
from tallystick.validator.ownkeys import close_keys, own_keys
from tallystick.validator.place import Server
from tallystick.validator.retention import KIND_NAMES
from tallystick.validator.sequencer import read_profiles

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Checked:
    """One part, and what was found; `good` is False when a start would fail of it."""

    name: str
    good: bool
    found: str


def check(config: Config) -> list[Checked]:
    """Every part by itself, so that one answer names all that is wrong."""
    parts: tuple[tuple[str, Callable[[Config], str]], ...] = (
        ("keys", _keys),
        ("roots", _roots),
        ("profiles", _profiles),
        ("store", _store),
        ("readers", _readers),
        ("retention", _retention),
        ("peers", _peers),
        ("peer files", _peer_files),
    )
    found = []
    for name, look in parts:
        try:
            found.append(Checked(name, good=True, found=look(config)))
        except TallyError as error:
            found.append(Checked(name, good=False, found=str(error)))
    return found


def _keys(config: Config) -> str:
    keys = own_keys(config)
    close_keys(keys.signer, keys.notes)
    if config.credential is None:
        return f"id {b64u(keys.id)}; no credential, so evidence files do not name who vouches"
    return f"id {b64u(keys.id)}"


def _roots(config: Config) -> str:
    return ", ".join(sorted(config.roots))


def _profiles(config: Config) -> str:
    found = read_profiles(config)
    names = sorted(f"{one.name}@{one.version}" for one in found.values())
    return ", ".join(names) or "none: every finding will be insufficient"


def _store(config: Config) -> str:
    place = config.store
    found = of_server(place) if isinstance(place, Server) else _of_file(place)
    if found is None:
        return f"{place} will be made"
    meta, size = found
    version = meta.get("schema", "")
    if not version.isdigit() or int(version) > schema.VERSION:
        raise Malformed(
            "bad-value", f"{config.store} has store version {version}, this program "
            f"knows {schema.VERSION}"
        )  # fmt: skip
    if meta.get("origin") != config.origin:
        raise Malformed(
            "bad-value", f"{config.store} is the store of {meta.get('origin')}, not {config.origin}"
        )
    shown = f"{config.store}, {size} published checkpoints"
    if int(version) < schema.VERSION:
        shown += f"; the next start migrates it from version {version} to {schema.VERSION}"
    return shown


def _of_file(path: Path) -> tuple[dict[str, str], int] | None:
    if not path.exists():
        return None
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            meta = dict(connection.execute("SELECT name, value FROM meta").fetchall())
            (size,) = connection.execute("SELECT count(*) FROM heads").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise CouldNotCheck("bad-value", f"{path}: {error}") from error
    return meta, size


def _retention(config: Config) -> str:
    kept = [f"{KIND_NAMES[kind]} {ms // 1000} s" for kind, ms in config.retention.kept_ms.items()]
    told = "bodies are kept" if not kept else "erased when older: " + ", ".join(kept)
    operators = ", ".join(sorted(config.operators)) or "nobody"
    return f"{told}; put on hold by {operators}"


def _readers(config: Config) -> str:
    names = "; ".join(f"{n}: {config.scopes[n].words()}" for n in sorted(config.readers))
    names = names or "nobody"
    if not config.open_reads:
        return names
    found = f"{names}, and whoever asks from loopback (open_reads)"
    if config.host not in _LOOPBACK:
        found += (
            "; RISK: it listens beyond loopback, and a proxy on this machine that sends no "
            "X-Forwarded-For would read for everybody"
        )
    return found


def _peers(config: Config) -> str:
    if not config.peers:
        return "none: a cloned key whose other history another validator heard is not found"
    return ", ".join(f"{peer.name} at {peer.url}" for peer in config.peers)


def _peer_files(config: Config) -> str:
    if config.peer_files is None:
        return "no folder: `tally peer import` needs peer_files"
    if not config.peer_files.is_dir():
        return f"{config.peer_files} will be made by `tally peer import`"
    plan = Decider(config.roots).decide(read_folder(config.peer_files), {})
    if plan.wrong:
        said = "; ".join(f"{name}: {why}" for name, why in plan.wrong.items())
        raise Malformed("bad-value", f"{said}; what was in force before stays in force")
    return ", ".join(sorted(plan.files)) or "nobody was imported"
