"""All serial ports of a gateway in one thread: found, opened, read, written, given up.

Ports come and go: the patterns of the configuration are looked for again each second. What a port
brings goes into the inbox that MQTT fills too, under the topic that the message itself names; so
the ingest core sees no difference. A full inbox takes the credit of the port, and the device waits.
"""

import contextlib
import glob
import os
import select
import time
from collections.abc import Sequence
from typing import Any

import structlog

from tallystick.evidence.errors import TransportError
from tallystick.evidence.keys import device_text
from tallystick.gateway import limits, lives
from tallystick.gateway.config import SerialConfig
from tallystick.gateway.inbox import Delivery, Inbox
from tallystick.gateway.ingest import Message
from tallystick.gateway.serialport import SerialPort, device_of

_log = structlog.get_logger("tallystick.gateway.serial")


class SerialHub:
    """`run` in a thread until `stop`; `publish` from the ingest worker."""

    def __init__(self, config: Sequence[SerialConfig], prefix: str, inbox: Inbox) -> None:
        self._config = config
        self._prefix = prefix
        self._inbox = inbox
        self._ports: dict[str, SerialPort] = {}
        self._gone: dict[str, dict[str, Any]] = {}  # what is to be said of ports that are not open
        self._stopping = lives.Event()
        self._scanned_s = -limits.SERIAL_RESCAN_S
        # A byte in it ends the wait for ports.
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)

    # --- the worker's side ------------------------------------------------------------------

    def publish(self, device: bytes, data: bytes) -> bool:
        """Send a message down each line on which the device was heard; False when on none."""
        sent = False
        for port in list(self._ports.values()):
            if device in port.devices:
                sent = port.queue_down(data) or sent
        if sent:
            self._poke()
        return sent

    def hears(self, device: bytes) -> bool:
        """Whether a device was heard on a line that is open."""
        return any(device in port.devices for port in list(self._ports.values()))

    def state(self) -> list[dict[str, Any]]:
        """What `tally gateway status` shows, a row a port."""
        rows = [port.state() for port in list(self._ports.values())]
        return sorted(rows + list(self._gone.values()), key=lambda row: str(row["port"]))

    def _poke(self) -> None:
        with contextlib.suppress(BlockingIOError):  # it is awake already
            os.write(self._wake, b"x")

    # --- the thread -------------------------------------------------------------------------

    def run(self) -> None:
        """Serve all ports until stopped."""
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:  # noqa: BLE001 - a defect of ours must not end the gateway
                _log.exception("the serial ports' thread failed and goes on")
                self._stopping.wait(limits.SERIAL_RESCAN_S)
        for path in list(self._ports):
            self._drop(path, "stopped")

    def stop(self) -> None:
        """End the thread; it closes the ports."""
        self._stopping.set()
        self._poke()

    def close(self) -> None:
        """Give the rest back, when no thread uses it any more."""
        os.close(self._woken)
        os.close(self._wake)

    def _turn(self) -> None:
        if time.monotonic() - self._scanned_s >= limits.SERIAL_RESCAN_S:
            self._scanned_s = time.monotonic()
            self._scan()
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        for port in self._ports.values():
            poll.register(port.fd, select.POLLIN | (select.POLLOUT if port.blocked else 0))
        ready = {fd for fd, _ in poll.poll(limits.SERIAL_TICK_MS)}
        if self._woken in ready:
            os.read(self._woken, limits.SERIAL_SLICE_BYTES)
        for path, port in list(self._ports.items()):
            try:
                if port.fd in ready:
                    port.read()
                self._deliver(port)
                port.write()
            except (OSError, TransportError) as error:
                self._drop(path, str(error))

    def _deliver(self, port: SerialPort) -> None:
        while port.line.messages:
            payload = port.line.messages[0]
            device = device_of(payload)
            # Without one it is refused as of a wrong topic, and counted, by the core.
            topic = "" if device is None else f"{self._prefix}/{device_text(device)}/up"
            # Before the message: its answer must find the way down.
            if device is not None:
                port.heard(device)
            if not self._inbox.offer(Delivery(Message(topic, payload), 0, 0, 0)):
                return
            port.line.messages.pop(0)
            port.taken += 1

    # --- coming and going -------------------------------------------------------------------

    def _scan(self) -> None:
        found: dict[str, int] = {}
        missing = set()
        for item in self._config:
            # One port may have several names, of which only one can be opened.
            names = glob.glob(item.port)  # noqa: PTH207 - absolute
            for path in sorted({os.path.realpath(name) for name in names}):
                found.setdefault(path, item.baud)
            # One that a pattern found and that is away is no trouble; one that was named is.
            if not names and not glob.has_magic(item.port):
                missing.add(item.port)
        for path in [path for path in self._gone if path not in found and path not in missing]:
            del self._gone[path]
        for path in missing:
            self._say_gone(path, "is not there")
        for path in [path for path in self._ports if path not in found]:
            self._drop(path, "unplugged")
        for path, baud in list(found.items())[: limits.SERIAL_PORTS_MAX]:
            if path not in self._ports:
                self._open(path, baud)

    def _open(self, path: str, baud: int) -> None:
        try:
            self._ports[path] = SerialPort(path, baud)
        except (OSError, ValueError, TransportError) as error:
            self._say_gone(path, str(error))
            return
        self._gone.pop(path, None)
        _log.info("port opened", port=path)

    def _drop(self, path: str, why: str) -> None:
        self._ports.pop(path).close()
        _log.warning("port closed", port=path, why=why)

    def _say_gone(self, path: str, error: str) -> None:
        row = {"port": path, "open": False, "session": False, "error": error}
        if self._gone.get(path) != row:
            self._gone[path] = row
            _log.warning("port not usable", port=path, error=error)
