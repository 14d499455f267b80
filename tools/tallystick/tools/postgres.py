"""A real PostgreSQL of one's own, on a socket in its folder, for the tests and the bench."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from tallystick.tools._cache import ToolMissing

USER = "tally"
START_S_MAX = 120.0
STOP_S_MAX = 60.0
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "64",
    "shared_buffers": "16MB",
    # In the data folder: /dev/shm is small, or closed to others, in some containers.
    "dynamic_shared_memory_type": "mmap",
    "autovacuum": "off",
    "jit": "off",
    "log_min_messages": "warning",
}
# Nothing that dies with the machine needs a disk.
_FAST = {"fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0"}


def find() -> Path:
    """The folder of the newest version's programs; Debian puts it where no PATH looks.

    :raises ToolMissing: it is not installed.
    """
    found = sorted(
        (int(path.parent.name), path)
        for path in Path("/usr/lib/postgresql").glob("*/bin")
        if path.parent.name.isdigit() and (path / "initdb").exists()
    )
    if found:
        return found[-1][1]
    on_path = shutil.which("initdb")
    if on_path is None:
        message = "PostgreSQL is not installed; install the package postgresql"
        raise ToolMissing("no-postgresql", message)
    return Path(on_path).resolve().parent


class Postgres:
    """One cluster; `database` makes a database in it. A context manager.

    It refuses to run as root, so root starts it as another user.
    """

    def __init__(self, settings: dict[str, str] | None = None, *, durable: bool = False) -> None:
        self._programs = find()
        # pytest's folders are its user's alone; a socket's path must be short as well.
        self.folder = Path(tempfile.mkdtemp(prefix="tally-pg-", dir="/tmp"))
        self._settings = {**_SETTINGS, **({} if durable else _FAST), **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self._given: list[str] = []
        self._clean: list[str] = []
        self._as: dict[str, object] = {}
        if os.getuid() == 0:
            name = _unprivileged()
            self._as = {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}
            os.chown(self.folder, pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid)
        self._data = self.folder / "data"
        try:
            self._run(
                "initdb", "-D", str(self._data), "-U", USER, "-A", "trust", "-N",
                "-E", "UTF8", "--locale=C", "--no-instructions",
            )  # fmt: skip
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        given = {**self._settings, "unix_socket_directories": str(self.folder)}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._programs / "postgres", "-D", self._data, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **self._as,  # type: ignore[call-overload]
            )
        deadline = time.monotonic() + START_S_MAX
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ToolMissing(
                    "no-postgresql",
                    "PostgreSQL does not start: " + (self.folder / "log").read_text()[-500:],
                )
            time.sleep(0.02)

    def _answers(self) -> bool:
        return self._try("pg_isready", "-q", "-h", str(self.folder)) == 0

    def database(self) -> str:
        """The URL of an empty database that is nobody else's until `take_back`."""
        if self._clean:
            name = self._clean.pop()
        else:
            self._made += 1
            name = f"tally{self._made}"
            self._run("createdb", "-h", str(self.folder), "-U", USER, "-T", "template0", name)
        self._given.append(name)
        return self.url(name)

    def take_back(self) -> None:
        """Empty all that were given, whoever is still connected; making one anew copies 15 MB."""
        while self._given:
            name = self._given.pop()
            self._run(
                "psql", "-q", "-h", str(self.folder), "-U", USER, "-d", name,
                "-c", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
                "-c", f"ALTER DATABASE {name} RESET ALL",
                "-c", "SET client_min_messages = error",
                "-c", "DROP SCHEMA public CASCADE",
                "-c", "CREATE SCHEMA public",
            )  # fmt: skip
            self._clean.append(name)

    def url(self, database: str = "postgres") -> str:
        """How to reach a database of this cluster."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}"

    def stop(self) -> None:
        """Break every connection and stop; what was committed is there at the next start."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(STOP_S_MAX)
        self._process = None

    def kill(self) -> None:
        """End every session and process at once, as a crash does."""
        if self._process is not None:
            # To the server itself: what it started would outlive a SIGKILL.
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(STOP_S_MAX)
            self._process = None

    def close(self) -> None:
        """Stop, and remove everything."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        ran = subprocess.run(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            check=False,
            **self._as,  # type: ignore[call-overload]
        )
        if ran.returncode:
            raise ToolMissing("no-postgresql", f"{program}: {ran.stderr.decode(errors='replace')}")

    def _try(self, program: str, *arguments: str) -> int:
        return subprocess.run(
            [self._programs / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=self.folder,
            check=False,
        ).returncode

    def __enter__(self) -> "Postgres":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise ToolMissing("no-postgresql", "there is no user that PostgreSQL could run as")
