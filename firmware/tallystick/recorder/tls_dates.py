# When a certificate is valid: the two dates of its DER (RFC 5280, section 4.1.2.5), and nothing
# else of it.  What the certificate is worth is TLS's matter.

from tallystick.evidence.errors import Malformed

CERTIFICATE_BYTES_MAX = 16384
SEQUENCE = 0x30
VERSION = 0xA0
UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
DAY_S = 86400


def _wrong() -> Malformed:
    return Malformed("bad-value", "a certificate whose dates cannot be read")


def _item(data: bytes, at: int) -> "tuple[int, int, int]":
    # (tag, where its content begins, where it ends).
    if at + 2 > len(data):
        raise _wrong()
    size = data[at + 1]
    begin = at + 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 2 or begin + count > len(data):
            raise _wrong()
        size = int.from_bytes(data[begin : begin + count], "big")
        begin += count
    if begin + size > len(data):
        raise _wrong()
    return data[at], begin, begin + size


def dates(certificate: bytes) -> "tuple[int, int]":
    """(first, last) second of its validity, since 1970."""
    if len(certificate) > CERTIFICATE_BYTES_MAX:
        raise _wrong()
    at = 0
    for _ in range(2):  # the certificate, then what is signed
        tag, at, _ = _item(certificate, at)
        if tag != SEQUENCE:
            raise _wrong()
    tag, _, end = _item(certificate, at)
    if tag == VERSION:
        at = end
    for _ in range(3):  # serial number, algorithm, issuer
        _, _, at = _item(certificate, at)
    tag, at, _ = _item(certificate, at)
    if tag != SEQUENCE:
        raise _wrong()
    tag, begin, end = _item(certificate, at)
    first = _seconds(tag, certificate[begin:end])
    tag, begin, end = _item(certificate, end)
    return first, _seconds(tag, certificate[begin:end])


def _seconds(tag: int, text: bytes) -> int:
    digits = 2 if tag == UTC_TIME else 4
    if tag not in (UTC_TIME, GENERALIZED_TIME) or len(text) != digits + 11 or text[-1:] != b"Z":
        raise _wrong()
    for char in text[:-1]:
        if not 48 <= char <= 57:
            raise _wrong()
    year = int(text[:digits])
    if digits == 2:
        year += 1900 if year >= 50 else 2000
    month, day, hour, minute, second = [
        int(text[at : at + 2]) for at in range(digits, digits + 10, 2)
    ]
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise _wrong()
    return (_days(year, month, day) * 24 + hour) * 3600 + minute * 60 + second


def _days(year: int, month: int, day: int) -> int:
    # Since 1970-01-01, with years that begin in March, so that a leap day is the last of one.
    if month < 3:
        month += 12
        year -= 1
    months = (153 * (month - 3) + 2) // 5
    return 365 * year + year // 4 - year // 100 + year // 400 + months + day - 719469
