"""A gateway of a site: its folder, its configuration, and the gateway in this process."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from support.devices import Device, Fleet, write_key
from support.gateways import kind_of
from tallystick.evidence import cbor, enrolment
from tallystick.evidence.keys import PublicKey, device_text
from tallystick.gateway.config import Config, load
from tallystick.gateway.service import Gateway
from tallystick.gateway.status import status

WAIT_S = 60.0


def until(true: Callable[[], Any], what: str = "it", wait_s: float = WAIT_S) -> Any:
    """Wait until something is true, and give it; a failure says what was waited for."""
    end_s = time.monotonic() + wait_s
    while time.monotonic() < end_s:
        found = true()
        if found:
            return found
        time.sleep(0.02)
    message = f"waited {wait_s:.0f} s for {what}"
    raise AssertionError(message)


class Site:
    """A folder with everything that `tally gateway run` needs."""

    def __init__(
        self,
        folder: Path,
        fleet: Fleet,
        broker_port: int,
        name: str = "dock-north",
        validators: str = "",
        limits: str = "",
    ) -> None:
        self.fleet = fleet
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        signer, self.credential = fleet.member(name, enrolment.SUBJECT_GATEWAY)
        write_key(folder / "key", signer)
        self.key: PublicKey = signer.public_key()
        (folder / "credential.cbor").write_bytes(cbor.encode(list(self.credential)))
        self.path = folder / "gateway.toml"
        self.path.write_text(
            f"""
name = "{name}"
fleet = "{fleet.name}"
key = "file:key"
credential = "credential.cbor"
store = "gateway.sqlite"
roots = ["{fleet.root_line}"]
enrolments = "enrolments"

[broker]
url = "mqtt://127.0.0.1:{broker_port}"
{validators}
{limits}
"""
        )
        (folder / "enrolments").mkdir(exist_ok=True)
        self.folder = folder
        self.reload = threading.Event()  # as SIGHUP sets it

    @property
    def config(self) -> Config:
        return load(self.path)

    def with_prefix(self, prefix: str) -> None:
        """A topic prefix of its own, so that tests may share a broker."""
        text = self.path.read_text().replace("[broker]", f'[broker]\nprefix = "{prefix}"')
        self.path.write_text(text)

    def enrol(self, device: Device) -> None:
        """Put a device's credential into the enrolments folder."""
        file = self.folder / "enrolments" / f"{device.text}.cbor"
        file.write_bytes(cbor.encode(list(device.credential)))

    @contextlib.contextmanager
    def running(self, **changed: Any) -> Iterator[Gateway]:
        """The gateway in this process, connected."""
        config = replace(self.config, **changed)
        gateway = Gateway(config)
        stop = threading.Event()
        watch = threading.Thread(
            target=gateway.watch,
            args=(stop,),
            kwargs={"reload": self.reload},
            daemon=True,
        )
        try:
            gateway.start()
            watch.start()
            until(lambda: gateway.broker.subscribed, "the subscription")
            yield gateway
        finally:
            stop.set()
            watch.join(WAIT_S)
            gateway.stop()

    def status(self) -> dict[str, Any]:
        """What `tally gateway status --json` says."""
        return status(self.config)

    def refused(self, reason: str) -> int:
        """How often something was refused for this reason."""
        return int(self.status()["refused"].get(reason, {"count": 0})["count"])


class Radio:
    """A device's MQTT side: publishes to its own topic, keeps what comes down."""

    def __init__(self, port: int, device: Device, prefix: str = "tallystick/1") -> None:
        self.device = device
        self.prefix = prefix
        self.down: list[bytes] = []
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=f"test-{time.monotonic_ns()}"
        )
        self._client.max_inflight_messages_set(0)
        self._client.on_message = lambda _client, _data, message: self.down.append(
            bytes(message.payload)
        )
        subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(f"{prefix}/{device.text}/down", qos=1)
        if not subscribed.wait(WAIT_S):
            message = "no subscription"
            raise AssertionError(message)

    def __enter__(self) -> "Radio":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def topic(self) -> str:
        return f"{self.prefix}/{device_text(self.device.id)}/up"

    def up(self, *messages: bytes, topic: str | None = None, retain: bool = False) -> None:
        """Publish, and wait until the broker has it."""
        sent = [self._client.publish(topic or self.topic, m, 1, retain) for m in messages]
        for info in sent:
            info.wait_for_publish(WAIT_S)

    def of_kind(self, kind: int) -> list[bytes]:
        """What came down of one kind of message (not of signed statements)."""
        return [data for data in list(self.down) if kind_of(data) == kind]

    def statements(self) -> list[bytes]:
        """The signed statements that came down."""
        return [data for data in list(self.down) if data[0] == 0xD2]
