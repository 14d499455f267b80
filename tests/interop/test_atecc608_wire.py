"""Our driver and the chip maker's own client put the same bytes on the wire.

Both talk through a Tap to a virtual chip of the same serial number. VECTORS are what the maker's
client sent, so the driver is held to it where that client is not installed, too.
"""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.makers_client import makers_client
from tallystick.evidence.errors import Unverified
from tallystick.hw import atecc608, atecc608_commands, atecc608_counter
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.virtual_atecc608 import Eeprom, Memory, Tap, VirtualAtecc608
from tallystick.hw.virtual_atecc608.crc import crc16

DIGEST = hashlib.sha256(b"decision").digest()
# The curve's generator: a public key that everybody has (FIPS 186-5, D.1.2.3).
PUBLIC = bytes.fromhex(
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
SIGNATURE = bytes(range(1, 65))
SLOT = 2

VECTORS = {
    "info": ("0730000000035d"),
    "random": ("071b00000024cd"),
    "read the configuration": ("070280000009ad 07028008000a4d 07028010000a1d 070280180009fd"),
    "write the configuration": (
        "0b12000400c00000008673 "
        "0b12000500832087206b9d "
        "0b120006008120c48f8893 "
        "0b120007008f8f8f8f9f33 "
        "27128008009f8faf8f0000000000000000000000000000af8fffffffff00000000ffffffff57b8 "
        "0b1200100000000000ae8f "
        "0b1200110000000000250f "
        "0b1200120000000000e90f "
        "0b1200130000000000628f "
        "0b12001400000000008f0f "
        "0b12001600ffff0000ec8f "
        "0b1200170000000000430f "
        "27128018003300330033001c001c001c001c001c003c003c003c003c003c003c003c001c00d60c "
        "0720000000007d "
        "072001000003f7"
    ),
    "lock the configuration": ("07170027565dd4"),
    "lock the data": ("07178100003a07"),
    "lock a slot": ("07170a00006e09"),
    "make a key": ("07400402008507"),
    "public key": ("07400002000685"),
    "sign": (
        "071b00000024cd "
        "271643000086ae35d58a6aa3b5742df94ef9d7162219f0106a911ae1954c1f0604aaec805d92f2 "
        "0741a002007d05"
    ),
    "verify": (
        "271643000086ae35d58a6aa3b5742df94ef9d7162219f0106a911ae1954c1f0604aaec805d92f2 "
        "87452204000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223"
        "2425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f406b17d1f2e12c4247f8bce6"
        "e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33"
        "576b315ececbb6406837bf51f5c9ad"
    ),
    "read a counter": ("0724000100057d"),
    "raise a counter": ("07240100000f77"),
    "self-test": ("07772300007dfa"),
}


def new_chip(state: str) -> VirtualAtecc608:
    """new: from the maker; written: configured; half: that is locked; ready: all, with a key."""
    made = Eeprom.factory(bytes(range(6)))
    if state != "new":
        made.memory[20 + 2 * SLOT : 22 + 2 * SLOT] = b"\x81\x20"
    if state in ("half", "ready"):
        made.memory[87] = 0
        made.put_slot(SLOT, 4, bytes(31) + b"\x07")
    if state == "ready":
        made.memory[86] = 0
    return VirtualAtecc608(Memory(made), time_scale=0.0)


def wanted_config() -> bytearray:
    return bytearray(new_chip("written").eeprom.config)


CRC = crc16(bytes(wanted_config()))

# Name: (state of the chip, what the client does, what our driver does).
Does = Callable[[Any], Any]
COMMANDS: "dict[str, tuple[str, Does, Does]]" = {
    "info": (
        "new",
        lambda client: client.atcab_info(bytearray(4)),
        lambda chip: chip.run(atecc608_commands.info, chip),
    ),
    "random": (
        "ready",
        lambda client: client.atcab_random(bytearray(32)),
        lambda chip: chip.run(atecc608_commands.random, chip),
    ),
    "read the configuration": (
        "new",
        lambda client: client.atcab_read_config_zone(bytearray(128)),
        lambda chip: chip.run(atecc608_commands.read_config, chip),
    ),
    "write the configuration": (
        "new",
        lambda client: client.atcab_write_config_zone(wanted_config()),
        lambda chip: chip.run(atecc608_commands.write_config, chip, bytes(wanted_config())),
    ),
    "lock the configuration": (
        "written",
        lambda client: client.atcab_lock_config_zone_crc(int.from_bytes(CRC, "little")),
        lambda chip: chip.run(atecc608_commands.lock_config, chip, CRC),
    ),
    "lock the data": (
        "half",
        lambda client: client.atcab_lock_data_zone(),
        lambda chip: chip.run(atecc608_commands.lock_data, chip),
    ),
    "lock a slot": (
        "ready",
        lambda client: client.atcab_lock_data_slot(SLOT),
        lambda chip: chip.run(atecc608_commands.lock_slot, chip, SLOT),
    ),
    "make a key": (
        "ready",
        lambda client: client.atcab_genkey(SLOT, bytearray(64)),
        lambda chip: chip.run(atecc608_commands.generate_key, chip, SLOT, [True]),
    ),
    "public key": (
        "ready",
        lambda client: client.atcab_get_pubkey(SLOT, bytearray(64)),
        lambda chip: chip.run(atecc608_commands.public_key, chip, SLOT),
    ),
    "sign": (
        "ready",
        lambda client: client.atcab_sign(SLOT, DIGEST, bytearray(64)),
        lambda chip: chip.run(atecc608.signing, chip, SLOT, DIGEST),
    ),
    "verify": (
        "ready",
        lambda client: client.atcab_verify_extern(
            DIGEST, SIGNATURE, PUBLIC, client.AtcaReference(False)
        ),
        lambda chip: chip.run(atecc608.verifying, chip, PUBLIC, SIGNATURE, DIGEST),
    ),
    "read a counter": (
        "ready",
        lambda client: client.atcab_counter_read(1, client.AtcaReference(0)),
        lambda chip: chip.run(atecc608_counter.reading, chip, 1),
    ),
    "raise a counter": (
        "ready",
        lambda client: client.atcab_counter_increment(0, client.AtcaReference(0)),
        lambda chip: chip.run(atecc608_counter.raising, chip, 0, []),
    ),
    "self-test": (
        "ready",
        lambda client: client.atcab_selftest(
            atecc608_commands.SELF_TESTS, 0, client.AtcaReference(0)
        ),
        lambda chip: chip.run(atecc608_commands.chip_tests, chip),
    ),
}

# What one side sends beside the command: the client draws a random number before it signs, and
# writes zeros over the zeros of UserExtra; our driver looks at a counter before it raises it.
THEIRS_ALONE = {
    "sign": ("071b00000024cd",),
    "write the configuration": ("0720000000007d", "072001000003f7"),
}
OURS_ALONE = {"raise a counter": ("07240000000cfd",)}


def theirs(name: str) -> "list[str]":
    state, does, _ = COMMANDS[name]
    tap = Tap(new_chip(state))
    with makers_client(tap) as client:
        tap.packets()
        assert does(client) == 0
        return [packet.hex() for packet in tap.packets()]


def ours(name: str) -> "list[str]":
    state, _, does = COMMANDS[name]
    tap = Tap(new_chip(state))
    try:
        does(Chip(tap, 0x60))
    except Unverified:
        assert name == "verify"  # SIGNATURE is none
    return [packet.hex() for packet in tap.packets()]


def test_every_command_has_a_vector() -> None:
    assert list(VECTORS) == list(COMMANDS)


def test_every_command_of_the_driver_is_compared() -> None:
    own = Path(__file__).read_text()
    for module in (atecc608, atecc608_commands, atecc608_counter):
        operations = [
            name
            for name, found in vars(module).items()
            if inspect.isgeneratorfunction(found) and found.__module__ == module.__name__
        ]
        assert operations
        short = module.__name__.rpartition(".")[2]
        assert [name for name in operations if f"{short}.{name}" not in own] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_the_makers_client_sends_the_vectors(name: str) -> None:
    assert theirs(name) == VECTORS[name].split()


@pytest.mark.parametrize("name", COMMANDS)
def test_our_driver_sends_what_the_makers_client_sends(name: str) -> None:
    wanted = [one for one in VECTORS[name].split() if one not in THEIRS_ALONE.get(name, ())]
    sent = [one for one in ours(name) if one not in OURS_ALONE.get(name, ())]
    assert sent == wanted
    assert wanted


def test_words_between_packets_are_the_same() -> None:
    """Both wake by a write to address 0, and leave the chip idle or asleep."""
    for make in (_with_client, _with_driver):
        tap = make()
        words = [(kind, address, data[:1]) for kind, address, data in tap.transfers if kind != "R"]
        assert words[0][:2] == ("W!", 0)
        assert words[-1][0] == "W"
        assert words[-1][2] in (b"\x01", b"\x02")


def _with_client() -> Tap:
    tap = Tap(new_chip("ready"))
    with makers_client(tap) as client:
        tap.packets()
        assert client.atcab_info(bytearray(4)) == 0
    return tap


def _with_driver() -> Tap:
    tap = Tap(new_chip("ready"))
    chip = Chip(tap, 0x60)
    chip.run(atecc608_commands.info, chip)
    return tap
