"""A certificate authority for one test: servers, clients, and what is wrong with some of them."""

import datetime as dt
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOSTS = ("localhost", "127.0.0.1")


class Authority:
    """Writes `<name>.pem` and `<name>.key` into its folder; `file` is its own certificate."""

    def __init__(self, folder: Path, name: str = "ca", begin: dt.datetime | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = folder / f"{name}.pem"
        self._begin = begin or dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=30)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(name, self._key.public_key(), 0, 60)
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
        basic = x509.BasicConstraints(ca=True, path_length=0)
        builder = builder.add_extension(basic, critical=True).add_extension(usage, critical=True)
        self._write(self.file, builder)

    def server(
        self, name: str = "server", hosts: tuple[str, ...] = HOSTS, days: tuple[int, int] = (1, 60)
    ) -> tuple[Path, Path]:
        """(certificate, key) of a broker; valid from and to so many days after the authority."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([_host(one) for one in hosts])
        builder = self._builder(name, key.public_key(), *days)
        return self._leaf(name, key, builder.add_extension(names, critical=False), server=True)

    def client(self, name: str, days: tuple[int, int] = (1, 60)) -> tuple[Path, Path]:
        """(certificate, key) of a client, whose name its user is."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._leaf(name, key, self._builder(name, key.public_key(), *days), server=False)

    @property
    def certificate(self) -> x509.Certificate:
        """Its own."""
        return x509.load_pem_x509_certificate(self.file.read_bytes())

    def write_key(self) -> Path:
        """Its private key, in a file."""
        return self._write_key(self.file.with_suffix(".key"), self._key)

    def tls(self, name: str) -> dict[str, str]:
        """What a device's configuration says, with a new client certificate."""
        cert, key = self.client(name)
        return {"ca": str(self.file), "cert": str(cert), "key": str(key)}

    def _builder(
        self, name: str, key: ec.EllipticCurvePublicKey, first: int, last: int
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._begin + dt.timedelta(days=first))
            .not_valid_after(self._begin + dt.timedelta(days=last))
        )

    def _leaf(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        builder: x509.CertificateBuilder,
        *,
        server: bool,
    ) -> tuple[Path, Path]:
        use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        basic = x509.BasicConstraints(ca=False, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        cert_file, key_file = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(cert_file, builder)
        self._write_key(key_file, key)
        return cert_file, key_file

    def _write_key(self, file: Path, key: ec.EllipticCurvePrivateKey) -> Path:
        # The form that Mbed TLS of every age reads, and OpenSSL.
        form = serialization.PrivateFormat.TraditionalOpenSSL
        clear = serialization.NoEncryption()
        file.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, clear))
        file.chmod(0o600)
        return file

    def _write(self, file: Path, builder: x509.CertificateBuilder) -> None:
        made = builder.sign(self._key, hashes.SHA256())
        file.write_bytes(made.public_bytes(serialization.Encoding.PEM))


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)
