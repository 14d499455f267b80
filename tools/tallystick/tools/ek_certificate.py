"""The certificate of a TPM's endorsement key, checked up to a maker's root (TCG EK profile 2.5).

What is not checked: whether the maker has revoked it.
"""

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tallystick.evidence.errors import Malformed, Unverified
from tallystick.tools._files import read_text

CA_BYTES_MAX = 1 << 18
CHAIN_MAX = 5
# tcg-kp-EKCertificate.
EK_CERTIFICATE_USE = x509.ObjectIdentifier("2.23.133.8.1")


@dataclass(frozen=True)
class Maker:
    """Who vouches for a TPM: the names of the certificate's issuer and of the root."""

    issuer: str
    root: str


def read_ca(paths: tuple[Path, ...]) -> list[x509.Certificate]:
    """The certificates of PEM files: a TPM maker's root, and what is between it and its TPMs."""
    found: list[x509.Certificate] = []
    for path in paths:
        text = read_text(path, CA_BYTES_MAX)
        try:
            found += x509.load_pem_x509_certificates(text.encode())
        except ValueError as error:
            raise Malformed("bad-value", f"{path}: holds no PEM certificates ({error})") from None
    return found


def check(der: bytes, public_key: bytes, ca: list[x509.Certificate], at: float) -> Maker:
    """Unverified unless the certificate is this endorsement key's and leads to a root in `ca`.

    public_key: SubjectPublicKeyInfo, DER; at: seconds since 1970.
    """
    now = datetime.fromtimestamp(at, timezone.utc)
    certificate = _load(der)
    try:
        certified = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        message = f"the endorsement certificate's key cannot be read: {error}"
        raise Unverified("wrong-key", message) from None
    if certified != public_key:
        raise Unverified("wrong-key", "the endorsement certificate is for another key")
    _check_use(certificate)
    link, issuer = certificate, ""
    for _ in range(CHAIN_MAX):
        _check_dates(link, now)
        if link.issuer == link.subject and link in ca:
            return Maker(issuer, link.subject.rfc4514_string())
        link = _issuer(link, ca)
        issuer = issuer or link.subject.rfc4514_string()
    raise Unverified("not-enrolled", f"no root within {CHAIN_MAX} certificates of --ek-ca")


def _load(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        message = f"the endorsement certificate cannot be read: {error}"
        raise Unverified("bad-value", message) from None


def _check_use(certificate: x509.Certificate) -> None:
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError as error:
        message = f"the endorsement certificate's extensions cannot be read: {error}"
        raise Unverified("bad-value", message) from None
    if EK_CERTIFICATE_USE not in uses:
        raise Unverified("wrong-key", "the certificate is not for an endorsement key")


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        message = (
            f"{certificate.subject.rfc4514_string() or 'the endorsement certificate'}: expired"
        )
        raise Unverified("expired", message)


def _issuer(certificate: x509.Certificate, ca: list[x509.Certificate]) -> x509.Certificate:
    wanted = certificate.issuer.rfc4514_string()
    for candidate in ca:
        if candidate.subject != certificate.issuer or not _may_issue(candidate):
            continue
        try:
            certificate.verify_directly_issued_by(candidate)
        except (InvalidSignature, ValueError, TypeError):
            continue
        return candidate
    raise Unverified("not-enrolled", f"no certificate in --ek-ca is {wanted} and signed this TPM's")


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False
