"""A recorder's uplink straight into the real gateway's store, core and worker; no network."""

from pathlib import Path
from typing import Any

from support.devices import Device, Fleet
from support.gateways import MemoryGateway
from support.station import PROFILE
from tallystick.evidence import cbor
from tallystick.evidence.keys import b64u, device_text
from tallystick.recorder.giving import KINDS
from tallystick.recorder.memory_uplink import MemoryUplink


class RealGateway(MemoryUplink):
    """`exchange()` hands over what the device sent, and delivers what the gateway answers."""

    def __init__(self, folder: Path, name: str = "robot-1") -> None:
        super().__init__()
        self.fleet = Fleet("acme")
        self.device: Device = self.fleet.device(name)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.gateway = MemoryGateway(folder, self.fleet)
        self.gateway.know(self.device)
        # Every segment, as it was sent.
        self.segments: list[bytes] = []
        self._given = 0

    def config(self, **settings: Any) -> dict[str, Any]:
        """What `tally fleet enroll` would write; open it with `signer=link.device.signer`."""
        path = self._folder / "credential.cbor"
        path.write_bytes(cbor.encode(list(self.device.credential)))
        profiles = self._folder / "profiles"
        profiles.mkdir(exist_ok=True)
        (profiles / "handover@1.cbor").write_bytes(PROFILE.encode())
        key = self.gateway.key
        known = {"id": device_text(key.thumbprint()), "key": b64u(cbor.encode(key.cose_key()))}
        return {
            "fleet": self.fleet.name,
            "key": "file:given",
            "journal": str(self._folder / "journal"),
            "credential": str(path),
            "profiles": str(profiles),
            "roots": [self.fleet.root_line],
            "gateways": [known],
            "checkpoint_records": 8,
            "checkpoint_s": 0.05,
            "interval_s": 60,
            "resend_s": 0.4,
            **settings,
        }

    def exchange(self) -> None:
        """What went up reaches the gateway, and its answers the device."""
        for message in self.take():
            if message[1] == 13:
                self.segments.append(message)
            self.gateway.give(self.device, message)
        down = self.gateway.link.down
        for _, message in down[self._given :]:
            self.deliver(message)
        self._given = len(down)


def given_up(details: dict[str, Any]) -> int:
    """How many bodies a `gap` event tells."""
    return sum(details.get(kind, 0) for kind in KINDS)
