"""What ends on a day: the broker's certificates, and the enrolments of the gateway and others."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography import x509

from tallystick.evidence.credential import Credential, verify_credential
from tallystick.evidence.errors import Malformed
from tallystick.gateway.config import Config
from tallystick.tools._files import read_bytes
from tallystick.tools.brokerfiles.authority import days_left
from tallystick.tools.doctor.brokerprobe import server_certificate
from tallystick.tools.doctor.findings import Finding, bad, good, looked, risk

# Time enough to bring new ones to every robot.
DAYS_LOW = 30
FILE_BYTES_MAX = 1 << 16
DAY_S = 86_400
_RENEW = "call `tally gateway broker-config` again, and bring what it names to its members"


def look(config: Config, now_s: int | None = None) -> list[Finding]:
    """Every certificate and enrolment that this gateway rests on."""
    now_s = int(time.time()) if now_s is None else now_s
    broker = config.broker
    rows: list[tuple[str, Callable[[], int | None], str]] = []
    if broker.tls:
        rows.append(("broker's certificate", lambda: _server(config), _RENEW))
    for name, path in (("broker.ca", broker.ca), ("broker.cert", broker.cert)):
        if path is not None:
            rows.append((name, _file(path), _RENEW))
    for name, path in _others(config):
        if path is not None:
            rows.append((name, _file(path), "put a new one in its place"))
    enrol = "enrol it again under the same key: tally fleet enroll"
    rows.append(
        ("enrolment of this gateway", partial(_days, config, config.credential, now_s), enrol)
    )
    rows += [
        (
            f"enrolment of validator {item.name}",
            partial(_days, config, item.credential, now_s),
            "ask its operator for its new credential",
        )
        for item in config.validators
        if item.credential is not None
    ]
    return [
        finding
        for name, days, what_to_do in rows
        for finding in looked(name, _judged(name, days, what_to_do), what_to_do)
    ]


def _others(config: Config) -> list[tuple[str, Path | None]]:
    """Certificates that do not come from `broker-config`."""
    doors = (("join.cert", config.join), ("page.cert", config.page))
    rows = [(name, door.cert) for name, door in doors if door is not None]
    for item in config.validators:
        if item.tls is not None:
            rows.append((f"ca of validator {item.name}", item.tls.ca))
            rows.append((f"cert for validator {item.name}", item.tls.cert))
    return rows


def _judged(
    name: str, days: Callable[[], int | None], what_to_do: str
) -> Callable[[], list[Finding]]:
    def judge() -> list[Finding]:
        left = days()
        if left is None:
            return []
        if left < 0:
            return [bad(name, f"ended {-left} days ago", what_to_do)]
        if left < DAYS_LOW:
            return [risk(name, f"ends in {left} days", what_to_do)]
        return [good(name, f"valid for {left} days")]

    return judge


def _server(config: Config) -> int | None:
    found = server_certificate(config.broker)
    return None if found is None else days_left(found)


def _file(path: Path) -> Callable[[], int]:
    def read() -> int:
        try:
            found = x509.load_pem_x509_certificates(read_bytes(path, FILE_BYTES_MAX))
        except ValueError as error:
            raise Malformed("bad-value", f"{path} holds no certificate in PEM") from error
        return min(days_left(one) for one in found)

    return read


def _days(config: Config, statements: Sequence[bytes], now_s: int) -> int:
    identity = verify_credential(Credential(list(statements)), config.roots, None)
    return (identity.enrolment.validity[1] - now_s) // DAY_S
