"""What a service tells systemd: that it is ready, that it lives, that it stops (sd_notify(3)).

Without NOTIFY_SOCKET, as outside systemd, nothing is told and nothing fails.
"""

import os
import socket
import time

STATUS_CHARS_MAX = 200
TELL_S_MAX = 1.0  # a manager that does not read must not keep what it manages
# Twice in the time after which systemd would give a service up.
_PER_WATCHDOG = 2


class Notifier:
    """One service's way to its manager."""

    def __init__(self) -> None:
        # Taken out of the environment: no process that is started from here speaks for us.
        path = os.environ.pop("NOTIFY_SOCKET", "")
        wanted = os.environ.pop("WATCHDOG_USEC", "")
        whose = os.environ.pop("WATCHDOG_PID", "")
        ours = not whose or whose == str(os.getpid())
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._every_s = int(wanted) / 1e6 / _PER_WATCHDOG if wanted.isdecimal() and ours else None
        self._told_s = float("-inf")

    def ready(self, status: str) -> None:
        """It serves; `status` is what `systemctl status` shows."""
        self._tell("READY=1", status)

    def alive(self) -> None:
        """Called as often as one likes, while everything that must run runs."""
        now_s = time.monotonic()
        if self._every_s is not None and now_s - self._told_s >= self._every_s:
            self._told_s = now_s
            self._tell("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Another line for `systemctl status`."""
        self._tell(None, text)

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def _tell(self, what: str | None, status: str | None = None) -> None:
        if not self._address:
            return
        lines = [] if what is None else [what]
        if status is not None:
            lines.append("STATUS=" + " ".join(status.split())[:STATUS_CHARS_MAX])
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.settimeout(TELL_S_MAX)
                out.connect(self._address)
                out.sendall("\n".join(lines).encode())
        except OSError:
            # A manager that does not listen must not end what it manages.
            return
