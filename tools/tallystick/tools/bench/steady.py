"""`tally bench record --steady N`: N decisions on 32-bit MicroPython; free memory must not fall.

Twice: the recorder alone, and with its key in a virtual ATECC608 and MQTT over TLS, with
certificates on both sides, to a real Mosquitto and a real gateway whose custody receipts the chip
checks. The library is a board's, compiled. TLS's own heap, in C, lies beside MicroPython's here.
"""

import datetime as dt
import ipaddress
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tallystick.evidence.keys import ES256
from tallystick.hw.signer import Signer
from tallystick.tools import device_library, micropython, provision
from tallystick.tools._ports import free_port
from tallystick.tools.bench import held, record
from tallystick.tools.bench.result import BenchFailed
from tallystick.tools.fleetdir import Fleet
from tallystick.tools.mosquitto import Mosquitto
from tallystick.tools.replay.processes import Processes

ALONE_KIB = 64
LINKED_KIB = 96
# Alone nobody takes custody of anything: the journal holds all of it.
ALONE_JOURNAL_BYTES = 1 << 26
LINKED_JOURNAL_BYTES = 1 << 20
MODULES = ("steady_robot",)
# Also for a broker that is restarted meanwhile, on a busy machine.
START_S_MAX = 180.0
# A decision takes 2 ms in a heap that is nearly full, and more where others compute too.
DECISION_S_MAX = 0.02
DAY = dt.timedelta(days=1)
NAMES = ("records", "dropped", "checkpoints", "custody", "backlog")


@dataclass(frozen=True)
class Steady:
    """One run. least, most: bytes free in each tenth of it."""

    what: str
    heap_bytes: int
    decisions: int
    seconds: float
    records: int
    dropped: int
    checkpoints: int
    custody: int
    backlog: int
    least: list[int]
    most: list[int]
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def fell_bytes(self) -> int:
        """How much less was free at the end than before the middle, while nothing was under way."""
        early = [found for found in self.most[1:5] if found]
        late = [found for found in self.most[5:] if found]
        return min(early) - late[-1]

    def object(self) -> dict[str, Any]:
        """For the JSON object."""
        return {**self.__dict__, "fell_bytes": self.fell_bytes}


def run(folder: Path, decisions: int, linked_kib: int = LINKED_KIB) -> Iterator[Steady]:
    """Both, one after the other, in a new folder."""
    fleet = Fleet.init(folder / "fleet", "steady")
    yield alone(folder, fleet, decisions)
    with site(folder, fleet) as (config, _):
        yield linked(folder, config, decisions, linked_kib)


def linked(
    folder: Path, config: Path, decisions: int, kib: int = LINKED_KIB, *, rest: bool = True
) -> Steady:
    """With the configuration of a site(). `rest`: look at what is free with nothing under way."""
    return _run("chip-tls", folder, config, decisions, kib, "linked", *(["rest"] if rest else []))


def alone(folder: Path, fleet: Fleet, decisions: int, kib: int = ALONE_KIB) -> Steady:
    """The recorder, its key in a file, no uplink."""
    member = fleet.enrol("device", "alone")
    settings = {"uplink": None, "journal_bytes": ALONE_JOURNAL_BYTES}
    config = provision.device(
        fleet, member, uplink="", namespace="bench", profiles=[], settings=settings
    )
    return _run("alone", folder, config, decisions, kib, "rest")


def _run(what: str, folder: Path, config: Path, decisions: int, kib: int, *words: str) -> Steady:
    found = micropython.find(32)
    box = folder / what
    # As on a board: short paths, since MicroPython keeps each module's in its heap.
    box.mkdir()
    (box / "lib").symlink_to(record.library(MODULES))
    (box / "mqtt").symlink_to(device_library.micropython_lib(board=True))
    shutil.copytree(config.parent, box / "robot")
    program = ("-m", "tallystick.tools.bench.steady_robot", "robot/tallystick.json")
    command = found.argv(*program, str(decisions), *words, heap=f"{kib}k")
    environment = {**os.environ, **found.environment([Path("lib"), Path("mqtt")])}
    began = time.monotonic()
    done = subprocess.run(
        command,
        cwd=box,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=START_S_MAX + decisions * DECISION_S_MAX,
        check=False,
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
        raise BenchFailed("bench-failed", f"{decisions} decisions in {kib} KiB ({what}): {said}")
    return read(what, kib, decisions, time.monotonic() - began, done.stdout)


def read(what: str, kib: int, decisions: int, seconds: float, text: str) -> Steady:
    """What steady_robot.py printed."""
    counts, least, most, *faults = [line.split() for line in text.splitlines()]
    return Steady(
        what,
        kib * 1024,
        decisions,
        round(seconds, 1),
        **dict(zip(NAMES, map(int, counts), strict=True)),
        least=[int(word) for word in least],
        most=[int(word) for word in most],
        faults={name: int(times) for name, times in faults},
    )


# The site of a robot with an uplink.


@contextmanager
def site(folder: Path, fleet: Fleet) -> Iterator[tuple[Path, Mosquitto]]:
    """Served chip, gateway, Mosquitto with TLS: the configuration of a robot, and the broker."""
    tls = folder / "tls"
    _certificates(tls)
    port = free_port()
    listener = (
        f"listener {port} 127.0.0.1\ncafile {tls}/ca.pem\ncertfile {tls}/server.pem\n"
        f"keyfile {tls}/server.key\nrequire_certificate true\n"
    )
    # The chip checks the gateway's receipts too: it knows P-256.
    gateway = fleet.enrol("gateway", "gateway", alg=ES256)
    with (
        held.served(folder / "chip", 0) as uri,
        Mosquitto(folder / "broker", settings=listener) as broker,
        Processes(folder / "logs") as processes,
    ):
        signer = Signer.from_uri(uri)
        try:
            # How it is held is not what is measured, and needs no evidence here.
            member = fleet.enrol("device", "linked", signer=signer, as_software=True)
        finally:
            signer.close()
        plain = provision.gateway(fleet, gateway, broker=f"mqtt://{broker.host}:{broker.port}")
        processes.tally("gateway", "gateway", "run", "--config", str(plain))
        for name in ("ca.pem", "client.pem", "client.key"):
            shutil.copy(tls / name, member.path / name)
        config = provision.device(
            fleet,
            member,
            uplink=f"mqtts://127.0.0.1:{port}",
            namespace="bench",
            profiles=[],
            settings={
                "key": uri,
                "journal_bytes": LINKED_JOURNAL_BYTES,
                "tls": {"ca": "ca.pem", "cert": "client.pem", "key": "client.key"},
            },
        )
        yield config, broker


def _certificates(folder: Path) -> None:
    """An authority of one run, and certificates of its broker and its robot."""
    folder.mkdir()
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = _named("authority")
    _write(folder / "ca", _builder("authority", issuer, authority, ca=True), authority, authority)
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(name, issuer, key, ca=False)
        if name == "server":
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        _write(folder / name, builder, key, authority)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _write(
    path: Path,
    builder: x509.CertificateBuilder,
    key: ec.EllipticCurvePrivateKey,
    authority: ec.EllipticCurvePrivateKey,
) -> None:
    made = builder.sign(authority, hashes.SHA256())
    path.with_suffix(".pem").write_bytes(made.public_bytes(Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    )
