"""The station of tests/support/station.py behind a real broker."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from support.authority import Authority
from support.station import Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.evidence.keys import device_text
from tallystick.tools._ports import free_port
from tallystick.tools.mosquitto import Mosquitto

ANSWER_S = 60
PREFIX = "tallystick/1"
GATEWAY = "gateway"


class Gateway:
    """An answer for every message of the station's device; `authority`: over TLS."""

    def __init__(
        self,
        port: int,
        station: Station,
        authority: Authority | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.station = station
        self.errors: list[Exception] = []
        self.subscribed = threading.Event()
        name = device_text(station.device)
        self.up, self.down = f"{PREFIX}/{name}/up", f"{PREFIX}/{name}/down"
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="gw-" + name[:8], clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        if authority is not None:
            cert, key = authority.client(GATEWAY)
            self.client.tls_set(str(authority.file), str(cert), str(key))
        self.client.on_connect = lambda client, *_: client.subscribe(self.up, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.message
        self.client.connect(host, port)
        self.client.loop_start()

    def message(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        """Answer it."""
        try:
            assert not message.retain
            assert message.qos == 1
            for answer in self.station.answer(bytes(message.payload)):
                client.publish(self.down, answer, qos=1)
        except Exception as error:  # noqa: BLE001 -- shown by the test's end
            self.errors.append(error)

    def __enter__(self) -> "Gateway":
        assert self.subscribed.wait(ANSWER_S)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        assert self.errors == []

    def decisions(self) -> list[int]:
        """The number `n` of each decision, in the order of the log."""
        (records,) = self.station.records.values()
        parsed = [record.parse(item) for item in records]
        return [one.inputs["n"] for one in parsed if isinstance(one, Decision)]


def made(
    fleet: Fleet, uplink: str, folder: Path, name: str = "one", **settings: Any
) -> tuple[Path, Station]:
    """A device's configuration file, and the station for it."""
    # Room for what a program in a tight circle records between two polls.
    given = {"checkpoint_records": 16, "buffer_bytes": 1 << 18, **settings}
    config = fleet.device(name, uplink=uplink, **given)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(config))
    return path, Station(fleet, read_credential(config))


class SecureBroker(Mosquitto):
    """Mutual TLS on a port for each server certificate, and one port without TLS.

    The certificate's name is the user, and a device's user has its own topics and no others.
    """

    def __init__(
        self, folder: Path, authority: Authority, servers: Sequence[tuple[Path, Path]]
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        acl = folder / "acl"
        acl.write_text(
            f"user {GATEWAY}\ntopic readwrite {PREFIX}/#\n"
            f"pattern read {PREFIX}/%u/down\npattern write {PREFIX}/%u/up\n"
            f"pattern read {PREFIX}/halves/%u\npattern write {PREFIX}/halves/+\n"
        )
        acl.chmod(0o600)
        super().__init__(folder)
        self.ports = [free_port() for _ in servers]
        lines = [f"acl_file {acl}"]
        for port, (cert, key) in zip(self.ports, servers, strict=True):
            lines += [
                f"listener {port} {self.host}",
                f"cafile {authority.file}",
                f"certfile {cert}",
                f"keyfile {key}",
                "require_certificate true",
                "use_identity_as_username true",
            ]
        self.settings = "\n".join(lines)
