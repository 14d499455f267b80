# CPython only
"""Commands on keys: Random, Nonce, GenKey, Sign, Verify."""

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tallystick.hw.virtual_atecc608.core import Core
from tallystick.hw.virtual_atecc608.eeprom import P256_ORDER, PRIVATE_AT, TYPE_P256
from tallystick.hw.virtual_atecc608.status import ECC_FAULT, MISCOMPARE, PARSE, Refused, need
from tallystick.hw.virtual_atecc608.zones import PUBLIC_VALID

NONCE_INPUT_BYTES = 20
FIRST_PUBLIC_SLOT = 8  # smaller slots have no room for a public key
EXTERNAL, STORED = 2, 0
_PREHASHED = ec.ECDSA(utils.Prehashed(hashes.SHA256()))


def random(core: Core, mode: int, parameter: int, data: bytes) -> bytes:
    """32 random bytes."""
    need(mode in (0, 1) and not parameter and not data, PARSE)
    return core.random()


def nonce(core: Core, mode: int, parameter: int, data: bytes) -> bytes:
    """A random nonce into TempKey, or the host's bytes into TempKey or the digest buffer."""
    need(not mode & 0x1C and not parameter, PARSE)
    if mode in (0, 1):
        need(len(data) == NONCE_INPUT_BYTES, PARSE)
        made = core.random()
        value = hashlib.sha256(made + data + bytes((0x16, mode, 0))).digest()
        core.registers.load_temp_key(value, random=True)
        return made
    target = mode >> 6
    # The alternate key buffer serves KDF alone, which is not modelled.
    need(mode & 3 == 3 and target in (0, 1), PARSE)
    need(len(data) == (64 if mode & 0x20 else 32), PARSE)
    if target:
        core.registers.digest_buffer = data
    else:
        core.registers.load_temp_key(data, random=False)
    return b"\x00"


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    point = key.public_key().public_numbers()
    return point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")


def genkey(core: Core, mode: int, slot: int, data: bytes) -> bytes:
    """Make a private key (04) or compute its public key (00); 08: digest it into TempKey."""
    need(mode in (0x00, 0x04, 0x08, 0x0C, 0x10), PARSE)
    need(len(data) == (3 if mode == 0x10 else 0), PARSE)
    core.slot(slot)
    eeprom = core.eeprom
    need(eeprom.config_locked and eeprom.key_type(slot) == TYPE_P256)
    private = bool(eeprom.key_config(slot) & 1)
    need(private != (mode == 0x10))
    core.need_use(slot)
    if mode & 0x04:
        # SlotConfig.WriteConfig bit 1 lets GenKey make keys once the data zone is locked.
        need(not eeprom.slot_locked(slot))
        need(not eeprom.data_locked or bool(eeprom.slot_config(slot) & 0x2000))
        eeprom.put_slot(slot, 0, bytes(PRIVATE_AT) + _new_scalar(core))
    if mode == 0x10:
        public = _stored_public(core, slot)
    else:
        key = eeprom.private_key(slot)
        if key is None or not (mode & 0x04 or eeprom.key_config(slot) & 2):
            raise Refused(0x0F)
        public = _public(key)
    if mode & 0x18:
        _digest_public(core, mode, slot, data, public)
    return b"\x00" if mode == 0x10 else public


def _new_scalar(core: Core) -> bytes:
    """FIPS 186-5, appendix A.2.2: draw until it is a scalar; one draw in 2^32 is not."""
    for _ in range(8):
        drawn = core.entropy(32)
        if 0 < int.from_bytes(drawn, "big") < P256_ORDER:
            return drawn
    raise Refused(ECC_FAULT)


def _digest_public(core: Core, mode: int, slot: int, data: bytes, public: bytes) -> None:
    registers = core.registers
    if registers.temp_key is None:
        raise Refused(0x0F)
    what = data or bytes((mode, slot, 0))
    serial = core.eeprom.serial
    message = registers.temp_key[:32] + b"\x40" + what + serial[8:] + serial[:2]
    random_before = registers.temp_key_random
    value = hashlib.sha256(message + bytes(25) + public).digest()
    registers.load_temp_key(value, random=random_before)
    registers.temp_key_slot, registers.temp_key_genkey = slot, True


def _digest(core: Core, mode: int, *, random_needed: bool) -> bytes:
    """The 32 bytes to sign or verify; using them up, as the chip does."""
    registers = core.registers
    if mode & 0x20:
        found, was_random = registers.digest_buffer, False
        registers.digest_buffer = None
    else:
        found, was_random = registers.temp_key, registers.temp_key_random
        registers.temp_key = None
    if found is None or (random_needed and not was_random):
        raise Refused(0x0F)
    return found[:32]


def sign(core: Core, mode: int, slot: int, data: bytes) -> bytes:
    """ECDSA over a digest from outside; s is what it is, high or low."""
    need(not mode & 0x1F and not data, PARSE)
    core.slot(slot)
    eeprom = core.eeprom
    need(bool(mode & 0x80))  # signing internal messages is not modelled
    need(eeprom.config_locked and eeprom.data_locked)
    need(bool(eeprom.key_config(slot) & 1) and eeprom.key_type(slot) == TYPE_P256)
    need(bool(eeprom.slot_config(slot) & 1))  # ReadKey bit 0: external messages
    key = eeprom.private_key(slot)
    digest = _digest(core, mode, random_needed=bool(eeprom.key_config(slot) & 0x40))
    if key is None:
        raise Refused(0x0F)
    core.need_use(slot)
    r, s = utils.decode_dss_signature(key.sign(digest, _PREHASHED))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def verify(core: Core, mode: int, parameter: int, data: bytes) -> bytes:
    """Check a signature with the key that comes along (02) or with a slot's (00)."""
    need(mode & ~0x20 in (STORED, EXTERNAL), PARSE)
    eeprom = core.eeprom
    random_needed = False
    need(len(data) == (128 if mode & EXTERNAL else 64), PARSE)
    if mode & EXTERNAL:
        need(parameter == TYPE_P256, PARSE)
        need(eeprom.config_locked)
        public = data[64:]
    else:
        slot = core.slot(parameter)
        need(eeprom.data_locked and eeprom.key_type(slot) == TYPE_P256)
        need(not eeprom.key_config(slot) & 1)
        # PubInfo of a public key: it must have been validated.
        valid = eeprom.slot(slot)[0] >> 4 == PUBLIC_VALID
        need(valid or not eeprom.key_config(slot) & 2)
        core.need_use(slot)
        random_needed = bool(eeprom.key_config(slot) & 0x40)
        public = _stored_public(core, slot)
    digest = _digest(core, mode, random_needed=random_needed)
    return _verified(public, data[:64], digest)


def _stored_public(core: Core, slot: int) -> bytes:
    """A public key lies in its slot as 4 bytes, X, 4 bytes, Y."""
    need(slot >= FIRST_PUBLIC_SLOT)
    held = core.eeprom.slot(slot)
    return held[4:36] + held[40:72]


def _verified(public: bytes, signature: bytes, digest: bytes) -> bytes:
    x, y, r, s = (
        int.from_bytes(half, "big")
        for half in (public[:32], public[32:], signature[:32], signature[32:])
    )
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise Refused(ECC_FAULT)
    try:
        key.verify(utils.encode_dss_signature(r, s), digest, _PREHASHED)
    except InvalidSignature:
        raise Refused(MISCOMPARE)
    return b"\x00"
