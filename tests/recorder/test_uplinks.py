"""Recorders over a real Mosquitto: paho on CPython, umqtt on MicroPython, plain and with TLS."""

import datetime as dt
import ipaddress
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion

from support.station import Fleet, Station, read_credential
from tallystick.evidence import record
from tallystick.evidence.decision import Decision
from tallystick.evidence.keys import device_text
from tallystick.recorder import Recorder
from tallystick.tools import device_library as library
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

ROBOT = Path(__file__).parent / "robot.py"
ANSWER_S = 20


class Gateway:
    """The station behind a broker: an answer for every message of its device."""

    def __init__(self, broker: Mosquitto, station: Station, ca: Path | None = None) -> None:
        self.station = station
        self.errors: list[Exception] = []
        self.subscribed = threading.Event()
        name = device_text(station.device)
        self.up, self.down = f"tallystick/1/{name}/up", f"tallystick/1/{name}/down"
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id="gw-" + name[:8], clean_session=False
        )
        self.client.reconnect_delay_set(1, 1)
        if ca is not None:
            self.client.tls_set(str(ca / "ca.pem"), str(ca / "c.pem"), str(ca / "c.key"))
        self.client.on_connect = lambda client, *_: client.subscribe(self.up, qos=1)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self.message
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()

    def message(self, client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
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
        (records,) = self.station.records.values()
        parsed = [record.parse(item) for item in records]
        return [one.inputs["n"] for one in parsed if isinstance(one, Decision)]


def made(fleet: Fleet, broker: Mosquitto, folder: Path, **settings: Any) -> tuple[Path, Station]:
    scheme = "mqtts" if "tls" in settings else "mqtt"
    uplink = f"{scheme}://{broker.host}:{broker.port}"
    config = fleet.device("one", uplink=uplink, **{"checkpoint_records": 16, **settings})
    path = folder / "tallystick.json"
    path.write_text(json.dumps(config))
    return path, Station(fleet, read_credential(config))


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path / "fleet")


def run_cpython(config: Path, count: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, str(ROBOT), str(config), str(count)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def run_micropython(
    interpreter: MicroPython, device: Path, config: Path, count: int
) -> "subprocess.CompletedProcess[str]":
    paths = [device, library.micropython_lib(["umqtt.simple"])]
    return interpreter.run(str(ROBOT), str(config), str(count), path=paths, timeout_s=90)


def test_paho(mosquitto: Mosquitto, fleet: Fleet, tmp_path: Path) -> None:
    config, station = made(fleet, mosquitto, tmp_path)
    with Gateway(mosquitto, station) as gateway:
        done = run_cpython(config, 300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(300))


def test_umqtt_64_bits(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, mosquitto, tmp_path)
    with Gateway(mosquitto, station) as gateway:
        done = run_micropython(micropython64, device_library, config, 300)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(300))


def test_umqtt_32_bits(
    mosquitto: Mosquitto,
    fleet: Fleet,
    tmp_path: Path,
    micropython32: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, mosquitto, tmp_path)
    with Gateway(mosquitto, station) as gateway:
        done = run_micropython(micropython32, device_library, config, 100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(100))


@pytest.mark.usefixtures("mosquitto")  # which skips where there is none
def test_a_killed_broker_loses_nothing(fleet: Fleet, tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker:
        config, station = made(fleet, broker, tmp_path, resend_s=1)
        gateway = Gateway(broker, station)
        with gateway:
            tally = Recorder.open(str(config))
            for number in range(400):
                tally.decision("m@1", {"n": number})
                if number == 200:
                    broker.kill()
                    broker.start()
            tally.flush()
            wait = threading.Event()
            for _ in range(400):
                if not tally.backlog():
                    break
                wait.wait(0.1)
            assert not tally.backlog(), tally.health.as_dict()
            tally.close()
            assert gateway.decisions() == list(range(400))


# TLS.


def certificate(
    folder: Path, name: str, issuer: str | None, key: ec.EllipticCurvePrivateKey
) -> None:
    now = dt.datetime.now(dt.timezone.utc)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    signer = key
    issuer_name = subject
    if issuer is not None:
        loaded = serialization.load_pem_private_key((folder / f"{issuer}.key").read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        signer = loaded
        issuer_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    if name == "s":
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signed = builder.sign(signer, hashes.SHA256())
    (folder / f"{name}.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    folder = tmp_path / "tls"
    folder.mkdir()
    for name, issuer in (("ca", None), ("other", None), ("s", "ca"), ("c", "ca")):
        certificate(folder, name, issuer, ec.generate_private_key(ec.SECP256R1()))
    return folder


@pytest.fixture
def tls_broker(tmp_path: Path, tls: Path, mosquitto: Mosquitto) -> Iterator[Mosquitto]:
    lines = (f"cafile {tls}/ca.pem", f"certfile {tls}/s.pem", f"keyfile {tls}/s.key")
    settings = "\n".join((*lines, "require_certificate true", ""))
    with Mosquitto(tmp_path / "broker", settings=settings) as broker:
        yield broker


def tls_paths(folder: Path, ca: str) -> dict[str, str]:
    return {
        "ca": str(folder / f"{ca}.pem"),
        "cert": str(folder / "c.pem"),
        "key": str(folder / "c.key"),
    }


def test_paho_tls(tls_broker: Mosquitto, tls: Path, fleet: Fleet, tmp_path: Path) -> None:
    config, station = made(fleet, tls_broker, tmp_path, tls=tls_paths(tls, "ca"))
    with Gateway(tls_broker, station, tls) as gateway:
        done = run_cpython(config, 50)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(50))


def test_umqtt_tls(
    tls_broker: Mosquitto,
    tls: Path,
    fleet: Fleet,
    tmp_path: Path,
    micropython32: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, tls_broker, tmp_path, tls=tls_paths(tls, "ca"))
    with Gateway(tls_broker, station, tls) as gateway:
        done = run_micropython(micropython32, device_library, config, 100)
        assert done.returncode == 0, done.stdout + done.stderr
        assert gateway.decisions() == list(range(100))


def test_umqtt_refuses_a_broker_by_another_authority(
    tls_broker: Mosquitto,
    tls: Path,
    fleet: Fleet,
    tmp_path: Path,
    micropython64: MicroPython,
    device_library: Path,
) -> None:
    config, station = made(fleet, tls_broker, tmp_path, tls=tls_paths(tls, "other"))
    (tmp_path / "once.py").write_text(
        "import sys, time\n"
        "from tallystick.recorder import Recorder\n"
        "tally = Recorder.open(sys.argv[1])\n"
        "for _ in range(40):\n"
        "    tally.poll()\n"
        "    time.sleep(0.05)\n"
        "print(tally.health.connected, tally.health.faults)\n"
    )
    paths = [device_library, library.micropython_lib(["umqtt.simple"])]
    done = micropython64.run(str(tmp_path / "once.py"), str(config), path=paths)
    assert done.stdout.startswith("False {'uplink:bad-tls'"), done.stdout + done.stderr
    assert station.hellos == []
