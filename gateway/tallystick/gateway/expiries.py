"""What ends one day: certificates of the configuration, enrolments, peer files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cryptography import x509

from tallystick.evidence import enrolment
from tallystick.evidence.errors import TallyError
from tallystick.gateway.config import Config
from tallystick.gateway.pagestate import Device, Expiry


def of_config(config: Config) -> list[Expiry]:
    """Certificates and enrolments that the configuration names; files are read again."""
    broker, join, page = config.broker, config.join, config.page
    files: list[tuple[str, Path | None]] = [
        ("The broker authority's certificate", broker.ca),
        ("This gateway's certificate for the broker", broker.cert),
        ("The join door's certificate", None if join is None else join.cert),
        ("The page's certificate", None if page is None else page.cert),
    ]
    found = [
        Expiry(what=what, until_ms=until_ms)
        for what, path in files
        if path is not None and (until_ms := _certificate(path)) is not None
    ]
    statements = [("This gateway's enrolment", config.credential)]
    statements += [
        (f"The enrolment of validator {one.name}", one.credential)
        for one in config.validators
        if one.credential is not None
    ]
    return found + [
        Expiry(what=what, until_ms=until_ms)
        for what, credential in statements
        if (until_ms := _enrolment(credential)) is not None
    ]


def of_peers(told: Iterable[dict[str, Any]]) -> list[Expiry]:
    """Imported peers, as circle.py tells of them."""
    return [
        Expiry(what=f"The peer file of {peer['name']}", until_ms=peer["valid_until_s"] * 1000)
        for peer in told
        if peer["valid_until_s"] is not None
    ]


def of_devices(devices: Iterable[Device]) -> list[Expiry]:
    """Enrolments of devices that are in service."""
    return [
        Expiry(
            what=f"The enrolment of device {one.tag or one.id}",
            until_ms=one.valid_until_s * 1000,
            device=one.id,
        )
        for one in devices
        if one.status == "active"
    ]


def _certificate(path: Path) -> int | None:
    # The first to end of a file's: a chain is worth no more.
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return None  # who uses it says what is wrong with it
    return min(int(one.not_valid_after_utc.timestamp() * 1000) for one in found)


def _enrolment(credential: tuple[bytes, ...] | None) -> int | None:
    try:
        return enrolment.parse((credential or (b"",))[0]).validity[1] * 1000
    except TallyError:
        return None
