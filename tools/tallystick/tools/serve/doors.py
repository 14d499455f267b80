"""Who may record: the socket's file and mode, and the other side's user and groups."""

import os
import socket
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

from tallystick.evidence.errors import CouldNotCheck, Malformed, TransportError

# sockaddr_un has room for so many bytes, with the zero at the end.
PATH_BYTES_MAX = 107
BACKLOG = 16
GROUPS_BYTES_MAX = 65_536 * 4
# Linux's; socket has no name for it.
SO_PEERGROUPS = 59
_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Peer:
    """The process at the other end, as the kernel knew it when it connected."""

    pid: int
    user: int
    groups: frozenset[int]


@dataclass(frozen=True)
class Allowed:
    """User and group ids that may record."""

    users: frozenset[int]
    groups: frozenset[int]

    def check(self, peer: Peer) -> None:
        """CouldNotCheck unless the peer is one of them."""
        if peer.user not in self.users and not peer.groups & self.groups:
            message = f"user {peer.user} may not record here; see --allow-user and --allow-group"
            raise CouldNotCheck("not-allowed", message)


def peer_of(connection: socket.socket) -> Peer:
    """Who connected (SO_PEERCRED, and its other groups where the kernel tells them)."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, user, group = _UCRED.unpack(data)
    try:
        more = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, GROUPS_BYTES_MAX)
    except OSError:
        more = b""
    others = struct.unpack(f"{len(more) // 4}I", more)
    return Peer(pid, user, frozenset([group, *others]))


class Door:
    """A listening socket with a file; use it as a context manager, which removes the file."""

    def __init__(self, path: Path, mode: int, group: int | None = None) -> None:
        self.path = path
        if len(os.fsencode(path)) > PATH_BYTES_MAX:
            message = f"{path}: a socket's path has at most {PATH_BYTES_MAX} bytes"
            raise Malformed("too-large", message)
        _remove_stale(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # Nobody may connect before mode and group are as they were asked for.
        before = os.umask(0o777)
        try:
            self.socket.bind(str(path))
        except OSError as error:
            self.socket.close()
            raise TransportError("no-socket", f"{path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._inode = path.stat().st_ino
        try:
            if group is not None:
                os.chown(path, -1, group)
            path.chmod(mode)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Door":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def listen(self) -> socket.socket:
        """Let clients connect."""
        self.socket.listen(BACKLOG)
        return self.socket

    def close(self) -> None:
        """Close, and remove the file unless somebody put another one there."""
        self.socket.close()
        try:
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            pass


def _remove_stale(path: Path) -> None:
    """What a killed recorder left behind; never a file, nor a socket that somebody serves."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise TransportError("no-socket", f"{path}: {error.strerror}") from error
    if not stat.S_ISSOCK(found.st_mode):
        raise TransportError("no-socket", f"{path} is there and no socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise TransportError("no-socket", f"{path}: {error.strerror or error}") from error
    raise TransportError("no-socket", f"{path}: another program serves it")
