"""A site's own certificate authority: made once, kept beside the fleet root, used to enrol."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tallystick.evidence.errors import Malformed
from tallystick.tools.brokertls import BEFORE, Issuer
from tallystick.tools.fleetdir import write_private

AUTHORITY_DAYS = 3650
# A certificate that ends sooner than this is renewed when the command is called again.
RENEW_DAYS = 60
HOSTS_MAX = 32


def make(fleet: str, certificate: Path, key: Path) -> None:
    """Make an authority for a fleet's broker, and write both files."""
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{fleet} broker authority")])
    begin = dt.datetime.now(dt.timezone.utc) - BEFORE
    usage = x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + dt.timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False
        )
        .sign(private, hashes.SHA256())
    )
    write_private(key, _pem(private))
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def server(issuer: Issuer, hosts: tuple[str, ...], valid_days: int) -> tuple[bytes, bytes]:
    """(certificate, key) of a broker that clients reach by these names and addresses, PEM."""
    private = ec.generate_private_key(ec.SECP256R1())
    begin = max(dt.datetime.now(dt.timezone.utc) - BEFORE, issuer.certificate.not_valid_before_utc)
    end = min(begin + dt.timedelta(days=valid_days), issuer.certificate.not_valid_after_utc)
    if end <= begin:
        raise Malformed("expired", "the authority's certificate has expired")
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])]))
        .issuer_name(issuer.certificate.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(issuer.key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM), _pem(private)


def names_of(certificate: x509.Certificate) -> set[str]:
    """The names and addresses that a server's certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    return set(found.get_values_for_type(x509.DNSName)) | {
        str(address) for address in found.get_values_for_type(x509.IPAddress)
    }


def days_left(certificate: x509.Certificate) -> int:
    """Whole days until it ends; negative afterwards."""
    return (certificate.not_valid_after_utc - dt.datetime.now(dt.timezone.utc)).days


def good(path: Path, issuer: Issuer, hosts: tuple[str, ...] | None = None) -> bool:
    """Whether a certificate file is there, of this authority, for these hosts, and not at its end.

    One that the authority's own end cuts short is as good as a new one.
    """
    try:
        (found,) = x509.load_pem_x509_certificates(path.read_bytes())
        found.verify_directly_issued_by(issuer.certificate)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    if hosts is not None and names_of(found) != {_plain(host) for host in hosts}:
        return False
    return days_left(found) > min(RENEW_DAYS, days_left(issuer.certificate) - 1)


def _plain(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The form that a board's Mbed TLS of any age reads.
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
