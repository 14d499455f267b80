"""A gateway's page without its server: looks at the real gateway, by a clock of the test's."""

import time
from dataclasses import dataclass, field
from typing import Any

from support.devices import WALL_MS, Device, Fleet
from tallystick.evidence.credential import Credential, verify_credential
from tallystick.gateway.conditions import Thresholds
from tallystick.gateway.live import GatewayLive
from tallystick.gateway.pagestate import Condition
from tallystick.gateway.pagewatch import Look, Watch
from tallystick.gateway.service import Gateway

DAY_S = 86_400.0


def wall_ms() -> int:
    """This machine's time."""
    return time.time_ns() // 1_000_000


def on_time(device: Device, ahead_ms: int = 0) -> Device:
    """Set a device's clock to now, or so far ahead; its heads tell WALL_MS and its uptime."""
    device.uptime_ms = max(device.uptime_ms, wall_ms() + ahead_ms - WALL_MS)
    return device


def tagged(fleet: Fleet, name: str, tag: str, **details: Any) -> Device:
    """A device with an asset tag, and its clock right."""
    device = fleet.device(name)
    device.credential = fleet.enrol(device.signer, details={"asset_tag": tag, **details})
    verify_credential(Credential(device.credential), fleet.roots)
    return on_time(device)


@dataclass
class Looking:
    """`look(after_s)`: what the page would show so much later."""

    gateway: Gateway
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        gateway = self.gateway
        self.watch = Watch(
            gateway.config.roots,
            gateway.store.reader,
            GatewayLive(gateway),
            "test",
            self.thresholds,
        )

    def look(self, after_s: float = 0.0, jump_s: float = 0.0) -> Look:
        """jump_s: how far the wall clock was set meanwhile."""
        now_ms = wall_ms() + round(1000 * (after_s + jump_s))
        return self.watch.look(now_ms, time.monotonic() + after_s)

    def holding(self, after_s: float = 0.0, jump_s: float = 0.0) -> dict[str, Condition]:
        """The conditions that hold then, by name."""
        return {one.name: one for one in self.look(after_s, jump_s).status.conditions}

    def names(self, after_s: float = 0.0, jump_s: float = 0.0) -> set[str]:
        """Their names."""
        return set(self.holding(after_s, jump_s))

    def close(self) -> None:
        """Give the connection back."""
        self.watch.stop()
        self.watch.run()  # stopped, it only closes
