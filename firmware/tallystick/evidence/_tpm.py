# CPython only
"""What a TPM says of a key: TPMT_PUBLIC and TPMS_ATTEST (TPM 2.0 Library, part 2)."""

from tallystick.evidence.digest import sha256
from tallystick.evidence.errors import Malformed

GENERATED_VALUE = 0xFF544347  # 6.2
ST_ATTEST_CERTIFY = 0x8017  # 6.9
ALG_SHA256, ALG_NULL, ALG_ECDSA, ALG_ECC = 0x000B, 0x0010, 0x0018, 0x0023  # 6.3
ECC_NIST_P256 = 0x0003  # 6.4
# 8.3, TPMA_OBJECT.
FIXED_TPM, FIXED_PARENT, SENSITIVE_DATA_ORIGIN = 1 << 1, 1 << 4, 1 << 5
RESTRICTED, DECRYPT, SIGN = 1 << 16, 1 << 17, 1 << 18
DIGEST_BYTES_MAX = 64
COORDINATE_SIZE = 32


class Reader:
    """Big-endian fields one after another; Malformed where they end too soon."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    def take(self, size: int) -> bytes:
        """So many bytes."""
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise Malformed("truncated", f"{self._what}: ends inside a field")
        self._at += size
        return taken

    def number(self, size: int) -> int:
        """An unsigned integer of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def sized(self, bytes_max: int) -> bytes:
        """A TPM2B: its size in two bytes, then so many."""
        size = self.number(2)
        if size > bytes_max:
            raise Malformed("too-large", f"{self._what}: a field of more than {bytes_max} bytes")
        return self.take(size)

    def done(self) -> None:
        """Malformed unless this was all."""
        if self._at != len(self._data):
            raise Malformed("trailing-bytes", f"{self._what}: bytes follow it")


class Public:
    """A key on P-256 with the name algorithm SHA-256; `raw` is X || Y."""

    def __init__(self, data: bytes) -> None:
        what = "TPMT_PUBLIC"
        reader = Reader(data, what)
        if reader.number(2) != ALG_ECC:
            raise Malformed("bad-value", f"{what}: no key on an elliptic curve")
        if reader.number(2) != ALG_SHA256:
            raise Malformed("bad-value", f"{what}: its name algorithm must be SHA-256")
        self.attributes = reader.number(4)
        reader.sized(DIGEST_BYTES_MAX)  # authPolicy: who may use the key is not judged here
        # TPMS_ECC_PARMS (12.2.3.6).
        if reader.number(2) != ALG_NULL:
            raise Malformed("bad-value", f"{what}: a key that wraps others, with a cipher")
        scheme = reader.number(2)
        if scheme not in {ALG_NULL, ALG_ECDSA}:
            raise Malformed("bad-value", f"{what}: its scheme must be ECDSA or none")
        if scheme == ALG_ECDSA and reader.number(2) != ALG_SHA256:
            raise Malformed("bad-value", f"{what}: its scheme's hash must be SHA-256")
        if reader.number(2) != ECC_NIST_P256:
            raise Malformed("bad-value", f"{what}: its curve must be P-256")
        if reader.number(2) != ALG_NULL:
            raise Malformed("bad-value", f"{what}: a key derivation that signing keys have not")
        # Leading zeros may be left out.
        x = reader.sized(COORDINATE_SIZE).rjust(COORDINATE_SIZE, b"\0")
        y = reader.sized(COORDINATE_SIZE).rjust(COORDINATE_SIZE, b"\0")
        reader.done()
        self.raw = x + y
        self.name = ALG_SHA256.to_bytes(2, "big") + sha256(data)  # part 1, 16


class Certified:
    """A TPMS_ATTEST by TPM2_Certify: the name that it certifies, and the caller's data."""

    def __init__(self, data: bytes) -> None:
        what = "TPMS_ATTEST"
        reader = Reader(data, what)
        if reader.number(4) != GENERATED_VALUE:
            raise Malformed("bad-value", f"{what}: its magic is not a TPM's")
        if reader.number(2) != ST_ATTEST_CERTIFY:
            raise Malformed("bad-value", f"{what}: not by TPM2_Certify")
        reader.sized(DIGEST_BYTES_MAX + 2)  # qualifiedSigner
        self.extra_data = reader.sized(DIGEST_BYTES_MAX)
        reader.take(8 + 4 + 4 + 1)  # clockInfo
        reader.take(8)  # firmwareVersion
        self.name = reader.sized(DIGEST_BYTES_MAX + 2)
        reader.sized(DIGEST_BYTES_MAX + 2)  # qualifiedName
        reader.done()
