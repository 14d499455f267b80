"""The virtual ATECC608 before its judge: the chip maker's own client drives every command."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from support.makers_client import makers_client
from tallystick.hw.atecc608_tcp import TcpI2C
from tallystick.hw.virtual_atecc608 import COUNTER_MAX, Eeprom, Memory, Tap, VirtualAtecc608
from tallystick.hw.virtual_atecc608.crc import crc16
from tallystick.hw.virtual_atecc608.server import serving

# Of the client's status codes (cryptoauthlib.status).
SUCCESS = 0
EXECUTION_ERROR = -12
ECC_FAULT = -42
NOISE = (-27, -26, -25, -16)  # bad CRC, receive failed, no response, communication failed
DIGEST = hashlib.sha256(b"decision").digest()
DATA_ZONE, CONFIG_ZONE, OTP_ZONE = 2, 0, 1
SIGNING_SLOT, PUBLIC_SLOT, SECRET_SLOT, PLAIN_SLOT = 0, 9, 8, 10


def configuration(chip: VirtualAtecc608) -> bytearray:
    """Slot 0 signs, 9 holds a public key, 8 a secret, 10 plain data."""
    config = bytearray(chip.eeprom.config)

    def slot(number: int, use: int, key: int) -> None:
        config[20 + 2 * number : 22 + 2 * number] = use.to_bytes(2, "little")
        config[96 + 2 * number : 98 + 2 * number] = key.to_bytes(2, "little")

    slot(SIGNING_SLOT, 0x2081, 0x0033)
    slot(PUBLIC_SLOT, 0x0000, 0x0030)
    slot(SECRET_SLOT, 0x0080, 0x003C)
    slot(PLAIN_SLOT, 0x0000, 0x003C)
    return config


@pytest.fixture
def chip() -> VirtualAtecc608:
    return VirtualAtecc608(Memory(Eeprom.factory(os.urandom(6))), time_scale=0.0)


@pytest.fixture
def tap(chip: VirtualAtecc608) -> Tap:
    return Tap(chip)


@pytest.fixture
def client(tap: Tap) -> Iterator[Any]:
    with makers_client(tap) as library:
        yield library


@pytest.fixture
def ready(client: Any, chip: VirtualAtecc608) -> Any:
    """A chip that was configured, given a key, and locked by the maker's client."""
    assert client.atcab_write_config_zone(configuration(chip)) == SUCCESS
    assert client.atcab_lock_config_zone() == SUCCESS
    assert client.atcab_genkey(SIGNING_SLOT, bytearray(64)) == SUCCESS
    assert client.atcab_lock_data_zone() == SUCCESS
    return client


def verifies(public: bytearray, signature: bytearray) -> None:
    x, y = (int.from_bytes(half, "big") for half in (public[:32], public[32:]))
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    der = utils.encode_dss_signature(r, s)
    key.verify(der, DIGEST, ec.ECDSA(utils.Prehashed(hashes.SHA256())))


def test_the_client_knows_a_new_chip(client: Any, chip: VirtualAtecc608) -> None:
    revision, serial, config, drawn = bytearray(4), bytearray(9), bytearray(128), bytearray(32)
    assert client.atcab_info(revision) == SUCCESS
    assert revision == bytes.fromhex("00006003")
    assert client.atcab_read_serial_number(serial) == SUCCESS
    assert serial == chip.eeprom.serial
    assert client.atcab_read_config_zone(config) == SUCCESS
    assert config == chip.eeprom.config
    assert client.atcab_random(drawn) == SUCCESS
    assert drawn == bytes.fromhex("ffff0000") * 8
    for lock in (0, 1):  # configuration, data
        locked = client.AtcaReference(True)
        assert client.atcab_is_locked(lock, locked) == SUCCESS
        assert not locked.value


def test_the_configuration_is_written_and_locked_by_its_checksum(
    client: Any, chip: VirtualAtecc608
) -> None:
    wanted = configuration(chip)
    assert client.atcab_write_config_zone(wanted) == SUCCESS
    assert chip.eeprom.config == wanted
    summary = int.from_bytes(crc16(bytes(wanted)), "little")
    assert client.atcab_lock_config_zone_crc(summary ^ 1) == EXECUTION_ERROR
    assert not chip.eeprom.config_locked
    assert client.atcab_lock_config_zone_crc(summary) == SUCCESS
    assert chip.eeprom.config_locked
    locked = client.AtcaReference(False)
    assert client.atcab_is_locked(CONFIG_ZONE, locked) == SUCCESS
    assert locked.value
    assert client.atcab_lock_config_zone() == EXECUTION_ERROR
    assert client.atcab_write_config_zone(wanted) != SUCCESS
    drawn = bytearray(32)
    assert client.atcab_random(drawn) == SUCCESS
    assert drawn[:4] != bytes.fromhex("ffff0000")


def test_serial_number_and_revision_cannot_be_written(client: Any, chip: VirtualAtecc608) -> None:
    before = chip.eeprom.config
    for word in range(4):
        assert client.atcab_write_zone(CONFIG_ZONE, 0, 0, word, bytes(4), 4) == EXECUTION_ERROR
    assert client.atcab_write_zone(CONFIG_ZONE, 0, 2, 5, bytes(4), 4) == EXECUTION_ERROR
    assert chip.eeprom.config == before


def test_nothing_signs_before_the_locks(client: Any, chip: VirtualAtecc608) -> None:
    public, signature = bytearray(64), bytearray(64)
    assert client.atcab_genkey(SIGNING_SLOT, public) == EXECUTION_ERROR
    assert client.atcab_write_config_zone(configuration(chip)) == SUCCESS
    assert client.atcab_lock_config_zone() == SUCCESS
    assert client.atcab_get_pubkey(SIGNING_SLOT, public) == EXECUTION_ERROR
    assert client.atcab_genkey(SIGNING_SLOT, public) == SUCCESS
    assert client.atcab_sign(SIGNING_SLOT, DIGEST, signature) == EXECUTION_ERROR
    assert client.atcab_lock_data_zone() == SUCCESS
    assert client.atcab_sign(SIGNING_SLOT, DIGEST, signature) == SUCCESS
    verifies(public, signature)


def test_keys_sign_and_signatures_verify(ready: Any) -> None:
    public, signature, again = bytearray(64), bytearray(64), bytearray(64)
    assert ready.atcab_get_pubkey(SIGNING_SLOT, public) == SUCCESS
    assert ready.atcab_sign(SIGNING_SLOT, DIGEST, signature) == SUCCESS
    assert ready.atcab_sign(SIGNING_SLOT, DIGEST, again) == SUCCESS
    assert signature != again
    verifies(public, signature)
    good = ready.AtcaReference(False)
    assert ready.atcab_verify_extern(DIGEST, signature, public, good) == SUCCESS
    assert good.value
    for changed in (
        (bytes(32), signature, public),
        (DIGEST, signature[32:] + signature[:32], public),
        (DIGEST, bytes(64), public),
    ):
        assert ready.atcab_verify_extern(*changed, good) == SUCCESS
        assert not good.value
    assert ready.atcab_verify_extern(DIGEST, signature, bytes(64), good) == ECC_FAULT
    assert ready.atcab_sign(PLAIN_SLOT, DIGEST, signature) == EXECUTION_ERROR
    assert ready.atcab_sign(1, DIGEST, signature) == EXECUTION_ERROR  # no key was made there


def test_a_stored_public_key_verifies(ready: Any) -> None:
    public, signature, read = bytearray(64), bytearray(64), bytearray(64)
    assert ready.atcab_get_pubkey(SIGNING_SLOT, public) == SUCCESS
    assert ready.atcab_sign(SIGNING_SLOT, DIGEST, signature) == SUCCESS
    assert ready.atcab_write_pubkey(PUBLIC_SLOT, public) == SUCCESS
    assert ready.atcab_read_pubkey(PUBLIC_SLOT, read) == SUCCESS
    assert read == public
    good = ready.AtcaReference(False)
    assert ready.atcab_verify_stored(DIGEST, signature, PUBLIC_SLOT, good) == SUCCESS
    assert good.value
    assert ready.atcab_verify_stored(bytes(32), signature, PUBLIC_SLOT, good) == SUCCESS
    assert not good.value
    assert ready.atcab_verify_stored(DIGEST, signature, PLAIN_SLOT, good) == EXECUTION_ERROR


def test_a_locked_slot_makes_no_key_again(ready: Any) -> None:
    first, second = bytearray(64), bytearray(64)
    assert ready.atcab_genkey(SIGNING_SLOT, first) == SUCCESS
    assert ready.atcab_lock_data_slot(SIGNING_SLOT) == SUCCESS
    locked = ready.AtcaReference(False)
    assert ready.atcab_is_slot_locked(SIGNING_SLOT, locked) == SUCCESS
    assert locked.value
    assert ready.atcab_genkey(SIGNING_SLOT, second) == EXECUTION_ERROR
    assert ready.atcab_get_pubkey(SIGNING_SLOT, second) == SUCCESS
    assert first == second
    assert ready.atcab_lock_data_slot(SIGNING_SLOT) == EXECUTION_ERROR
    assert ready.atcab_sign(SIGNING_SLOT, DIGEST, bytearray(64)) == SUCCESS


def test_counters_count_and_end(ready: Any, chip: VirtualAtecc608) -> None:
    value = ready.AtcaReference(0)
    for wanted in range(1, 70):
        assert ready.atcab_counter_increment(0, value) == SUCCESS
        assert value.value == wanted
    assert ready.atcab_counter_read(0, value) == SUCCESS
    assert value.value == 69
    assert ready.atcab_counter_read(1, value) == SUCCESS
    assert value.value == 0
    worn = chip.eeprom.copy()
    worn.put_counter(1, COUNTER_MAX - 1)
    chip._memory.save(worn)
    assert ready.atcab_counter_increment(1, value) == SUCCESS
    assert value.value == COUNTER_MAX
    assert ready.atcab_counter_increment(1, value) == EXECUTION_ERROR
    assert ready.atcab_counter_read(1, value) == SUCCESS
    assert value.value == COUNTER_MAX


@pytest.mark.parametrize("start", [0, 1, 15, 16, 31, 32, 33, 47, 48, 5_000, COUNTER_MAX])
def test_the_client_and_the_chip_write_counters_alike(
    client: Any, chip: VirtualAtecc608, start: int
) -> None:
    assert client.atcab_write_config_counter(0, start) == SUCCESS
    ours = Eeprom.factory(bytes(6))
    ours.put_counter(0, start)
    assert chip.eeprom.config[52:60] == ours.config[52:60]
    assert chip.eeprom.counter(0) == start


def test_nonces(ready: Any) -> None:
    drawn, again = bytearray(32), bytearray(32)
    assert ready.atcab_nonce_rand(bytes(20), drawn) == SUCCESS
    assert ready.atcab_nonce_rand(bytes(20), again) == SUCCESS
    assert drawn != again
    for target in (0x00, 0x40):  # TempKey, digest buffer
        for size in (32, 64):
            assert ready.atcab_nonce_load(target, bytes(size), size) == SUCCESS
    # The digest that was used up signs no second time.
    assert ready.atcab_nonce_load(0x40, DIGEST, 32) == SUCCESS
    assert ready.atcab_sign_base(0xA0, SIGNING_SLOT, bytearray(64)) == SUCCESS
    assert ready.atcab_sign_base(0xA0, SIGNING_SLOT, bytearray(64)) == EXECUTION_ERROR


@pytest.mark.parametrize("size", [0, 1, 55, 63, 64, 65, 128, 200])
def test_sha(client: Any, size: int) -> None:
    message, digest = os.urandom(size), bytearray(32)
    assert client.atcab_sha(size, message, digest) == SUCCESS
    assert digest == hashlib.sha256(message).digest()


def test_a_sha_without_a_start_is_refused(client: Any) -> None:
    assert client.atcab_sha_update(bytes(64)) == EXECUTION_ERROR


def test_self_test(client: Any, chip: VirtualAtecc608) -> None:
    result = client.AtcaReference(0xFF)
    assert client.atcab_selftest(0x3B, 0, result) == SUCCESS
    assert result.value == 0
    chip.faults.self_test = 0x02
    client.atcab_selftest(0x3B, 0, result)
    assert result.value == 0x02


def test_data_zone_and_otp_follow_their_configuration(ready: Any) -> None:
    found = bytearray(32)
    block = bytes(range(32))
    assert ready.atcab_write_zone(DATA_ZONE, PLAIN_SLOT, 0, 0, block, 32) == SUCCESS
    assert ready.atcab_write_zone(DATA_ZONE, PLAIN_SLOT, 0, 1, b"abcd", 4) == SUCCESS
    assert ready.atcab_read_zone(DATA_ZONE, PLAIN_SLOT, 0, 0, found, 32) == SUCCESS
    assert found == block[:4] + b"abcd" + block[8:]
    assert ready.atcab_write_zone(DATA_ZONE, SECRET_SLOT, 0, 0, block, 32) == SUCCESS
    for slot in (SECRET_SLOT, SIGNING_SLOT):
        assert ready.atcab_read_zone(DATA_ZONE, slot, 0, 0, found, 32) == EXECUTION_ERROR
    assert ready.atcab_write_zone(DATA_ZONE, SIGNING_SLOT, 0, 0, block, 32) == EXECUTION_ERROR
    assert ready.atcab_read_zone(OTP_ZONE, 0, 0, 0, found, 32) == SUCCESS
    assert found == b"\xff" * 32
    assert ready.atcab_write_zone(OTP_ZONE, 0, 0, 0, block, 32) == EXECUTION_ERROR


def test_nothing_of_the_data_zone_is_read_before_its_lock(
    client: Any, chip: VirtualAtecc608
) -> None:
    found = bytearray(32)
    assert client.atcab_write_config_zone(configuration(chip)) == SUCCESS
    assert client.atcab_lock_config_zone() == SUCCESS
    assert client.atcab_write_zone(DATA_ZONE, PLAIN_SLOT, 0, 0, bytes(32), 32) == SUCCESS
    assert client.atcab_read_zone(DATA_ZONE, PLAIN_SLOT, 0, 0, found, 32) == EXECUTION_ERROR
    summary = int.from_bytes(crc16(chip.eeprom.data + chip.eeprom.otp), "little")
    assert client.atcab_lock_data_zone_crc(summary ^ 1) == EXECUTION_ERROR
    assert client.atcab_lock_data_zone_crc(summary) == SUCCESS
    assert client.atcab_read_zone(DATA_ZONE, PLAIN_SLOT, 0, 0, found, 32) == SUCCESS


def test_user_extra_is_written_once(client: Any, chip: VirtualAtecc608) -> None:
    assert client.atcab_updateextra(0, 7) == SUCCESS
    assert chip.eeprom.config[84] == 7
    assert client.atcab_updateextra(0, 8) == EXECUTION_ERROR


def test_a_damaged_answer_is_never_taken(ready: Any, chip: VirtualAtecc608) -> None:
    chip.faults.crc = 1_000
    assert ready.atcab_sign(SIGNING_SLOT, DIGEST, bytearray(64)) in NOISE
    assert ready.atcab_info(bytearray(4)) in NOISE
    chip.faults.crc = 0
    assert ready.atcab_info(bytearray(4)) == SUCCESS


def test_a_client_outlasts_a_busy_and_a_deaf_chip(chip: VirtualAtecc608) -> None:
    chip._time_scale = 0.2
    with makers_client(chip) as library:
        assert library.atcab_info(bytearray(4)) == SUCCESS
        chip.faults.nack = 2
        assert library.atcab_random(bytearray(32)) == SUCCESS
        assert library.atcab_lock_config_zone() == SUCCESS
        assert library.atcab_genkey(0, bytearray(64)) == SUCCESS


def test_the_client_works_over_tcp_as_well(chip: VirtualAtecc608) -> None:
    with serving(chip) as port:
        bus = TcpI2C("127.0.0.1", port)
        with makers_client(bus) as library:
            assert library.atcab_write_config_zone(configuration(chip)) == SUCCESS
            assert library.atcab_lock_config_zone() == SUCCESS
            public, signature = bytearray(64), bytearray(64)
            assert library.atcab_genkey(SIGNING_SLOT, public) == SUCCESS
            assert library.atcab_lock_data_zone() == SUCCESS
            assert library.atcab_sign(SIGNING_SLOT, DIGEST, signature) == SUCCESS
            verifies(public, signature)
        bus.close()
