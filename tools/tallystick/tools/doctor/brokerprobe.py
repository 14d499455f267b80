"""A running broker, looked at from outside: who may connect, and what a client may do there.

MQTT 5 tells what 3.1.1 hides (limits, a publish that is denied). Nothing that is sent here reaches
a gateway unless the access list is wrong, and then it is refused and counted there.
"""

import secrets
import socket
import ssl
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from cryptography import x509
from paho.mqtt.enums import CallbackAPIVersion

from tallystick.evidence.errors import TransportError
from tallystick.evidence.keys import device_text
from tallystick.gateway.config import BrokerConfig
from tallystick.tools.brokerfiles import settings
from tallystick.tools.brokerfiles.members import DOCTOR_CERT, DOCTOR_KEY
from tallystick.tools.doctor.findings import Finding, bad, good, not_checked, risk

ANSWER_S_MAX = 5.0
_ID_BYTES = 32


def identity(config: BrokerConfig, folder: Path) -> BrokerConfig | None:
    """The connection under the doctor's own name; None where it has no certificate."""
    cert, key = folder / DOCTOR_CERT, folder / DOCTOR_KEY
    if not config.tls or not cert.is_file() or not key.is_file():
        return None
    return replace(config, cert=cert, key=key, client_id=settings.DOCTOR, username=None)


class Probe:
    """One MQTT 5 connection; a context manager. `taken` says whether the broker took it."""

    def __init__(self, config: BrokerConfig) -> None:
        self._config = config
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=config.client_id, protocol=mqtt.MQTTv5
        )
        if config.username is not None:
            word = None if config.password_file is None else config.password_file.read_text()
            client.username_pw_set(config.username, word.strip() if word else None)
        if config.tls:
            context = ssl.create_default_context(cafile=config.ca)
            if config.cert is not None:
                context.load_cert_chain(config.cert, config.key)
            client.tls_set_context(context)
        self._client = client
        self._answered = threading.Event()
        self._ended = threading.Event()
        self._published = threading.Event()
        self._denied = False
        self.refusal = ""
        self.reached = True  # a broker was there to say yes or no
        self.taken = False
        self.limits: dict[str, Any] = {}

    def __enter__(self) -> "Probe":
        client = self._client
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        try:
            client.connect(self._config.host, self._config.port)
        except OSError as error:
            # A TLS alert comes so: it says no before MQTT begins.
            self.refusal = str(error)
            self.reached = _said_no(error)
            return self
        client.loop_start()
        for _ in range(int(ANSWER_S_MAX / 0.05)):
            if self._answered.wait(0.05) or self._ended.is_set():
                # Without TLS a broker says no by a CONNACK; within, one may hang up on who shows
                # no certificate.
                self.reached = self._config.tls or self._answered.is_set()
                break
        else:
            self.refusal, self.reached = "it takes connections and says nothing", False
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, _c: Any, _d: Any, _f: Any, reason: Any, properties: Any) -> None:
        self.taken = not reason.is_failure
        self.refusal = str(reason) if reason.is_failure else ""
        self.limits = {} if properties is None else dict(properties.json())
        self._answered.set()

    def _on_disconnect(self, _c: Any, _d: Any, _f: Any, reason: Any, _p: Any) -> None:
        self.refusal = self.refusal or str(reason)
        self._ended.set()

    def _on_publish(self, _c: Any, _d: Any, _mid: int, reason: Any, _p: Any) -> None:
        self._denied = reason.is_failure
        self._published.set()

    def denied(self, topic: str) -> bool:
        """Whether a publish is refused; TransportError where nobody answers."""
        self._client.publish(topic, b"", qos=1)
        if not self._published.wait(ANSWER_S_MAX):
            raise TransportError("no-answer", "the broker does not answer a publish")
        return self._denied


def _said_no(error: OSError) -> bool:
    # One that is not there, that we do not believe, or that speaks no TLS, refuses nobody: only an
    # alert is a no.
    unclear = (ssl.SSLCertVerificationError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    alert = "ALERT" in (getattr(error, "reason", None) or "")
    return isinstance(error, ssl.SSLError) and alert and not isinstance(error, unclear)


def look(config: BrokerConfig, folder: Path) -> list[Finding]:
    """Everything that can be seen of a broker; folder: where gateway.toml lies."""
    own = identity(config, folder)
    stranger, away = _anonymous(config)
    if away:
        return [
            not_checked(name, f"nobody answers ({away})", "start it, or correct broker.url and ca")
            for name in ("anonymous clients", "retained messages", "packet limit", "access list")
        ]
    if own is not None:
        return [stranger, *_limits(own, other=True), _access(own)]
    unseen = ["access list"]
    found = [stranger]
    if config.cert is None:
        found += _limits(config, other=False)
    else:
        # The certificate names the client: with the gateway's we would take its connection.
        unseen = ["retained messages", "packet limit", *unseen]
    found += [
        not_checked(
            name,
            f"there is no {DOCTOR_CERT} beside gateway.toml to look with",
            "tally gateway broker-config writes one",
        )
        for name in unseen
    ]
    return found


def _anonymous(config: BrokerConfig) -> tuple[Finding, str]:
    # What it is, and why it was not to be seen, where it was not.
    stranger = replace(
        config, cert=None, key=None, username=None, password_file=None, client_id=_name()
    )
    with Probe(stranger) as probe:
        if not probe.taken:
            away = "" if probe.reached else probe.refusal
            return good("anonymous clients", f"refused ({probe.refusal})"), away
    return bad(
        "anonymous clients",
        "the broker takes a client without certificate, user and password",
        "allow_anonymous false, require_certificate true; `tally gateway broker-config`",
    ), ""


def _limits(config: BrokerConfig, *, other: bool) -> list[Finding]:
    with Probe(config if other else replace(config, client_id=_name())) as probe:
        if not probe.taken:
            if config.protocol == "5":
                return [bad("MQTT 5", f"refused ({probe.refusal})", 'broker.protocol = "3.1.1"')]
            return [
                not_checked(
                    "retained messages",
                    f"the broker refuses MQTT 5 ({probe.refusal})",
                    "nothing, where it speaks 3.1.1 only; else see its log",
                )
            ]
        limits = probe.limits
    found = []
    if limits.get("RetainAvailable", 1):
        found.append(risk("retained messages", "are kept", "retain_available false"))
    else:
        found.append(good("retained messages", "refused"))
    size = int(limits.get("MaximumPacketSize", 0))
    if not size:
        advice = f"max_packet_size {settings.PACKET_BYTES_MAX}"
        found.append(risk("packet limit", "there is none that it tells", advice))
    elif size < settings.PACKET_BYTES_MAX:
        advice = f"max_packet_size {settings.PACKET_BYTES_MAX} or more"
        found.append(bad("packet limit", f"{size} bytes: a segment may not pass", advice))
    else:
        found.append(good("packet limit", f"{size} bytes"))
    return found


def _access(config: BrokerConfig) -> Finding:
    topic = f"{config.prefix}/{device_text(secrets.token_bytes(_ID_BYTES))}/up"
    with Probe(config) as probe:
        if not probe.taken:
            return not_checked(
                "access list",
                f"the broker refuses the doctor's certificate ({probe.refusal})",
                "bring the access list that broker-config wrote, and send the broker SIGHUP",
            )
        if probe.denied(topic):
            return good("access list", "a client cannot publish for a device that it is not")
    return bad(
        "access list",
        "a client may publish for every device",
        "acl_file with `pattern write PREFIX/%u/up`; `tally gateway broker-config` writes it",
    )


def server_certificate(config: BrokerConfig) -> x509.Certificate | None:
    """What the broker shows; None without TLS. OSError where the handshake fails."""
    if not config.tls:
        return None
    context = ssl.create_default_context(cafile=config.ca)
    if config.cert is not None:
        context.load_cert_chain(config.cert, config.key)
    return x509.load_der_x509_certificate(_shown(context, config))


def _shown(context: ssl.SSLContext, config: BrokerConfig) -> bytes:
    with (
        socket.create_connection((config.host, config.port), ANSWER_S_MAX) as plain,
        context.wrap_socket(plain, server_hostname=config.host) as secured,
    ):
        found = secured.getpeercert(binary_form=True)
    return found or b""


def _name() -> str:
    return f"tally-doctor-{secrets.token_hex(4)}"
