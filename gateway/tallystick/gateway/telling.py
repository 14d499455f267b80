"""What only the running process knows, written into the store for `tally gateway status`."""

import sqlite3
import time
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from tallystick.gateway import limits
from tallystick.gateway.store import meta, set_meta

if TYPE_CHECKING:
    from tallystick.gateway.service import Gateway

_log = structlog.get_logger("tallystick.gateway")
_LOST = ("not_taken", "not_sent_down", "clients_replaced", "sessions_lost")
_PORT = ("port", "open", "session", "error")
# Where a broker is shared, each message of another gateway's device moves one of these.
_COUNTS = ("left_to_others", "duplicates", "not_taken")


class Telling:
    """Of one gateway; for the thread that watches it."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self._told: dict[str, Any] = {}
        self._told_s = 0.0

    def remember(self) -> None:
        """What the process before this one knew of the broker."""
        reader = self._gateway.store.reader()
        try:
            state = msgspec.json.decode(meta(reader, "state") or b"{}")
        finally:
            reader.close()
        self._gateway.broker.session_at = str(state.get("session_at", ""))

    def turn(self) -> None:
        """Write it when it changed."""
        state = self.state()
        if state == self._told or self._only_counted(state):
            return
        try:
            with self._gateway.store.write_aside() as connection:
                set_meta(connection, "state", msgspec.json.encode(state))
        except sqlite3.Error as error:
            _log.error("the store fails", error=str(error))
            return
        lost = {name: state[name] for name in _LOST}
        if any(self._told.get(name, 0) != count for name, count in lost.items()):
            _log.warning("messages were dropped, or a client or a session was lost", **lost)
        self._told = state
        self._told_s = time.monotonic()

    def _only_counted(self, state: dict[str, Any]) -> bool:
        # Frames and messages are counted all the time, which is no reason for a COMMIT a second.
        if time.monotonic() - self._told_s >= limits.SERIAL_STATE_S or not state["running"]:
            return False
        return _links(state) == _links(self._told)

    def state(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        gateway = self._gateway
        broker = gateway.broker
        state = {
            "running": gateway.running,
            "connected": broker.subscribed,
            "store": gateway.worker.capacity.told(),
            "error": gateway.worker.store_error or gateway.signing.error or broker.error,
            "not_taken": broker.dropped,
            "not_sent_down": broker.down_dropped + gateway.down.dropped,
            "clients_replaced": broker.replaced,
            "sessions_lost": broker.sessions_lost,
            "duplicates": broker.duplicates,
            "session_at": broker.session_at,
            "left_to_others": broker.sharing.others,
            "parked_dropped": gateway.worker.parked_dropped,
            "reload_error": gateway.reloading.error,
            "circuits": {part.name: part.circuit.told() for part in gateway.forwarders},
        }
        if gateway.ahead.threads:
            state["verify"] = gateway.ahead.told()
        if gateway.config.serial:
            state["serial"] = gateway.serial.state()
        if gateway.config.peer_files is not None:
            state["circle"] = gateway.circle.told()
        if gateway.joining is not None:
            state["join"] = gateway.joining.state()
        return state


def _links(state: dict[str, Any]) -> dict[str, Any]:
    # What is told at once: all but counts.
    ports = [{name: row[name] for name in _PORT} for row in state.get("serial", [])]
    verify = {name: state.get("verify", {}).get(name) for name in ("running", "replaced")}
    level = state.get("store", {}).get("level")
    rest = {name: value for name, value in state.items() if name not in _COUNTS}
    return {**rest, "serial": ports, "store": level, "verify": verify}
