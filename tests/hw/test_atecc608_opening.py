"""Opening keys in an ATECC608: URIs, boards, Linux's buses, and errors that say what to do."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest

from support.chips608 import SERIAL, Interference, our_chip, our_eeprom, set_up, without_waiting
from tallystick.evidence import keycustody
from tallystick.evidence.enrolment import CUSTODIES, custody_context
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import EDDSA, ES256
from tallystick.hw import atecc608_linux, atecc608_open, boards
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.atecc608_linux import I2C_SLAVE, LinuxI2C
from tallystick.hw.signer import Signer
from tallystick.hw.virtual_atecc608 import ChipFile, Eeprom, VirtualAtecc608


def refusal(uri: str) -> KeyDriverError:
    with pytest.raises(KeyDriverError) as raised:
        Signer.from_uri(uri)
    return raised.value


# URIs.


@pytest.mark.parametrize(
    "rest",
    [
        "bus",
        "bus=",
        "bus=1;",
        ";bus=1",
        "bus=x",
        "bus=-1",
        "bus=+1",
        "bus=1_0",
        "bus=0x",
        "bus= 1",
        "bus=1,slot=2",
        "bus=1;bus=2",
        "bus=1;speed=2",
        "bus=99999999",
        "slot=1",
        "address=0x60",
        "bus=1;slot=16",
        "bus=1;address=0x7",
        "bus=1;address=0x78",
        "bus=1;freq=133001",
        "bus=1;freq=0",
        "bus=1;tcp=127.0.0.1:1",
        "scl=1",
        "sda=1;bus=1",
        "id=0",
        "virtual=a;virtual=b",
        "board=esp32;bus=1",
        "tcp=127.0.0.1",
        "tcp=:7608",
        "tcp=127.0.0.1:65536",
        "tcp=127.0.0.1:x",
    ],
)
def test_a_uri_is_read_strictly(rest: str) -> None:
    assert refusal("atecc608:" + rest).reason == "bad-key-uri"


def test_what_a_uri_names() -> None:
    assert atecc608_open.parse("bus=1;address=0x6A;slot=3") == {
        "bus": 1,
        "address": 0x6A,
        "slot": 3,
    }
    assert atecc608_open.parse("id=1;scl=7;sda=6;freq=100000")["freq"] == 100_000


def test_pins_are_for_boards() -> None:
    error = refusal("atecc608:id=0;scl=5;sda=4")
    assert error.reason == "no-bus" and "bus=N" in error.message


# Boards.


@pytest.mark.parametrize("name", boards.names())
def test_every_board_is_whole(name: str) -> None:
    board = boards.load(name)
    place = board.secure_element
    assert board.title and board.wiring
    if place is None:
        assert board.runtime == "linux"
        error = refusal(f"atecc608:board={name}")
        assert error.reason == "no-board" and "bus=N" in error.message
        return
    assert (place.bus is not None) == (board.runtime == "linux")
    assert (place.scl is not None) == (place.sda is not None) == (place.bus is None)
    named = atecc608_open.parse(boards.expand(f"atecc608:board={name};slot=1")[9:])
    assert named["slot"] == 1 and named["address"] == place.address == 0x60
    assert "board" not in named


def test_boards_of_each_kind_ship() -> None:
    assert {"raspberry-pi-pico", "esp32", "raspberry-pi"} <= set(boards.names())
    # As drawn in docs/pictures/wiring-pico.svg.
    assert boards.expand("atecc608:board=raspberry-pi-pico") == (
        "atecc608:id=0;scl=5;sda=4;freq=100000;address=0x60"
    )
    assert boards.expand("file:key") == "file:key"
    error = refusal("atecc608:board=pico-9")
    assert error.reason == "no-board" and "raspberry-pi-pico" in error.message


def test_a_uri_wins_over_its_board() -> None:
    assert boards.place_on({"board": "raspberry-pi", "bus": 3, "address": 0x61}) == {
        "bus": 3,
        "address": 0x61,
    }


# Linux.


class Kernel:
    """The calls to Linux that the driver makes, answered for one bus with one chip."""

    O_RDWR, O_CLOEXEC = os.O_RDWR, os.O_CLOEXEC
    LOCK_EX, LOCK_NB, LOCK_UN = fcntl.LOCK_EX, fcntl.LOCK_NB, fcntl.LOCK_UN

    def __init__(self, chip: VirtualAtecc608, lock_file: Path) -> None:
        self.chip = chip
        self.lock_file = lock_file
        self.addresses: dict[int, int] = {}
        self.opened: list[str] = []
        self.fault = 0
        self.taken: tuple[int, ...] = ()

    def open(self, path: str, _flags: int) -> int:
        self.opened.append(path)
        if path != "/dev/i2c-1":
            raise FileNotFoundError(errno.ENOENT, "No such file", path)
        return os.open(self.lock_file, os.O_RDWR | os.O_CREAT)

    def listdir(self, path: str) -> list[str]:
        return ["i2c-1", "null", "i2c-20"] if path == "/dev" else []

    def ioctl(self, file: int, request: int, address: int) -> int:
        assert request == I2C_SLAVE
        if address in self.taken:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.addresses[file] = address
        return 0

    def flock(self, file: int, how: int) -> None:
        fcntl.flock(file, how)

    def write(self, file: int, data: bytes) -> int:
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        try:
            return self.chip.writeto(self.addresses[file], data)
        except OSError:
            raise OSError(errno.EREMOTEIO, "Remote I/O error") from None

    def read(self, file: int, size: int) -> bytes:
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        try:
            return self.chip.readfrom(self.addresses[file], size)
        except OSError:
            raise OSError(errno.EREMOTEIO, "Remote I/O error") from None

    def close(self, file: int) -> None:
        os.close(file)


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    without_waiting(monkeypatch)
    made = Kernel(our_chip(), tmp_path / "i2c-1")
    monkeypatch.setattr(atecc608_linux, "os", made)
    monkeypatch.setattr(atecc608_linux, "fcntl", made)
    return made


def test_a_key_on_a_linux_bus(kernel: Kernel) -> None:
    key = Signer.from_uri("atecc608:board=raspberry-pi")
    key.public_key().verify(key.sign(b"decision"), b"decision")
    assert kernel.opened == ["/dev/i2c-1"]
    other = LinuxI2C(1)
    assert other.lock()
    assert not LinuxI2C(1).lock()
    other.unlock()
    other.close()
    other.close()
    key.close()


def test_a_linux_bus_that_is_not_there(kernel: Kernel) -> None:
    error = refusal("atecc608:bus=7")
    assert error.reason == "no-bus"
    assert "/dev/i2c-7" in error.message and "i2c-1, i2c-20" in error.message


def test_a_linux_bus_that_this_user_may_not_use(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: str, _flags: int) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(kernel, "open", denied)
    error = refusal("atecc608:bus=1")
    assert error.reason == "no-bus" and "group i2c" in error.message


def test_a_linux_bus_that_hangs(kernel: Kernel) -> None:
    kernel.fault = errno.ETIMEDOUT
    assert refusal("atecc608:bus=1").reason == "bus-stuck"


def test_a_chip_that_the_kernel_has(kernel: Kernel) -> None:
    kernel.taken = (0x60,)
    error = refusal("atecc608:bus=1")
    assert error.reason == "chip-in-use" and "modprobe" in error.message
    error = refusal("atecc608:bus=1;address=0x61")
    assert error.reason == "no-chip" and "answers: 0x60" in error.message


def test_a_linux_bus_without_the_chip_names_what_answers(kernel: Kernel) -> None:
    error = refusal("atecc608:bus=1;address=0x61")
    assert error.reason == "no-chip"
    assert "0x61" in error.message and "answers: 0x60" in error.message


# Chips.


def test_the_key_of_a_chip_in_a_file(tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip")
    key = Signer.from_uri(uri)
    assert (key.alg, key.custody) == (ES256, "secure-element") and key.custody in CUSTODIES
    assert "0x60" in repr(key)
    assert refusal(uri).reason == "chip-in-use"  # the file has one process
    key.close()
    again = Signer.from_uri(uri + ";slot=0")
    assert again.public_key() == key.public_key()
    again.close()


def chip_file(path: Path, eeprom: Eeprom) -> str:
    ChipFile(str(path), eeprom).close()
    return f"atecc608:virtual={path}"


def test_no_chip_at_that_address(tmp_path: Path) -> None:
    error = refusal(chip_file(tmp_path / "chip", our_eeprom()) + ";address=0x50")
    assert error.reason == "no-chip" and "0x50" in error.message and "0x60" in error.message


def test_another_model(tmp_path: Path) -> None:
    eeprom = our_eeprom()
    eeprom.memory[4:8] = b"\x00\x00\x50\x00"
    assert refusal(chip_file(tmp_path / "chip", eeprom)).reason == "wrong-chip"


def test_a_new_chip_is_not_locked(tmp_path: Path) -> None:
    path = tmp_path / "chip"
    VirtualAtecc608.new(str(path))
    error = refusal(f"atecc608:virtual={path}")
    assert error.reason == "not-locked" and "tally key provision" in error.message
    half = our_eeprom()
    half.memory[86] = 0x55
    error = refusal(chip_file(tmp_path / "half", half))
    assert error.reason == "not-locked" and "data" in error.message


@pytest.mark.parametrize(
    ("at", "value"),
    [(20, 0x80), (96, 0x32), (96, 0x3F)],  # signs nothing from outside, no private key, no P-256
)
def test_a_slot_that_does_not_sign(tmp_path: Path, at: int, value: int) -> None:
    eeprom = our_eeprom()
    eeprom.memory[at] = value
    error = refusal(chip_file(tmp_path / "chip", eeprom))
    assert error.reason == "wrong-slot" and "slots that do: 1, 2, 3" in error.message


def test_a_slot_without_a_key(tmp_path: Path) -> None:
    error = refusal(chip_file(tmp_path / "chip", our_eeprom(key=None)))
    assert error.reason == "no-key" and "tally key create" in error.message


def test_a_key_is_made_where_none_is_and_never_over_another(tmp_path: Path) -> None:
    uri = set_up(tmp_path / "chip") + ";slot=1"
    made = Signer.create(uri)
    public = made.public_key()
    made.public_key().verify(made.sign(b"x"), b"x")
    made.close()
    with pytest.raises(KeyDriverError) as raised:
        Signer.create(uri)
    assert raised.value.reason == "key-exists"
    opened = Signer.from_uri(uri)
    assert opened.public_key() == public
    chip = opened.chip  # type: ignore[attr-defined]
    # Only where setting up says so, and not where the slot is locked.
    assert atecc608_open.generate(chip, 1, [True]) != public.raw
    with pytest.raises(KeyDriverError) as raised:
        atecc608_open.generate(chip, 0, [True])
    assert raised.value.reason == "locked-slot"
    opened.close()


def test_the_chip_has_p256_only(tmp_path: Path) -> None:
    with pytest.raises(KeyDriverError, match="P-256") as raised:
        Signer.create(set_up(tmp_path / "chip") + ";slot=1", EDDSA)
    assert raised.value.reason == "no-such-key"


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_key_that_was_made_before_its_answer_was_lost(tmp_path: Path, cut: str) -> None:
    chip = our_chip(our_eeprom(key=None))
    chip.faults.cut = cut
    made = atecc608_open.generate(Chip(chip, 0x60), 0, [])
    held = chip.eeprom.private_key(0)
    assert held is not None
    assert made[:32] == held.public_key().public_numbers().x.to_bytes(32, "big")


def test_evidence_counts_as_secure_element(tmp_path: Path) -> None:
    key = Signer.from_uri(set_up(tmp_path / "chip"))
    public = key.public_key()
    evidence = key.evidence(custody_context(public, "acme"))
    key.close()
    counted = keycustody.count(
        public, public.thumbprint(), "acme", public, CUSTODIES.index(key.custody), evidence, 0
    )
    assert CUSTODIES[counted.level] == "secure-element" and not counted.why()
    assert SERIAL.lower() in counted.shown[0]


def test_whatever_goes_wrong_the_bus_is_given_back(tmp_path: Path) -> None:
    uri = chip_file(tmp_path / "chip", our_eeprom(key=None))
    for _ in range(2):
        assert refusal(uri).reason == "no-key"
        assert refusal(uri + ";slot=9").reason == "wrong-slot"
        with pytest.raises(KeyDriverError):
            Signer.create(uri, EDDSA)


def test_interference_needs_no_close() -> None:
    """A bus is any object with writeto, readfrom and scan."""
    bus: Any = Interference(our_chip())
    assert not hasattr(bus, "close") and not hasattr(bus, "lock")
    atecc608_open.close(bus)
