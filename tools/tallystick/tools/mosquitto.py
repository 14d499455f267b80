"""A real Mosquitto of one's own, on loopback, for the tests, the bench and `tally replay`."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tallystick.evidence.errors import TransportError
from tallystick.tools._cache import ToolMissing
from tallystick.tools._interrupt import uninterrupted

START_TIMEOUT_S = 10
STOP_TIMEOUT_S = 10
POLL_S = 0.02
QUEUED_MESSAGES_MAX = 100_000
PACKET_BYTES_MAX = 1 << 20
LOG_LINES_SHOWN = 5


def find() -> str:
    """The path of the program; Debian puts it where a plain user's PATH does not look.

    :raises ToolMissing: it is not installed.
    """
    path = os.environ.get("PATH", os.defpath)
    found = shutil.which("mosquitto", path=f"{path}:/usr/sbin:/usr/local/sbin")
    if found is None:
        message = "Mosquitto is not installed; install the package mosquitto"
        raise ToolMissing("no-mosquitto", message)
    return found


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker: `start`, `stop` (SIGTERM), `kill` (SIGKILL); a context manager.

    Its files live in `folder`, so a broker started again there has its durable sessions back.
    Anyone on this machine may connect: it listens on loopback only.
    """

    def __init__(self, folder: Path, port: int | None = None, settings: str = "") -> None:
        self.host = "127.0.0.1"
        self.port = port or free_port()
        self.folder = folder
        self.settings = settings
        self.log_file = folder / "mosquitto.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Mosquitto":
        """Start, and wait until it answers."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, whatever happened."""
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the broker and return when it accepts connections.

        :raises ToolMissing: it is not installed.
        :raises TransportError: it runs already, or did not start: its last words follow.
        """
        if self.running:
            message = f"this Mosquitto runs already, on port {self.port}"
            raise TransportError("broker-failed", message)
        program = find()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(self._configuration())
        try:
            with self.log_file.open("ab") as log, uninterrupted():
                self._process = subprocess.Popen(
                    [program, "-c", str(configuration)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._wait_until_it_answers()
        except BaseException:
            # An interrupted start is never stopped by `with`.
            self.kill()
            raise

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.running:
            try:
                socket.create_connection((self.host, self.port), timeout=POLL_S).close()
            except OSError:
                time.sleep(POLL_S)
            else:
                return
        lines = self.log_file.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        said = "; ".join(lines) or "nothing"
        message = f"Mosquitto did not start on port {self.port}; it said: {said}"
        raise TransportError("broker-failed", message)

    def stop(self) -> None:
        """End it so that it saves its sessions; kill it when it does not end in time."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _configuration(self) -> str:
        lines = [
            f"listener {self.port} {self.host}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self.folder}/",
            "autosave_interval 1",
            # A retained message would be handed to whoever subscribes next: no device means that.
            "retain_available false",
            # The default of 1,000 drops acknowledged messages without a word.
            f"max_queued_messages {QUEUED_MESSAGES_MAX}",
            f"max_packet_size {PACKET_BYTES_MAX}",
            "set_tcp_nodelay true",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
        ]
        if os.getuid() == 0:
            # Started by root it would become a user that may not write here.
            lines.append("user root")
        return "\n".join([*lines, self.settings, ""])
