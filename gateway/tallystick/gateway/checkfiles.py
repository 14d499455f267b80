"""Certificates and secrets that a configuration names, looked at before anything runs."""

import datetime as dt
import socket
import ssl
import stat
from pathlib import Path

from cryptography import x509

from tallystick.evidence.errors import Malformed, Unverified
from tallystick.hw.httpdoor import listen

FILE_BYTES_MAX = 1 << 16
DAYS_LOW = 30


def private(path: Path) -> None:
    """PermissionError where somebody else than its owner may read it."""
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise PermissionError(13, "others may read it; chmod 600 it", str(path))


def pair(where: str, cert: Path, key: Path, now_s: int) -> x509.Certificate:
    """A certificate in force and the key that belongs to it, which nobody else may read.

    where: the table that names both.
    """
    private(key)
    found = valid(f"{where}.cert", cert, now_s)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert, key, _no_passphrase)
    except (ssl.SSLError, ValueError) as error:
        raise Malformed("bad-value", f"{where}.cert, {where}.key: {error}") from None
    return found


def valid(setting: str, path: Path, now_s: int) -> x509.Certificate:
    """The first certificate of a file of which each is in force."""
    with path.open("rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    try:
        found = x509.load_pem_x509_certificates(data[:FILE_BYTES_MAX])
    except ValueError:
        raise Malformed("bad-value", f"{setting}: {path} holds no certificate in PEM") from None
    now = dt.datetime.fromtimestamp(now_s, dt.timezone.utc)
    for one in found:
        if one.not_valid_before_utc > now:
            begins = one.not_valid_before_utc
            raise Unverified("expired", f"{setting}: {path} is not valid before {begins:%F %R} UTC")
        if one.not_valid_after_utc < now:
            ended = one.not_valid_after_utc
            raise Unverified("expired", f"{setting}: {path} ended on {ended:%F %R} UTC")
    return found[0]


def days(certificate: x509.Certificate, now_s: int) -> str:
    """How long it is still good for, in words."""
    left = int(certificate.not_valid_after_utc.timestamp() - now_s) // 86_400
    return f"valid for {left} days" + ("; renew it soon" if left < DAYS_LOW else "")


def serves(certificate: x509.Certificate, name: str) -> bool:
    """Whether a browser takes it for this name; as TLS does, `*` stands for one label."""
    try:
        kind = x509.SubjectAlternativeName
        names = certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    first, _, rest = name.partition(".")
    taken = {one.lower() for one in names.get_values_for_type(x509.DNSName)}
    return name in taken or bool(first and rest and f"*.{rest}" in taken)


def can_listen(host: str, port: int) -> None:
    """OSError where a process of this machine cannot have the address; nothing is answered."""
    listen(host, port, 1).close()


def is_here(host: str) -> bool:
    """Whether a name or an address leads to this machine: only its own can be bound."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.bind(address)
            except OSError:
                continue
            return True
    return False


def _no_passphrase() -> str:
    # Else OpenSSL asks for one at the terminal.
    message = "the key has a passphrase; its file must be one without"
    raise ValueError(message)
