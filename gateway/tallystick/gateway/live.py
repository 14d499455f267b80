"""What the running gateway tells its page; asked from the page's threads, answered without waiting.

A part that is about to be replaced gives its old answer: nothing here is promised to anybody.
"""

from typing import TYPE_CHECKING, Any

from tallystick.gateway.capacity import Capacity
from tallystick.gateway.config import Config

if TYPE_CHECKING:
    from tallystick.gateway.service import Gateway


class GatewayLive:
    """The page's view of one gateway (pagewatch.Live)."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway

    def state(self) -> dict[str, Any]:
        """What changes from moment to moment."""
        gateway = self._gateway
        return {
            "running": gateway.running,
            "connected": gateway.broker.subscribed,
            "broker_error": gateway.broker.error,
            "store_error": gateway.worker.store_error,
            "key_error": gateway.signing.error,
            "not_taken": gateway.broker.dropped,
            "not_sent_down": gateway.broker.down_dropped + gateway.down.dropped,
            "clients_replaced": gateway.broker.replaced,
            "connections_lost": gateway.broker.lost,
            "sessions_lost": gateway.broker.sessions_lost,
            "duplicates": gateway.broker.duplicates,
            "parked_dropped": gateway.worker.parked_dropped,
            "verify": gateway.ahead.told(),
            "config_error": gateway.reloading.error,
        }

    def capacity(self) -> Capacity:
        """How full the store is."""
        return self._gateway.worker.capacity

    def config(self) -> Config:
        """What is in force now; another one after a reload."""
        return self._gateway.config

    def urls(self) -> dict[str, str]:
        """Validators by name."""
        return {way.peer.config.name: way.peer.config.url for way in self._gateway.ways}

    def circuits(self) -> dict[str, dict[str, Any]]:
        """Validators' circuits by name (circuit.py)."""
        return {part.name: part.circuit.told() for part in self._gateway.forwarders}

    def peers(self) -> list[dict[str, Any]]:
        """Imported peers."""
        return self._gateway.circle.told()

    def beat_s(self) -> float:
        """When the ingest worker took its last turn."""
        return self._gateway.worker.beat_s
