"""A real Mosquitto of one's own, on loopback, for the tests, the bench and `tally replay`."""

import os
import shutil
from pathlib import Path

from tallystick.tools._cache import ToolMissing
from tallystick.tools._daemon import Daemon
from tallystick.tools._ports import free_port

QUEUED_MESSAGES_MAX = 100_000
PACKET_BYTES_MAX = 1 << 20
# Of one client, on their way without its acknowledgement. With the default of 20 a gateway has at
# most 20 segments to COMMIT together, and none to verify meanwhile.
INFLIGHT_MESSAGES_MAX = 256


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


class Mosquitto(Daemon):
    """One broker: `start`, `stop` (SIGTERM), `kill` (SIGKILL); a context manager.

    Its files live in `folder`, so a broker started again there has its durable sessions back.
    Anyone on this machine may connect: it listens on loopback only.
    """

    name = "Mosquitto"
    failed = "broker-failed"

    def __init__(self, folder: Path, port: int | None = None, settings: str = "") -> None:
        super().__init__(folder, port or free_port(), "mosquitto.log")
        self.settings = settings

    def command(self) -> list[str]:
        """As Daemon's."""
        program = find()
        configuration = self.folder / "mosquitto.conf"
        configuration.write_text(self._configuration())
        return [program, "-c", str(configuration)]

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
            f"max_inflight_messages {INFLIGHT_MESSAGES_MAX}",
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
