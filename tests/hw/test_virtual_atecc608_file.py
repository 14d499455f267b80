"""A virtual chip's file, its faults, and what is left after power or process are gone."""

import hashlib
import multiprocessing
import os
import signal
import stat
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from support.wire608 import (
    EXECUTION,
    OK,
    SIGNING_SLOT,
    Clock,
    Wire,
    chip_of,
    nack,
    ready_eeprom,
)
from tallystick.evidence.errors import KeyDriverError, Malformed
from tallystick.hw.virtual_atecc608 import ChipFile, Eeprom, Faults, VirtualAtecc608, chip_file

INFO, NONCE, GENKEY, SIGN, COUNTER = 0x30, 0x16, 0x40, 0x41, 0x24
DIGEST = hashlib.sha256(b"decision").digest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "robot.chip"


def opened(path: Path) -> VirtualAtecc608:
    return VirtualAtecc608.open(str(path), time_scale=0.0)


def saved(path: Path, eeprom: Eeprom) -> Path:
    ChipFile(str(path), eeprom).close()
    return path


def test_a_chip_outlives_its_process(path: Path) -> None:
    saved(path, ready_eeprom())
    chip = opened(path)
    wire = Wire(chip)
    wire.wake()
    public = wire.command(GENKEY, 0x04, SIGNING_SLOT)
    assert wire.command(COUNTER, 1) == b"\x01\0\0\0"
    chip.close()
    again = opened(path)
    wire = Wire(again)
    wire.wake()
    assert wire.command(GENKEY, 0x00, SIGNING_SLOT) == public
    assert wire.command(COUNTER, 0) == b"\x01\0\0\0"
    again.close()


def test_one_process_at_a_time(path: Path) -> None:
    VirtualAtecc608.new(str(path))
    first = opened(path)
    with pytest.raises(KeyDriverError, match="another process uses this chip"):
        opened(path)
    first.close()
    opened(path).close()


def test_by_a_link_it_is_the_same_chip(path: Path, tmp_path: Path) -> None:
    """Two holders, or a save beside the file, would bring an old counter back."""
    saved(path, ready_eeprom())
    link = tmp_path / "elsewhere" / "link.chip"
    link.parent.mkdir()
    link.symlink_to(path)
    chip = opened(link)
    with pytest.raises(KeyDriverError, match="another process"):
        opened(path)
    wire = Wire(chip)
    wire.wake()
    assert wire.command(COUNTER, 1) == b"\x01\0\0\0"
    chip.close()
    assert link.is_symlink()
    again = opened(path)
    wire = Wire(again)
    wire.wake()
    assert wire.command(COUNTER, 0) == b"\x01\0\0\0"
    again.close()


def test_a_chip_is_never_replaced(path: Path) -> None:
    VirtualAtecc608.new(str(path), unique=b"abcdef")
    before = path.read_bytes()
    with pytest.raises(KeyDriverError, match="never replaced"):
        VirtualAtecc608.new(str(path))
    assert path.read_bytes() == before
    chip = opened(path)
    assert chip.eeprom.serial == b"\x01\x23abcdef\xee"
    chip.close()


def test_a_file_that_is_not_there_or_no_chip(path: Path) -> None:
    with pytest.raises(KeyDriverError, match="tally chip new"):
        opened(path)
    assert list(path.parent.iterdir()) == []
    path.write_bytes(b"something else")
    with pytest.raises(KeyDriverError, match="no file of a virtual ATECC608"):
        opened(path)
    missing = path.parent / "nowhere" / "robot.chip"
    with pytest.raises(KeyDriverError, match="No such file"):
        VirtualAtecc608.new(str(missing))


def test_it_says_what_it_is_and_is_the_owners_alone(path: Path) -> None:
    VirtualAtecc608.new(str(path))
    assert b"protects nothing, its keys are plain" in path.read_bytes().split(b"\n")[0]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_changed_byte_is_seen() -> None:
    good = chip_file.encode(ready_eeprom())
    for at in range(len(good)):
        changed = bytearray(good)
        changed[at] ^= 1
        with pytest.raises(Malformed):
            chip_file.parse(bytes(changed))


def test_a_full_disk_is_no_missing_chip(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = opened(saved(path, ready_eeprom()))
    wire = Wire(chip)
    wire.wake()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyDriverError, match="could not be saved: No space left"):
        wire.send(COUNTER, 1)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.iterdir() if ".chip-" in one.name] == []
    assert wire.command(COUNTER, 1) == b"\x01\0\0\0"
    chip.close()


def count_for_ever(path: str, said: Connection) -> None:
    wire = Wire(VirtualAtecc608.open(path, time_scale=0.0))
    while True:
        wire.wake()
        said.send(int.from_bytes(wire.command(COUNTER, 1), "little"))
        wire.rest(1)


def test_a_killed_process_leaves_a_chip(path: Path) -> None:
    saved(path, ready_eeprom())
    last = 0
    context = multiprocessing.get_context("spawn")
    for round_ in range(4):
        heard, said = context.Pipe(duplex=False)
        process = context.Process(target=count_for_ever, args=(str(path), said), daemon=True)
        process.start()
        said.close()
        assert heard.poll(30)
        time.sleep(0.01 * round_)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        try:
            while heard.poll():
                last = heard.recv()
        except EOFError:
            pass
        chip = opened(path)
        # What was answered was kept; at most one more was kept and not answered.
        assert last <= chip.eeprom.counter(0) <= last + 1
        last = chip.eeprom.counter(0)
        chip.close()


@pytest.mark.parametrize(("cut", "counted"), [("before", 0), ("after", 1)])
def test_power_lost_around_a_write(path: Path, cut: str, counted: int) -> None:
    chip = opened(saved(path, ready_eeprom()))
    wire = Wire(chip)
    wire.wake()
    wire.command(NONCE, 0x43, 0, DIGEST)
    chip.faults = Faults.parse((f"cut={cut}",))
    assert wire.command(INFO) == bytes.fromhex("00006003")  # writes nothing: no cut
    wire.send(COUNTER, 1)
    with nack():
        wire.answer()
    wire.wake()
    assert wire.command(COUNTER, 0) == bytes((counted, 0, 0, 0))
    assert wire.command(SIGN, 0xA0) == EXECUTION  # the registers are gone
    chip.close()


def test_faults_strike_as_often_as_asked() -> None:
    chip = chip_of(ready_eeprom(), faults=Faults.parse(("nack=2", "crc=1")))
    wire = Wire(chip)
    with nack():
        wire.wake()
    with nack():
        chip.readfrom(0x60, 4)
    assert chip.readfrom(0x60, 4) != bytes.fromhex("04113343")
    wire.rest(2)
    assert wire.wake() == bytes.fromhex("04113343")


def test_a_stuck_chip_is_busy_until_its_power_was_off() -> None:
    clock = Clock()
    chip = chip_of(ready_eeprom(), faults=Faults.parse(("stuck",)), clock=clock)
    wire = Wire(chip)
    wire.wake()
    wire.send(INFO)
    for _ in range(3):
        clock.pass_(60)
        with nack():
            wire.wake()
    chip.power(on=False)
    with nack():
        wire.wake()
    chip.power(on=True)
    wire.wake()
    assert wire.command(INFO) == bytes.fromhex("00006003")


def test_a_slow_and_an_unplugged_chip() -> None:
    clock = Clock()
    faults = Faults.parse(("slow=3",))
    chip = chip_of(ready_eeprom(), faults=faults, clock=clock, time_scale=1.0)
    wire = Wire(chip)
    with nack():
        wire.wake()
    clock.pass_(0.01)
    wire.send(GENKEY, 0x00)
    clock.pass_(0.3)
    with nack():
        wire.answer()
    clock.pass_(0.05)
    assert len(wire.answer()) == 64
    faults.unplugged = True
    with nack():
        wire.send(INFO)


def test_a_worn_counter() -> None:
    eeprom = ready_eeprom()
    eeprom.put_counter(0, 2_097_151)
    wire = Wire(chip_of(eeprom))
    wire.wake()
    assert wire.command(COUNTER, 1) == EXECUTION
    assert wire.command(COUNTER, 0) == (2_097_151).to_bytes(4, "little")
    with pytest.raises(Malformed):
        eeprom.put_counter(0, 2_097_152)


@pytest.mark.parametrize(
    "text", ["nack", "nack=0", "nack=x", "crc=1000001", "cut", "cut=now", "bla"]
)
def test_faults_that_there_are_not(text: str) -> None:
    with pytest.raises(KeyDriverError):
        Faults.parse((text,))


def test_locks_are_never_undone(path: Path) -> None:
    chip = opened(saved(path, ready_eeprom()))
    wire = Wire(chip)
    wire.wake()
    assert wire.command(0x17, 0x02 | SIGNING_SLOT << 2) == OK
    for mode in (0x80, 0x81, 0x02):
        assert wire.command(0x17, mode) == EXECUTION
    for word in range(32):
        wire.command(0x12, 0x00, word, b"\xff\xff\xff\xff")
    wire.command(0x20, 0, 1)
    wire.command(0x20, 1, 1)
    after = chip.eeprom.config
    assert after[86:90] == b"\0\0\xfe\xff"
    chip.close()
