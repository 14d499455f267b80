"""A disk under SQLite that fails when told, and whose power can be cut: a VFS shim by ctypes.

It stands between SQLite and the file system for connections that are opened while it is in use, and
sees each write, truncation and sync. What was written and not synced is known, so a test can have
the files as a power cut would leave them; a call can be made to fail; and from a call on everything
can be dead, as after kill -9.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OK, FULL = 0, 13
IOERR_WRITE, IOERR_FSYNC, IOERR_TRUNCATE = 10 | 3 << 8, 10 | 4 << 8, 10 | 6 << 8
_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_INT64 = ctypes.c_longlong
_OPEN = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER, _INT, ctypes.POINTER(_INT))
_DELETE = ctypes.CFUNCTYPE(_INT, _POINTER, ctypes.c_char_p, _INT)
_CLOSE = ctypes.CFUNCTYPE(_INT, _POINTER)
_WRITE = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, _INT64)
_TRUNCATE = ctypes.CFUNCTYPE(_INT, _POINTER, _INT64)
_SYNC = ctypes.CFUNCTYPE(_INT, _POINTER, _INT)


# SQLite may hold on to what a failed test left open.
_KEPT: list["Disk"] = []


class _Vfs(ctypes.Structure):
    # sqlite3.h, sqlite3_vfs, version 3.
    _fields_ = [
        ("version", _INT),
        ("file_size", _INT),
        ("path_max", _INT),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("delete", _POINTER),
        ("others", _POINTER * 14),
    ]


class _Methods(ctypes.Structure):
    # sqlite3.h, sqlite3_io_methods, version 3.
    _fields_ = [
        ("version", _INT),
        ("close", _POINTER),
        ("read", _POINTER),
        ("write", _POINTER),
        ("truncate", _POINTER),
        ("sync", _POINTER),
        ("others", _POINTER * 13),
    ]


class _File:
    # An open file: its methods as SQLite made them.
    def __init__(self, path: str, address: int) -> None:
        methods = _Methods.from_address(address)
        self.path = path
        self.address = address
        self.close = _CLOSE(methods.close)
        self.write = _WRITE(methods.write)
        self.truncate = _TRUNCATE(methods.truncate)
        self.sync = _SYNC(methods.sync)


class Disk:
    """What SQLite's files hold, and held at their last sync; which call fails."""

    def __init__(self) -> None:
        self.calls = 0  # writes, truncations and syncs so far
        self.fails: Callable[[int, str], int] = lambda _call, _what: OK
        self.before: Callable[[int], None] = lambda _call: None
        self._files: dict[int, _File] = {}
        self._now: dict[str, bytearray] = {}
        self._synced: dict[str, bytes] = {}
        self._methods: dict[int, _Methods] = {}
        self._callbacks = (
            _OPEN(self._open),
            _CLOSE(self._close),
            _WRITE(self._write),
            _TRUNCATE(self._truncate),
            _SYNC(self._sync),
            _DELETE(self._delete),
        )
        _KEPT.append(self)
        # The one that the interpreter has loaded: soname as everywhere on Linux.
        self._sqlite = ctypes.CDLL("libsqlite3.so.0")
        self._sqlite.sqlite3_vfs_find.restype = _POINTER
        self._sqlite.sqlite3_vfs_register.argtypes = [_POINTER, _INT]
        self._sqlite.sqlite3_vfs_unregister.argtypes = [_POINTER]
        self._default = self._sqlite.sqlite3_vfs_find(None)
        below = _Vfs.from_address(self._default)
        self._below_open = _OPEN(below.open)
        self._below_delete = _DELETE(below.delete)
        self._vfs = _Vfs.from_buffer_copy(below)
        self._vfs.name = b"tallystick-tests"
        self._vfs.open = ctypes.cast(self._callbacks[0], _POINTER).value
        self._vfs.delete = ctypes.cast(self._callbacks[5], _POINTER).value

    @contextmanager
    def in_use(self) -> Iterator["Disk"]:
        """Connections that are opened here are on this disk; close them here, too."""
        self._sqlite.sqlite3_vfs_register(ctypes.addressof(self._vfs), 1)
        try:
            yield self
        finally:
            self._sqlite.sqlite3_vfs_register(self._default, 1)
            self._sqlite.sqlite3_vfs_unregister(ctypes.addressof(self._vfs))

    # --- what a test does -------------------------------------------------------------------

    def fail(self, call: int, code: int | None = None, count: int = 1) -> None:
        """Let calls from this one on fail, by number from now (0 is the next)."""
        first = self.calls + call
        own = {"write": IOERR_WRITE, "truncate": IOERR_TRUNCATE, "sync": IOERR_FSYNC}
        self.fails = lambda at, what: (code or own[what]) if first <= at < first + count else OK

    def heal(self) -> None:
        """No call fails any more."""
        self.fails = lambda _call, _what: OK

    def cut(self, folder: Path) -> None:
        """Write the files as they were at their last syncs: what a power cut leaves at worst."""
        folder.mkdir(parents=True)
        for path, data in self._synced.items():
            (folder / Path(path).name).write_bytes(data)

    def kept(self, folder: Path) -> None:
        """Write the files as they are now: what kill -9 leaves."""
        folder.mkdir(parents=True)
        for path, data in self._now.items():
            (folder / Path(path).name).write_bytes(data)

    # --- SQLite's side ----------------------------------------------------------------------

    def _open(self, _vfs: Any, name: int | None, file: int, flags: int, out: Any) -> int:
        # The pointer itself: SQLite keeps it, and reads on behind the name.
        code: int = self._below_open(self._default, name, file, flags, out)
        address = ctypes.c_void_p.from_address(file).value
        if code != OK or address is None or name is None:
            return code
        path = ctypes.string_at(name).decode()
        opened = self._files[file] = _File(path, address)
        if path not in self._now:
            data = Path(path).read_bytes()
            self._now[path], self._synced[path] = bytearray(data), data
        if opened.address not in self._methods:
            copy = _Methods.from_buffer_copy(_Methods.from_address(address))
            for which, callback in enumerate(("close", "write", "truncate", "sync"), 1):
                setattr(copy, callback, ctypes.cast(self._callbacks[which], _POINTER).value)
            self._methods[opened.address] = copy
        ctypes.c_void_p.from_address(file).value = ctypes.addressof(self._methods[opened.address])
        return OK

    def _close(self, file: int) -> int:
        opened = self._files.pop(file)
        ctypes.c_void_p.from_address(file).value = opened.address
        closed: int = opened.close(file)
        return closed

    def _delete(self, _vfs: Any, name: bytes, sync: int) -> int:
        # Counted as done at once: a journal that comes back rolls back what it rolled back before.
        code: int = self._below_delete(self._default, name, sync)
        self._now.pop(name.decode(), None)
        self._synced.pop(name.decode(), None)
        return code

    def _call(self, what: str) -> int:
        self.before(self.calls)
        code = self.fails(self.calls, what)
        self.calls += 1
        return code

    def _write(self, file: int, data: int, size: int, at: int) -> int:
        opened = self._files[file]
        code = self._call("write") or opened.write(file, data, size, at)
        if code == OK:
            now = self._now[opened.path]
            now.extend(bytes(max(0, at + size - len(now))))
            now[at : at + size] = ctypes.string_at(data, size)
        return code

    def _truncate(self, file: int, size: int) -> int:
        opened = self._files[file]
        code = self._call("truncate") or opened.truncate(file, size)
        if code == OK:
            del self._now[opened.path][size:]
        return code

    def _sync(self, file: int, flags: int) -> int:
        opened = self._files[file]
        code = self._call("sync") or opened.sync(file, flags)
        if code == OK:
            self._synced[opened.path] = bytes(self._now[opened.path])
        return code
