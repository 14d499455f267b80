"""MicroPython's own image onto a board: by esptool, or by copying a UF2 file to the loader's drive.

Neither touches the flash's part with the files, as long as the new image puts it where the old one
had it. What the file is for is looked at before anything is sent.
"""

import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tallystick.evidence.errors import TransportError
from tallystick.hw.boards import Board, Flash
from tallystick.tools._files import read_bytes

IMAGE_BYTES_MAX = 32 << 20
VOLUME_S_MAX = 30.0
LOOK_S = 0.5
ESPTOOL_S_MAX = 600.0
LINE_CHARS_MAX = 200
# Of an ESP image: its first byte, and where the number of the chip stands (two bytes).
ESP_MAGIC, ESP_CHIP_AT = 0xE9, 12
UF2_BLOCK = struct.Struct("<IIIIIIII476sI")
UF2_MAGIC = (0x0A324655, 0x9E5D5157, 0x0AB16F30)
UF2_FAMILY_FLAG = 0x2000
UF2_INFO = "INFO_UF2.TXT"
MOUNTS = ("/media/*/{label}", "/media/{label}", "/run/media/*/{label}", "/mnt/{label}")
MOUNTS_ELSEWHERE = ("/Volumes/{label}",)


def check(path: Path, board: Board) -> bytes:
    """The image's bytes.

    :raises TransportError: `wrong-image`: it is none, or is for another board.
    """
    data = read_bytes(path, IMAGE_BYTES_MAX)
    flash = _flash(board)
    wrong = _wrong_esp(data, flash) if flash.method == "esptool" else _wrong_uf2(data, flash)
    if wrong:
        message = f"{path}: {wrong}; {board.title} needs one of it; nothing was written"
        raise TransportError("wrong-image", message)
    return data


def _flash(board: Board) -> Flash:
    if board.flash is None:
        raise TransportError("wrong-board", f"{board.title} runs no MicroPython of ours")
    return board.flash


def _wrong_esp(data: bytes, flash: Flash) -> str:
    from esptool.targets import CHIP_DEFS  # noqa: PLC0415 - costs a second, used here only

    if len(data) < ESP_CHIP_AT + 2 or data[0] != ESP_MAGIC:
        return "is no image for an ESP32"
    (chip,) = struct.unpack_from("<H", data, ESP_CHIP_AT)
    if chip != CHIP_DEFS[flash.chip].IMAGE_CHIP_ID:
        return "is an image for another chip"
    return ""


def _wrong_uf2(data: bytes, flash: Flash) -> str:
    if not data or len(data) % UF2_BLOCK.size:
        return "is no whole UF2 file"
    families = set()
    for block in UF2_BLOCK.iter_unpack(data):
        if (block[0], block[1], block[9]) != UF2_MAGIC:
            return "is no UF2 file"
        families.add(block[7] if block[2] & UF2_FAMILY_FLAG else None)
    if flash.families[0] not in families or families - set(flash.families):
        return "is a UF2 file for another chip"
    return ""


# ----- esptool


def esptool_command(board: Board, port: str, path: Path) -> list[str]:
    """The command line that writes the image."""
    flash = _flash(board)
    options = ["--chip", str(flash.chip), "--port", port, "--baud", str(flash.baud)]
    return [
        sys.executable,
        "-m",
        "esptool",
        *options,
        "write-flash",
        hex(flash.offset or 0),
        str(path),
    ]


def write_by_esptool(board: Board, port: str, path: Path, say: Callable[[str], None]) -> None:
    """Run esptool, which verifies what it wrote; its lines go to `say`.

    :raises TransportError: `esptool`, with its own last sentence.
    """
    last = ""
    with subprocess.Popen(
        esptool_command(board, port, path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        text=True,
        errors="replace",
    ) as running:
        try:
            for line in running.stdout or ():
                if line.strip():
                    say(line.rstrip())
                if "error" in line.lower():
                    last = line.strip()
            code = running.wait(ESPTOOL_S_MAX)
        except BaseException:
            running.kill()
            raise
    if code:
        reason = last[:LINE_CHARS_MAX].rstrip(".") or f"esptool ended with code {code}"
        message = (
            f"{port}: the image was not written ({reason}); {_flash(board).enter}, "
            "then run this again"
        )
        raise TransportError("esptool", message)


# ----- UF2


def find_volume(board: Board, named: Path | None) -> Path | None:
    """The folder of the loader's drive, where it is mounted.

    :raises TransportError: `wrong-board`: a drive is there, and it is another board's.
    """
    flash = _flash(board)
    places = [named] if named else []
    if named is None:
        for pattern in (*MOUNTS, *MOUNTS_ELSEWHERE):
            places += sorted(Path("/").glob(pattern.format(label=flash.volume)[1:]))
    for place in places:
        info = place / UF2_INFO
        if not info.is_file():
            continue
        lines = read_bytes(info, 4096).decode(errors="replace").splitlines()
        ids = [line.partition(":")[2].strip() for line in lines if line.startswith("Board-ID:")]
        if flash.board_id not in ids:
            message = (
                f"{place} is the drive of another board ({', '.join(ids) or 'unnamed'}) than "
                f"{board.title}; nothing was written"
            )
            raise TransportError("wrong-board", message)
        return place
    return None


def wait_for_volume(board: Board, named: Path | None, seconds: float = VOLUME_S_MAX) -> Path:
    """As find_volume, until it is there.

    :raises TransportError: `no-volume`, with what a person does.
    """
    limit = time.monotonic() + seconds
    while True:
        place = find_volume(board, named)
        if place is not None:
            return place
        if time.monotonic() > limit:
            flash = _flash(board)
            message = (
                f"the drive {flash.volume} of the board's loader is not mounted: {flash.enter}, "
                "and run this again; --volume names its folder where it is not found"
            )
            raise TransportError("no-volume", message)
        time.sleep(LOOK_S)


def write_by_copy(volume: Path, data: bytes, name: str) -> None:
    """Copy the image; the loader writes it to flash and starts it.

    :raises TransportError: `not-copied`.
    """
    try:
        with (volume / name).open("wb", buffering=0) as file:
            for at in range(0, len(data), UF2_BLOCK.size * 64):
                file.write(data[at : at + UF2_BLOCK.size * 64])
            os.fsync(file.fileno())
    except OSError as error:
        # The drive goes away as soon as the loader has the last block, which may be before fsync.
        if (volume / UF2_INFO).exists():
            message = f"{volume}: the image was not copied ({error.strerror}); run this again"
            raise TransportError("not-copied", message) from error
