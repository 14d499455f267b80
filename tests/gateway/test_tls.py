"""The broker over TLS: a client certificate, and a server that is not the right one."""

import datetime as dt
import ipaddress
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.devices import Fleet
from support.site import Site, until
from tallystick.evidence.errors import Malformed
from tallystick.gateway.brokerclient import make_client
from tallystick.gateway.service import Gateway
from tallystick.tools.mosquitto import Mosquitto

ACME = Fleet("acme")


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = folder / "ca.pem"
        made = self._certificate(self._name, self._key.public_key(), authority=True)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def _certificate(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            loopback = x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))
            names = x509.SubjectAlternativeName([loopback])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        """(certificate, key) files."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._certificate(subject, key.public_key(), authority=False)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cert_file, key_file


def test_a_client_certificate_is_shown_and_the_server_is_checked(tmp_path: Path) -> None:
    ours, foreign = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "foreign", "foreign")
    server, server_key = ours.issue("broker")
    cert, key = ours.issue("gateway")
    settings = (
        f"cafile {ours.file}\ncertfile {server}\nkeyfile {server_key}\n"
        "require_certificate true\nuse_identity_as_username true\n"
    )
    with Mosquitto(tmp_path / "broker", settings=settings) as broker:
        site = Site(tmp_path / "gateway", ACME, broker.port)
        text = site.path.read_text().replace("mqtt://", "mqtts://")
        site.path.write_text(
            text.replace(
                "[broker]", f'[broker]\nca = "{ours.file}"\ncert = "{cert}"\nkey = "{key}"'
            )
        )
        with site.running() as gateway:
            assert gateway.broker.connected
        config = site.config
        # Without a certificate, and with a foreign authority, there is no connection.
        for changed in ({"cert": None, "key": None}, {"ca": foreign.file}):
            wrong = replace(config, broker=replace(config.broker, **changed))
            made = Gateway(wrong)
            try:
                made.start()
                until(lambda: made.broker.error, "the error")  # noqa: B023
                assert not made.broker.subscribed
            finally:
                made.stop()


def test_missing_files_are_one_error(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    text = site.path.read_text().replace("mqtt://", "mqtts://")
    site.path.write_text(text.replace("[broker]", '[broker]\nca = "absent.pem"'))
    with pytest.raises(Malformed, match=r"broker\.ca"):
        make_client(site.config.broker)
    plain = Site(tmp_path / "plain", ACME, 1)
    text = plain.path.read_text()
    plain.path.write_text(
        text.replace("[broker]", '[broker]\nusername = "gw"\npassword_file = "absent"')
    )
    with pytest.raises(Malformed, match="cannot be read"):
        make_client(plain.config.broker)


def test_a_password_is_shown_to_nobody(tmp_path: Path) -> None:
    site = Site(tmp_path, ACME, 1)
    (tmp_path / "password").write_text("canary-of-the-test\n")
    text = site.path.read_text()
    site.path.write_text(
        text.replace("[broker]", '[broker]\nusername = "gw"\npassword_file = "password"')
    )
    config = site.config
    assert make_client(config.broker).password == "canary-of-the-test"
    assert "canary" not in repr(config)
    assert "canary" not in str(config.broker)
