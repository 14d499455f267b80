"""`tally recorder serve`: a robot's recorder for programs in any language."""

import grp
import os
import pwd
from pathlib import Path

import click

from tallystick.evidence.errors import Malformed
from tallystick.evidence.keys import device_text
from tallystick.hw.signer import Signer
from tallystick.recorder import Recorder
from tallystick.recorder import config as device_config
from tallystick.tools import secrets
from tallystick.tools._interrupt import until_signalled
from tallystick.tools.serve.doors import Allowed, Door
from tallystick.tools.serve.service import Service

SOCKET = "/run/tallystick/recorder.sock"
MODE_MAX = 0o777


@click.group(
    epilog="""\b
Example:
  tally recorder serve --config tallystick.json --socket recorder.sock
"""
)
def recorder() -> None:
    """Serve a robot's recorder to programs in any language."""


def _mode(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= MODE_MAX:
        message = f"a mode is octal, such as 0660, and not {text!r}"
        raise click.BadParameter(message)
    return mode


def _number(text: str, *, group: bool) -> int:
    """A user's or group's id by number or name."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid if group else pwd.getpwnam(text).pw_uid
    except KeyError:
        message = f"there is no {'group' if group else 'user'} {text!r} on this machine"
        raise click.UsageError(message) from None


@recorder.command(
    epilog="""\b
Examples:
  tally recorder serve --config robot-1/tallystick.json --socket /tmp/recorder.sock
  tally recorder serve --group robots --allow-group robots

\b
A decision from Python (a shell runs it as python3 -c '...'):
  import json, socket
  link = socket.socket(socket.AF_UNIX)
  link.connect("/run/tallystick/recorder.sock")
  link.sendall(json.dumps({"decision": {"model": "grasp-net@1",
      "inputs": {"distance_m": 0.1}, "output": "grip"}}).encode() + b"\\n")
  print(link.makefile().readline())

\b
From C++:
  int link = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un to{AF_UNIX, "/run/tallystick/recorder.sock"};
  connect(link, reinterpret_cast<sockaddr *>(&to), sizeof to);
  std::string line = R"({"decision": {"model": "grasp-net@1", "output": "grip"}})" "\\n";
  send(link, line.data(), line.size(), MSG_NOSIGNAL);  // then read one line

\b
From a shell:
  printf '%s\\n' '{"health": true}' | python3 -c 'import socket, sys
  s = socket.socket(socket.AF_UNIX); s.connect("/run/tallystick/recorder.sock")
  s.sendall(sys.stdin.buffer.read()); s.shutdown(1); print(s.makefile().read(), end="")'
""",
    short_help="Take JSON lines on a Unix socket and record them.",
)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The robot's tallystick.json; else it is looked for as Recorder.open() does.",
)
@click.option(
    "--socket",
    "socket_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=SOCKET,
    show_default=True,
    help="Where programs connect.",
)
@click.option(
    "--mode", default="0660", show_default=True, callback=_mode, help="Of the socket's file."
)
@click.option("--group", metavar="GROUP", help="Of the socket's file, by name or number.")
@click.option(
    "--allow-user",
    "users",
    multiple=True,
    metavar="USER",
    help="Who may record, beside the user that serves; repeatable.",
)
@click.option(
    "--allow-group",
    "groups",
    multiple=True,
    metavar="GROUP",
    help="Members of it may record; repeatable.",
)
@secrets.pin_file_option
def serve(
    path: Path | None,
    socket_path: Path,
    mode: int,
    group: str | None,
    users: tuple[str, ...],
    groups: tuple[str, ...],
    pin_file: Path | None,
) -> None:
    """Record what programs send as JSON lines, until Ctrl-C or SIGTERM.

    One object a line: {"decision": {...}}, {"claim": {...}}, {"event": {...}}, {"accept": HALF} or
    {"health": true}, with the words of the programming interface (docs/recorder.md). One line
    answers each, in order: {"ok": {...}} once the journal has the record, or {"error": {...}}.
    Key and journal belong to the user that serves; others only record.
    """
    allowed = Allowed(
        frozenset([os.getuid(), *(_number(name, group=False) for name in users)]),
        frozenset(_number(name, group=True) for name in groups),
    )
    owner = None if group is None else _number(group, group=True)
    stop = until_signalled()
    with Door(socket_path, mode, owner) as door:
        tally = _open(path, pin_file)
        try:
            listening = door.listen()
            click.echo(f"{device_text(tally.device)} records at {socket_path}", err=True)
            Service(listening, tally, allowed).run(stop)
        finally:
            tally.close()
    health = tally.health
    click.echo(f"stopped: {health.records} records, {health.dropped} dropped", err=True)


def _open(path: Path | None, pin_file: Path | None) -> Recorder:
    config = None if path is None else str(path)
    signer = None
    if pin_file is not None:
        uri = str(device_config.load(config)["key"])
        signer = Signer.from_uri(uri, secrets.secrets(pin_file))
    tally = Recorder.open(config, signer=signer, background=True)
    if tally.health.as_dict().get("off"):
        # An answer would promise a record.
        tally.close()
        raise Malformed("bad-config", "recording is off: take TALLY=off away to serve")
    return tally
