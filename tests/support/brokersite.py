"""A fleet whose broker `tally gateway broker-config` configured, and clients that attack it."""

import os
import ssl
import threading
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from click.testing import CliRunner, Result
from paho.mqtt.enums import CallbackAPIVersion

from support.site import until
from tallystick.gateway.config import load
from tallystick.gateway.service import Gateway
from tallystick.tools._ports import free_port
from tallystick.tools.fleetdir import Fleet, Member
from tallystick.tools.main import cli
from tallystick.tools.mosquitto import Mosquitto

S_MAX = 60.0


def run(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def good(*words: object) -> str:
    done = run(*words)
    assert done.exit_code == 0, done.output
    return done.output


class Site:
    """A fleet with a gateway and two robots, and the broker that the command configured."""

    def __init__(self, folder: Path) -> None:
        self.fleet = folder / "acme"
        self.port = free_port()
        Fleet.init(self.fleet, "acme")
        good("fleet", "enroll", self.fleet, "gw-1", "--kind", "gateway", "--broker", "mqtt://old")
        for label in ("robot-1", "robot-2"):
            good("fleet", "enroll", self.fleet, label, "--broker", "mqtt://old")
        self.said = self.configure()

    def configure(self, *options: object) -> str:
        kept = self.fleet.parent / "kept"
        kept.mkdir(exist_ok=True)
        return good(
            "gateway", "broker-config", self.fleet, "--host", "localhost", "--host", "127.0.0.1",
            "--port", self.port, "--bind", "127.0.0.1", "--persistence", kept, *options,
        )  # fmt: skip

    @property
    def files(self) -> Path:
        return self.fleet / "broker"

    def member(self, label: str) -> Member:
        return next(m for m in Fleet.open(self.fleet).members() if m.label == label)

    def client(self, label: str, **given: Any) -> "Client":
        member = self.member(label)
        return Client(self, member.path / "broker.pem", member.path / "broker.key", **given)

    def gateway(self) -> Gateway:
        return Gateway(load(self.member("gw-1").path / "gateway.toml"))


class Written(Mosquitto):
    """The broker with the written configuration, and nothing of the tests' own but its user."""

    def __init__(self, folder: Path, site: Site, port: int | None = None) -> None:
        super().__init__(folder, port or site.port)
        self._site = site

    def _configuration(self) -> str:
        text = (self._site.files / "mosquitto.conf").read_text()
        text = text.replace(f"listener {self._site.port} ", f"listener {self.port} ")
        return text + ("user root\n" if os.getuid() == 0 else "")


class Client:
    """One MQTT client with one certificate; `heard` is what came."""

    def __init__(
        self, site: Site, cert: Path | None, key: Path | None, name: str = "x", v5: bool = False
    ) -> None:
        protocol = mqtt.MQTTv5 if v5 else mqtt.MQTTv311
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=protocol)
        context = ssl.create_default_context(cafile=site.files / "ca.pem")
        if cert is not None and key is not None:
            context.load_cert_chain(cert, key)
        self._client.tls_set_context(context)
        self._port = site.port
        self.heard: list[tuple[str, bytes]] = []
        self.reasons: list[str] = []
        self.failed = False
        self._answered = threading.Event()
        self.gone = threading.Event()
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = lambda *_: self.gone.set()
        self._client.on_message = lambda _c, _d, m: self.heard.append((m.topic, bytes(m.payload)))
        self._client.on_publish = lambda _c, _d, _m, reason, _p: self.reasons.append(str(reason))

    def _on_connect(self, _c: Any, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.failed = reason.is_failure
        self._answered.set()

    def __enter__(self) -> "Client":
        self._client.connect("localhost", self._port)
        self._client.loop_start()
        assert self._answered.wait(S_MAX)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def taken(self) -> bool:
        """Whether the broker takes it at all; TLS 1.3 says no after the handshake."""
        try:
            self._client.connect("localhost", self._port)
        except OSError:
            return False
        self._client.loop_start()
        until(lambda: self._answered.is_set() or self.gone.is_set(), "an answer")
        self._client.disconnect()
        self._client.loop_stop()
        return self._answered.is_set() and not self.failed

    def hear(self, topic: str) -> None:
        done = threading.Event()
        self._client.on_subscribe = lambda *_: done.set()
        self._client.subscribe(topic, qos=1)
        assert done.wait(S_MAX)

    def say(self, topic: str, data: bytes) -> None:
        self._client.publish(topic, data, qos=1).wait_for_publish(S_MAX)

    def throw(self, topic: str, data: bytes, *, retain: bool = False) -> None:
        """Publish what the broker must not take."""
        self._client.publish(topic, data, qos=1, retain=retain)
