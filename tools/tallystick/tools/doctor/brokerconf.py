"""A Mosquitto's configuration file, read for what it risks; and which file the running one has."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tallystick.evidence.errors import Malformed
from tallystick.tools._files import read_text
from tallystick.tools.brokerfiles import settings
from tallystick.tools.doctor.brokerdoors import Door, Line, Said, doors, merged
from tallystick.tools.doctor.findings import (
    BAD,
    GOOD,
    RISK,
    Finding,
    bad,
    good,
    not_checked,
    risk,
)

FILE_BYTES_MAX = 1 << 20
FILES_MAX = 64
PROCESSES_MAX = 65_536
QUEUED_MESSAGES_LOW = 10_000
QUEUED_BYTES_LOW = 16 << 20  # ten thousand short segments
AUTOSAVE_S_LONG = 300
INFLIGHT_MESSAGES_LOW = 100
INFLIGHT_DEFAULT = 20
CONFIG = "tally gateway broker-config writes one that is right"
_FILE_WORDS = ("-c", "--config-file")
_WORST = (BAD, RISK, GOOD)


@dataclass(frozen=True)
class Running:
    """A broker that runs on this machine: its process and its file."""

    pid: int
    file: Path


def read(path: Path) -> list[Line]:
    """Every option and its value, in order; files that it includes are read where they stand."""
    found: list[Line] = []
    _read(path, found, [])
    return found


def _read(path: Path, found: list[Line], seen: list[Path]) -> None:
    seen.append(path)
    if len(seen) > FILES_MAX:
        raise Malformed("too-large", f"{path}: includes more than {FILES_MAX} files")
    for line in read_text(path, FILE_BYTES_MAX).splitlines():
        name, _, value = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if name == "include_dir":
            for more in sorted(Path(value.strip()).glob("*.conf")):
                _read(more, found, seen)
        else:
            found.append((name, value.strip()))


def running(port: int) -> Running | None:
    """The Mosquitto of this machine whose file names this port, where it can be seen."""
    for pid, words, cwd in _processes():
        option = next((word for word in words[:-1] if word in _FILE_WORDS), None)
        if Path(words[0]).name != "mosquitto" or option is None:
            continue
        file = cwd / words[words.index(option) + 1]
        try:
            ports = [door.port for door in doors(read(file))]
        except (OSError, Malformed):
            continue
        if str(port) in ports:
            return Running(pid, file)
    return None


def _processes() -> Iterable[tuple[int, list[str], Path]]:
    for folder in list(Path("/proc").glob("[0-9]*"))[:PROCESSES_MAX]:
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            cwd = (folder / "cwd").readlink()
        except OSError:
            continue  # it has ended, or is another user's
        if words[0]:
            yield int(folder.name), words, cwd


def look(port: int, file: Path | None) -> list[Finding]:
    """Read the file that is given, or that the running broker was started with."""
    name = "broker's file"
    if file is not None:
        return [good(name, str(file)), *judge(read(file))]
    found = running(port)
    if found is None:
        return unseen("no Mosquitto with this port is seen on this machine")
    if _changed_since(found):
        finding = risk(
            name,
            f"{found.file} was changed after the broker started",
            "restart the broker: it runs with another configuration than is written",
        )
        return [finding, *judge(read(found.file))]
    return [good(name, f"{found.file}, process {found.pid}"), *judge(read(found.file))]


def unseen(why: str) -> list[Finding]:
    """Nobody can read the file from here."""
    return [
        not_checked(
            "broker's file",
            why,
            "run this on the broker's machine with --broker-conf: persistence, autosave and queue "
            "limits cannot be seen from outside",
        )
    ]


def _changed_since(found: Running) -> bool:
    try:
        began_s = os.stat(f"/proc/{found.pid}").st_mtime  # noqa: PTH116 - a process, not a file
        return found.file.stat().st_mtime > began_s + 1
    except OSError:
        return False


def judge(lines: list[Line]) -> list[Finding]:
    """What a configuration risks, each by its name. Pure."""
    said = merged(lines)
    found = doors(lines)
    return [
        _persistence(said),
        _autosave(said),
        _queue(said),
        _worst(_anonymous, found),
        _worst(_certificates, found),
        _worst(_access, found),
        _worst(_client_names, found),
        _session(said),
        _small(said, "retain_available", "false", "true", "keeps retained messages"),
        _packet(said),
        _inflight(said),
    ]


def _worst(look: Callable[[Door], Finding], found: list[Door]) -> Finding:
    """What is said of the listeners for which it is worst; who comes in takes the open door."""
    seen = [(door, look(door)) for door in found]
    level = min((finding.level for _, finding in seen), key=_WORST.index)
    worst = [(door, finding) for door, finding in seen if finding.level == level]
    if level == GOOD or len(seen) == 1:
        return worst[0][1]
    said = "; ".join(f"listener {door.port}: {finding.found}" for door, finding in worst)
    return replace(worst[0][1], found=said)


def _inflight(said: Said) -> Finding:
    most = _number(said, "max_inflight_messages", INFLIGHT_DEFAULT)
    if not most or most >= INFLIGHT_MESSAGES_LOW:
        return good("broker: in flight", f"{most or 'any number of'} messages")
    return risk(
        "broker: in flight",
        f"{most} messages: a gateway commits no more at once, and is slower than it could be",
        f"max_inflight_messages {settings.INFLIGHT_MESSAGES_MAX}; no record is at risk",
    )


def _last(said: Said, name: str, default: str) -> str:
    return said.get(name, [default])[-1].lower()


def _number(said: Said, name: str, default: int) -> int:
    text = _last(said, name, str(default))
    return int(text) if text.isdecimal() else default


def _persistence(said: Said) -> Finding:
    if _last(said, "persistence", "false") == "true":
        return good("broker: persistence", "on")
    return risk(
        "broker: persistence",
        "off: a restart forgets every session and what waits in it",
        "persistence true; records are safe, devices send them again",
    )


def _autosave(said: Said) -> Finding:
    interval = _number(said, "autosave_interval", 1800)
    by_changes = _last(said, "autosave_on_changes", "false") == "true"
    if by_changes and interval:
        return good("broker: autosave", f"after {interval} changes")
    if interval == 0 or interval > AUTOSAVE_S_LONG:
        told = "never before its end" if interval == 0 else f"each {interval} s"
        return risk(
            "broker: autosave",
            f"saves {told}: what came since is lost when it is killed",
            f"autosave_interval {settings.AUTOSAVE_S}",
        )
    return good("broker: autosave", f"each {interval} s")


def _queue(said: Said) -> Finding:
    # Mosquitto's own default is 1,000 messages (100 before version 2).
    messages = _number(said, "max_queued_messages", 1000)
    size = _number(said, "max_queued_bytes", 0)
    if messages == 0 and size == 0:
        return risk(
            "broker: queue",
            "has no limit: a gateway that is away fills the memory",
            f"max_queued_bytes {settings.QUEUED_BYTES_MAX}",
        )
    if 0 < messages < QUEUED_MESSAGES_LOW:
        return risk(
            "broker: queue",
            f"drops what does not fit {messages} messages, and says nothing",
            f"max_queued_messages {settings.QUEUED_MESSAGES_MAX}",
        )
    if 0 < size < QUEUED_BYTES_LOW:
        return risk(
            "broker: queue",
            f"drops what does not fit {size} bytes, and says nothing",
            f"max_queued_bytes {settings.QUEUED_BYTES_MAX}",
        )
    return good("broker: queue", f"{messages or 'any number of'} messages, {size or 'any'} bytes")


def _anonymous(door: Door) -> Finding:
    said = door.said
    if _last(said, "allow_anonymous", "false") != "true":
        return good("broker: anonymous clients", "refused")
    if _last(said, "require_certificate", "false") == "true":
        return good("broker: anonymous clients", "refused by the certificate that they lack")
    advice = f"allow_anonymous false; {CONFIG}"
    if door.local:
        return risk(
            "broker: anonymous clients",
            "any program on its machine may publish for every device and read what goes down",
            advice,
        )
    return bad(
        "broker: anonymous clients",
        "anybody may connect, publish for every device and read what goes down",
        advice,
    )


def _certificates(door: Door) -> Finding:
    said = door.said
    if "certfile" not in said or "keyfile" not in said:
        return risk("broker: TLS", "there is none", f"certfile, keyfile, cafile; {CONFIG}")
    if _last(said, "require_certificate", "false") != "true":
        return risk(
            "broker: TLS",
            "clients need no certificate",
            "require_certificate true, use_identity_as_username true",
        )
    if _last(said, "use_identity_as_username", "false") != "true":
        return risk(
            "broker: TLS",
            "a certificate's name is not the user, so the access list does not bind it",
            "use_identity_as_username true",
        )
    return good("broker: TLS", "certificates of both sides, the client's name is its user")


def _access(door: Door) -> Finding:
    said = door.said
    if "acl_file" not in said and "plugin" not in said and "auth_plugin" not in said:
        return risk(
            "broker: access list",
            "there is none: every client may publish for every device",
            f"acl_file with a pattern for each device; {CONFIG}",
        )
    return good("broker: access list", said.get("acl_file", ["a plugin's"])[-1])


def _client_names(door: Door) -> Finding:
    if _last(door.said, "use_username_as_clientid", "false") != "true":
        return risk(
            "broker: client names",
            "a client may take another's name and with it its connection",
            "use_username_as_clientid true",
        )
    return good("broker: client names", "each client's is its user's")


def _session(said: Said) -> Finding:
    if "persistent_client_expiration" not in said:
        return risk(
            "broker: old sessions",
            "a session that nobody comes back to is kept for ever",
            f"persistent_client_expiration {settings.SESSION_LIFE}",
        )
    return good("broker: old sessions", f"end after {said['persistent_client_expiration'][-1]}")


def _small(said: Said, name: str, wanted: str, default: str, otherwise: str) -> Finding:
    if _last(said, name, default) == wanted:
        return good(f"broker: {name}", wanted)
    return risk(f"broker: {name}", otherwise, f"{name} {wanted}")


def _packet(said: Said) -> Finding:
    size = _number(said, "max_packet_size", 0)
    name = "broker: max_packet_size"
    if size == 0:
        return risk(name, "a client may send 256 MB at once", f"{settings.PACKET_BYTES_MAX}")
    if size < settings.PACKET_BYTES_MAX:
        return bad(
            name, f"{size} bytes: a segment may not pass", f"at least {settings.PACKET_BYTES_MAX}"
        )
    return good(name, f"{size} bytes")
