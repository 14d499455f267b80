"""Custody evidence made by hand with the fixed keys of support.examples; drivers' is elsewhere."""

from collections.abc import Callable
from typing import Any

from support import examples as ex
from support.devices import VALID_S, Fleet
from tallystick.evidence import attester as attesters
from tallystick.evidence import (
    custody_atecc608,
    custody_pkcs11,
    custody_tpm2,
    enrolment,
    enrolmentrequest,
)
from tallystick.evidence.attester import Attester
from tallystick.evidence.custody_atecc608 import Atecc608Config
from tallystick.evidence.custody_pkcs11 import Pkcs11Attributes
from tallystick.evidence.custody_tpm2 import Tpm2Certify
from tallystick.evidence.digest import sha256
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw.software_key import FileKey

Signs = ex.Signer | FileKey
SERIAL = bytes.fromhex("0123a1b2c3d4e5f6ee")
REVISION = bytes.fromhex("00006003")
SLOT = 0
SLOT_CONFIG, KEY_CONFIG = 0x2081, 0x0033
AK = ex.Signer(ES256, "attestation key of a TPM")
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, sign.
ATTRIBUTES = 0x00040072
TOKEN = {
    "label": "robot-7",
    "manufacturer": "SoftHSM project",
    "model": "SoftHSM v2",
    "serial": "9f3e6dd2a5b81c47",
}
TOKEN_ATTRIBUTES = {
    "sensitive": True,
    "always_sensitive": True,
    "extractable": False,
    "never_extractable": True,
    "local": True,
    "private": True,
}


def config_zone(slot: int = SLOT, slot_config: int = SLOT_CONFIG, key: int = KEY_CONFIG) -> bytes:
    """128 bytes, locked, with one slot for signatures."""
    zone = bytearray(128)
    zone[0:4], zone[4:8], zone[8:13] = SERIAL[:4], REVISION, SERIAL[4:]
    zone[13:17] = b"\xc0\x00\x55\x00"
    zone[88:90] = b"\xff\xff"
    zone[20 + 2 * slot : 22 + 2 * slot] = slot_config.to_bytes(2, "little")
    zone[96 + 2 * slot : 98 + 2 * slot] = key.to_bytes(2, "little")
    return bytes(zone)


def with_byte(zone: bytes, at: int, value: int) -> bytes:
    """The zone with another byte."""
    return zone[:at] + bytes([value]) + zone[at + 1 :]


def atecc608(zone: bytes | None = None) -> Atecc608Config:
    """Evidence that checks for any P-256 key."""
    return Atecc608Config(SERIAL, REVISION, config_zone() if zone is None else zone, SLOT)


def pkcs11(alg: int = ES256, **attributes: bool) -> Pkcs11Attributes:
    """Evidence that checks for any key of this algorithm."""
    mechanism = {ES256: "CKM_ECDSA", EDDSA: "CKM_EDDSA"}[alg]
    return Pkcs11Attributes(TOKEN, {**TOKEN_ATTRIBUTES, **attributes}, mechanism)


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def public_area(raw: bytes, attributes: int = ATTRIBUTES, scheme: str = "0018000b") -> bytes:
    """A TPMT_PUBLIC of a P-256 key."""
    head = bytes.fromhex("0023000b") + attributes.to_bytes(4, "big") + _sized(b"")
    parameters = bytes.fromhex("0010" + scheme + "0003" + "0010")
    return head + parameters + _sized(raw[:32]) + _sized(raw[32:])


def certify(name: bytes, extra: bytes, magic: int = 0xFF544347, type_: int = 0x8017) -> bytes:
    """A TPMS_ATTEST of TPM2_Certify."""
    signer = b"\x00\x0b" + sha256(b"qualified name of the attestation key")
    qualified = b"\x00\x0b" + sha256(b"qualified name of the key")
    clock = (123_456).to_bytes(8, "big") + (7).to_bytes(4, "big") + bytes(4) + b"\x01"
    head = magic.to_bytes(4, "big") + type_.to_bytes(2, "big")
    middle = _sized(signer) + _sized(extra) + clock + (0x2020_0320_0010_0000).to_bytes(8, "big")
    return head + middle + _sized(name) + _sized(qualified)


def attester(
    iss: str = ex.GLOBEX,
    root: Signs = ex.GLOBEX_ROOT,
    ak: ex.Signer = AK,
    at_s: int = ex.TIME_S,
) -> bytes:
    """A statement of the root about an attestation key."""
    details = {"manufacturer": "Initech", "serial": "tpm-17", "ek_certificate": sha256(b"ek")}
    made = Attester(ak.public_key(), 2, details, [at_s - 2000, at_s + 31_536_000])
    return made.sign(root, iss, ak.id)


def tpm2(
    signer: Signs = ex.RECEIVER,
    iss: str = ex.GLOBEX,
    *,
    id: bytes | None = None,  # noqa: A002  # the name on the wire
    ak: ex.Signer = AK,
    vouched: bytes | None = None,
    public: bytes | None = None,
    attest: bytes | None = None,
) -> Tpm2Certify:
    """Evidence for one key, id and fleet; parts may be given."""
    key = signer.public_key()
    public = public_area(key.raw) if public is None else public
    if attest is None:
        context = enrolment.custody_context(key, iss, id)
        attest = certify(b"\x00\x0b" + sha256(public), context)
    return Tpm2Certify(
        public, attest, ak.sign(attest), attester(iss) if vouched is None else vouched
    )


def in_tpm(fleet: Fleet, signer: FileKey) -> tuple[int, list[Any]]:
    """How a device of support.devices is held (Fleet.device): in a TPM of its fleet."""
    vouched = attester(fleet.name, fleet.root, at_s=VALID_S[0])
    return 2, [["tpm2-certify", tpm2(signer, fleet.name, vouched=vouched).encode()]]


def enrol_held(
    custody: int,
    evidence: list[Any],
    signer: ex.Signer = ex.RECEIVER,
    iss: str = ex.GLOBEX,
    root: ex.Signer = ex.GLOBEX_ROOT,
) -> enrolment.Enrolment:
    """The receiver's enrolment with a level of custody and evidence for it."""
    first = ex.enrol(signer, 0, iss, root)
    made = enrolment.Enrolment(
        first.subject,
        first.id,
        first.key,
        custody,
        evidence,
        first.details,
        first.releases,
        first.interval_s,
        first.validity,
        first.possession,
    )
    return enrolment.parse(made.sign(root, iss, signer.id))


def request(custody: int = 3) -> enrolmentrequest.EnrolmentRequest:
    """The receiver asks globex."""
    key = ex.RECEIVER.public_key()
    possession = ex.RECEIVER.sign(enrolment.possession_message(key.alg, ex.RECEIVER.id, ex.GLOBEX))
    return enrolmentrequest.EnrolmentRequest(
        ex.GLOBEX,
        ex.RECEIVER.id,
        key,
        custody,
        [["atecc608-config", atecc608().encode()]],
        possession,
        {"manufacturer": "Initech", "serial": "0002"},
    )


def examples() -> list[tuple[str, str, bytes, Callable[[bytes], Any]]]:
    """For examples.everything(): name, rule of the CDDL, bytes, parser."""
    held = enrol_held(3, [["atecc608-config", atecc608().encode()]])
    return [
        ("attester", "attester", attester(), attesters.parse),
        ("enrolment request", "enrolment-request", request().encode(), enrolmentrequest.parse),
        ("enrolment, held", "enrolment", held.encode(), enrolment.parse),
        ("ATECC608", "atecc608-config", atecc608().encode(), custody_atecc608.parse),
        ("TPM 2.0", "tpm2-certify", tpm2().encode(), custody_tpm2.parse),
        ("PKCS#11", "pkcs11-attributes", pkcs11().encode(), custody_pkcs11.parse),
    ]
