"""tls_dates.dates gives two seconds of whatever certificate it is shown, or raises Malformed."""

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tallystick.evidence.errors import Malformed
from tallystick.recorder.tls_dates import dates


def certificate(first: dt.datetime, last: dt.datetime) -> bytes:
    """One with these dates, DER."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).serial_number(7)
    builder = builder.public_key(key.public_key()).not_valid_before(first).not_valid_after(last)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


SEEDS = (
    certificate(dt.datetime(1996, 2, 29), dt.datetime(2049, 12, 31)),  # noqa: DTZ001  # UTC by its kind
    certificate(dt.datetime(2050, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59)),  # noqa: DTZ001  # as above
)


def target(data: bytes) -> None:
    try:
        first, last = dates(data)
    except Malformed:
        return
    # 0000-01-01 to 10000-01-01.
    assert -62167219200 <= first <= 253402300800
    assert -62167219200 <= last <= 253402300800
