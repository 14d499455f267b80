"""TLS to the broker for a new member: its certificate is issued, or copied, into its folder.

A broker that takes a client certificate's name for the user (`use_identity_as_username`) can give
each device its own topics and no others, so the name is the member's id.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tallystick.evidence.errors import Malformed
from tallystick.tools.fleetdir import Member, write_private

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
FILE_BYTES_MAX = 8192
CA, CERT, KEY = "broker-ca.pem", "broker.pem", "broker.key"
# A certificate begins earlier than now, since clocks differ.
BEFORE = dt.timedelta(hours=1)


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a command that enrols."""
    for add in reversed(
        (
            click.option(
                "--tls-ca", type=FILE, help="Who signed an mqtts:// broker's certificate."
            ),
            click.option(
                "--tls-ca-key",
                type=FILE,
                help="The key of --tls-ca: a client certificate is issued, for the member's id.",
            ),
            click.option(
                "--tls-cert", type=FILE, help="The client certificate, where there is one."
            ),
            click.option("--tls-key", type=FILE, help="The key of --tls-cert."),
        )
    ):
        command = add(command)
    return command


@dataclass(frozen=True)
class BrokerTls:
    """What the options say, read and checked; `write` for one member."""

    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None
    issuer: "Issuer | None" = None

    def write(self, member: Member, valid_days: int) -> dict[str, str]:
        """Write the files; what the member's configuration says of them."""
        (member.path / CA).write_bytes(self.ca)
        cert, key = self.cert, self.key
        if self.issuer is not None:
            cert, key = self.issuer.issue(member.id_text, valid_days)
        if cert is None or key is None:
            return {"ca": CA}
        (member.path / CERT).write_bytes(cert)
        write_private(member.path / KEY, key)
        return {"ca": CA, "cert": CERT, "key": KEY}


@dataclass(frozen=True)
class Issuer:
    """An authority that signs here and now."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    def issue(self, name: str, valid_days: int) -> tuple[bytes, bytes]:
        """(certificate, key) of a client, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        begin = max(
            dt.datetime.now(dt.timezone.utc) - BEFORE, self.certificate.not_valid_before_utc
        )
        end = min(begin + dt.timedelta(days=valid_days), self.certificate.not_valid_after_utc)
        if end <= begin:
            raise Malformed("expired", "--tls-ca: the authority's certificate has expired")
        basic = x509.BasicConstraints(ca=False, path_length=None)
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(basic, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        # The form that a board's Mbed TLS of any age reads.
        form = serialization.PrivateFormat.TraditionalOpenSSL
        private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        return made.public_bytes(serialization.Encoding.PEM), private


def read(
    broker: str, ca: Path | None, ca_key: Path | None, cert: Path | None, key: Path | None
) -> BrokerTls | None:
    """What the options say, before anybody is enrolled; click.UsageError and Malformed."""
    if ca is None:
        if ca_key or cert or key:
            raise click.UsageError("--tls-ca-key, --tls-cert and --tls-key need --tls-ca")
        return None
    if not broker.startswith("mqtts://"):
        raise click.UsageError("--tls-ca is for a --broker mqtts://")
    if (cert is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key: both or neither")
    if ca_key is not None and cert is not None:
        raise click.UsageError("--tls-ca-key issues what --tls-cert would be: one of them")
    authority = _certificate(ca)
    if ca_key is not None:
        return BrokerTls(_bytes(ca), issuer=Issuer(authority, _key_of(ca_key, authority)))
    if cert is None or key is None:
        return BrokerTls(_bytes(ca))
    _key_of(key, _certificate(cert))
    return BrokerTls(_bytes(ca), _bytes(cert), _bytes(key))


def _bytes(path: Path) -> bytes:
    if path.stat().st_size > FILE_BYTES_MAX:
        raise Malformed("too-large", f"{path} is too long for one certificate or key")
    return path.read_bytes()


def _certificate(path: Path) -> x509.Certificate:
    data = _bytes(path)
    try:
        (one,) = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise Malformed("bad-value", f"{path} is not one certificate in PEM") from error
    return one


def _key_of(
    path: Path, certificate: x509.Certificate
) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = serialization.load_pem_private_key(_bytes(path), None)
    except (ValueError, TypeError) as error:
        message = f"{path} is no private key in PEM, or has a passphrase: give one without"
        raise Malformed("bad-key", message) from error
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise Malformed("bad-key", f"{path}: boards know keys of a curve (P-256) and RSA")
    if key.public_key() != certificate.public_key():
        raise Malformed("wrong-key", f"{path} is not the key of its certificate")
    return key
