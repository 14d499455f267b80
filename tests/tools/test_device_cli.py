"""`tally device` on emulated boards, end to end, by its command line."""

import contextlib
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import serial
from click.testing import CliRunner, Result
from serial.tools.list_ports_common import ListPortInfo

from support.devices import Fleet
from support.emulated_device import EmulatedDevice, Words, quick_cables
from support.emulated_robot import FLEET, library_files, robot
from support.serialsite import decisions
from support.site import Site, until
from tallystick.evidence import cbor, custody, record, segment
from tallystick.evidence.errors import TallyError
from tallystick.evidence.event import Event
from tallystick.evidence.keys import b64u, device_text
from tallystick.tools.device import connection, image, session
from tallystick.tools.device.board import LIBRARY
from tallystick.tools.device.image import UF2_BLOCK, UF2_MAGIC
from tallystick.tools.device.manifest import compiled_library
from tallystick.tools.main import cli
from tallystick.tools.micropython import MicroPython
from tallystick.tools.mosquitto import Mosquitto

__all__ = ["quick_cables"]

pytestmark = pytest.mark.usefixtures("quick_cables")

PICO_W = Words(
    platform="rp2",
    machine="Raspberry Pi Pico W with RP2040",
    build="RPI_PICO_W",
    unique="e6614103e7452b2f",
)
RECORD_BYTES = 100
TALLY = "import sys; from tallystick.tools.main import main; sys.exit(main())"


def tally(*words: object) -> Result:
    """In this process; an error of ours is raised."""
    done = CliRunner().invoke(cli, ["device", *map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def said(*words: object) -> dict[str, Any]:
    done = tally(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(reason: str, *words: object) -> str:
    """The one sentence."""
    with pytest.raises(TallyError) as caught:
        tally(*words)
    text = str(caught.value)
    assert caught.value.reason == reason, text
    assert "\n" not in text and 10 < len(text) < 400
    return text


@pytest.fixture
def board(tmp_path: Path, micropython64: MicroPython) -> Iterator[EmulatedDevice]:
    with EmulatedDevice(tmp_path / "flash.img", micropython64) as made:
        yield made


@pytest.fixture(params=[64, 32])
def running(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    micropython64: MicroPython,
    micropython32: MicroPython,
) -> Iterator[EmulatedDevice]:
    """A robot whose main.py records."""
    interpreter = micropython64 if request.param == 64 else micropython32
    with EmulatedDevice(tmp_path / "flash.img", interpreter) as made:
        made.power_off()
        robot(made, tmp_path)
        made.power_on()
        yield made


def journal_bytes(device: EmulatedDevice) -> int:
    return sum(len(data) for path, data in device.contents().items() if path.endswith(".tally"))


def records(device: EmulatedDevice, more: int) -> None:
    """Wait until its journal has grown by so many records."""
    limit = time.monotonic() + 120
    wanted = journal_bytes(device) + RECORD_BYTES * more
    while journal_bytes(device) < wanted:
        # Its main.py does not end by itself.
        assert device.wait("runs", "idle") == "runs" and time.monotonic() < limit, device.said
        time.sleep(0.05)


def events(segments: list[segment.Segment]) -> Iterator[Event]:
    for one in segments:
        for stretch in one.stretches:
            for item in stretch.items:
                read = record.parse(item) if isinstance(item, bytes) else None
                if isinstance(read, Event):
                    yield read


def test_flash_killed_resumed_and_done_twice(tmp_path: Path, micropython32: MicroPython) -> None:
    with EmulatedDevice(tmp_path / "flash.img", micropython32) as device:
        library_files()  # compiled
        process = subprocess.Popen(
            [sys.executable, "-c", TALLY, "device", "flash", "--port", device.port],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        while device.said.count(b"\x04\x04>") < 30 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not any(path.startswith(LIBRARY + "/") for path in device.contents())
        dry = said("flash", "--port", device.port, "--dry-run")
        done = said("flash", "--port", device.port)
        assert dry["written"] == done["written"] and dry["dry_run"]
        assert 0 < len(done["written"]) < done["files"]
        wanted = library_files()
        held = {path: data for path, data in device.contents().items() if path[-1] != "/"}
        assert held == wanted
        device.power_cycle()
        device.wait("idle")
        before = device.operations
        again = tally("flash", "--port", device.port)
        assert "every file is there already" in again.stdout and done["digest"] in again.stdout
        device.wait("idle")
        assert device.operations == before == 0


# It leaves a moment to interrupt it before it starts what cannot be stopped.
WATCHED = """
import machine, time
time.sleep(3)
dog = machine.WDT(timeout=300)
while True:
    dog.feed()
    time.sleep(0.05)
"""


def test_a_watchdog_resets_the_board_and_the_flash_goes_on(
    board: EmulatedDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOOK_S", 0.02)
    compiled_library()
    board.power_off()
    board.load({"/main.py": WATCHED.encode()})
    board.power_on()
    until(lambda: board._watchdog_s, "the watchdog")
    done = tally("flash", "--port", board.port, "--json")
    assert session.AGAIN in done.stderr
    assert board.wait("runs") == "runs"
    board.power_off()
    held = board.contents()
    assert library_files().items() <= held.items() and "/main.py" in held


def test_info_of_a_new_board(board: EmulatedDevice) -> None:
    info = said("info", "--port", board.port)
    assert (info["board"], info["micropython"]) == ("esp32-s3", "1.25.0")
    assert info["library"] is None and info["device"] is None
    assert 100_000 < info["heap_free"] < 262_144 and info["flash_free"] > 2_000_000
    shown = tally("info", "--port", board.port).stdout
    assert "ESP32-S3 development board" in shown and "none: the board has no /tal" in shown


def test_info_pull_and_wipe_while_main_records(running: EmulatedDevice, tmp_path: Path) -> None:
    port = running.port
    records(running, 30)
    info = said("info", "--port", port)
    assert info["library_is"] == "whole" and len(info["library_digest"]) == 64
    assert info["fleet"] == "acme" and info["key"] == "file" and info["enrolment"] == "active"
    assert info["unsent"] == info["records"] > 10 and info["in_custody"] == 0
    # The program runs again, and records on.
    assert running.wait("runs") == "runs"
    records(running, 40)
    folder = tmp_path / "robot-1"
    pulled = said("pull", folder, "--port", port)
    assert pulled["device"] == info["device"] and pulled["epochs"] == [info["epoch"]]
    assert (
        pulled["records"]["decisions"] > info["records"]
        and not pulled["broken"]
        and not pulled["elided"]
    )
    running.power_off()
    flash = running.contents()
    for path in (folder / "journal").iterdir():
        on_board = flash[f"/journal/{path.name}"]
        assert on_board.startswith(path.read_bytes())
    assert (
        not (folder / "key").exists() and b"file:key" in (folder / "tallystick.json").read_bytes()
    )
    inside = [segment.parse(path.read_bytes()) for path in sorted((folder / "segments").iterdir())]
    assert inside[0].first == 0 and [s.first for s in inside[1:]] == [s.to for s in inside[:-1]]
    assert sum(pulled["records"].values()) == inside[-1].to
    boots = [event for event in events(inside) if event.event == "boot"]
    assert {boot.details["firmware"].hex() for boot in boots} == {info["firmware_digest"]}
    running.power_on()
    records(running, 40)
    # More of the same journal later; a journal that was wiped is not written over it.
    more = said("pull", folder, "--port", port)
    assert more["segments"] > pulled["segments"]
    unsure = tally("wipe", "--port", port, "--journal")
    assert unsure.exit_code == 2 and "nothing was done: no terminal here" in unsure.stderr
    gone = tally("wipe", "--port", port, "--journal", "--yes")
    assert "records that no gateway has given a receipt for" in gone.stderr
    records(running, 1)
    refused("other-journal", "pull", folder, "--port", port)
    wiped = said("wipe", "--port", port, "--configuration", "--library", "--yes")
    assert "the device's key: it cannot sign as this device ever again" in wiped["lost"]
    assert {"/tallystick.json", "/key", "/credential.cbor", LIBRARY} <= set(wiped["removed"])
    left = running.contents()
    assert "/main.py" in left and "/key" not in left
    assert not any(path.startswith(LIBRARY) for path in left)


@pytest.mark.parametrize("running", [64], indirect=True)
def test_pull_and_wipe_spare_what_is_not_theirs(
    running: EmulatedDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records(running, 20)
    folder = tmp_path / "robot"
    monkeypatch.setattr(session, "RETURN_S_MAX", 0.1)
    running.unplug_after(len(connection.HELPERS) + 220)
    assert "look at its cable" in refused("unplugged", "pull", folder, "--port", running.port)
    running.plug()
    running.power_cycle()
    said("pull", folder, "--port", running.port)
    # As pulled before the board gave its records up and kept their hashes.
    richer = min((folder / "segments").iterdir())
    richer.write_bytes(richer.read_bytes() + bytes(100))
    before = richer.read_bytes()
    said("pull", folder, "--port", running.port)
    assert richer.read_bytes() == before
    running.power_off()
    fleet = Fleet(FLEET)
    running.load(
        {
            "/journal/mine.txt": b"mine",
            "/profiles/mine.txt": b"mine",
            "/credential.cbor": cbor.encode(fleet.device("robot-2").credential),
        }
    )
    running.power_on()
    refused("wrong-device", "pull", tmp_path / "other", "--port", running.port)
    config = json.loads(running.contents()["/tallystick.json"])
    running.power_off()
    running.load({"/tallystick.json": json.dumps({**config, "profiles": "profiles"}).encode()})
    running.power_on()
    said("wipe", "--port", running.port, "--journal", "--configuration", "--yes")
    left = {path for path in running.contents() if not path.startswith("/lib/")}
    assert left == {
        "/main.py",
        "/journal/",
        "/journal/mine.txt",
        "/profiles/",
        "/profiles/mine.txt",
    }


def test_what_was_pulled_reaches_a_gateway(
    tmp_path: Path, micropython32: MicroPython, mosquitto: Mosquitto
) -> None:
    site = Site(tmp_path / "gateway", Fleet(FLEET), mosquitto.port)
    site.with_prefix("pulled/1")
    pin = {"id": device_text(site.key.thumbprint()), "key": b64u(cbor.encode(site.key.cose_key()))}
    folder = tmp_path / "robot-1"
    broker = ["--broker", f"mqtt://127.0.0.1:{mosquitto.port}"]
    with EmulatedDevice(tmp_path / "flash.img", micropython32) as device:
        device.power_off()
        robot(device, tmp_path, gateways=[pin], prefix="pulled/1")
        device.power_on()
        records(device, 30)
        pulled = said("pull", folder, "--port", device.port)
        refused("no-broker", "send", folder)
        refused("no-answer", "send", folder, *broker, "--wait", "1")
        with site.running():
            (first,) = said("send", folder, *broker)["epochs"]
            assert first["sent"] == pulled["segments"]
            assert first["to"] == sum(pulled["records"].values())
            records(device, 30)
            said("pull", folder, "--port", device.port)
            # What the gateway has is not sent again.
            (second,) = said("send", folder, *broker)["epochs"]
            assert second["to"] > first["to"] and second["sent"] < first["sent"] + 20
            assert said("send", folder, *broker)["epochs"][0]["sent"] == 0
            # A gateway that the board does not know vouches for nothing.
            stranger = json.loads((folder / "tallystick.json").read_text())
            (folder / "tallystick.json").write_text(json.dumps({**stranger, "gateways": []}))
            text = refused("no-answer", "send", folder, *broker, "--wait", "1")
            assert "it said wrong-key" in text
    numbers = decisions(site)
    assert numbers[:20] == list(range(1, 21)) and len(numbers) > pulled["records"]["decisions"]
    receipts = sorted((folder / "custody").iterdir())
    assert custody.parse(receipts[-1].read_bytes()).verify(site.key).to == second["to"]


def test_a_key_in_a_chip_stays(board: EmulatedDevice) -> None:
    board.power_off()
    board.load({"/tallystick.json": b'{"fleet": "acme", "key": "atecc608:id=0", "journal": "j"}'})
    board.power_on()
    lost = said("wipe", "--port", board.port, "--configuration", "--yes")["lost"]
    assert lost[0] == "not the key: it is in a chip (atecc608), and stays there"
    refused("not-provisioned", "pull", "robot", "--port", board.port)


@pytest.mark.parametrize("running", [64], indirect=True)
def test_a_journal_that_was_damaged_tells_so(running: EmulatedDevice, tmp_path: Path) -> None:
    records(running, 60)
    running.power_off()
    names = sorted(path for path in running.contents() if path.endswith(".tally"))
    data = bytearray(running.contents()[names[-1]])
    data[len(data) // 2] ^= 1
    running.load({names[-1]: bytes(data), "/main.py": b""})
    running.power_on()
    done = tally("pull", tmp_path / "robot", "--port", running.port, "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == 1 and len(told["broken"]) == 1


def test_wrong_boards_are_one_sentence_and_nothing_changes(
    tmp_path: Path, micropython64: MicroPython
) -> None:
    image_ = tmp_path / "flash.img"
    with EmulatedDevice(image_, micropython64, words=PICO_W) as device:
        text = refused("wrong-board", "flash", "--board", "esp32-s3", "--port", device.port)
        assert "Raspberry Pi Pico W with RP2040 is there" in text
        for words in (
            ("info",),
            ("pull", tmp_path / "pulled"),
            ("wipe", "--library", "--yes"),
            ("monitor", "--enable"),
        ):
            refused("wrong-board", *words, "--board", "esp32-s3", "--port", device.port)
    old = Words(version="1.21.0")
    with EmulatedDevice(image_, micropython64, words=old) as device:
        text = refused("old-micropython", "flash", "--port", device.port)
        assert "has MicroPython 1.21.0, and the recorder needs 1.22 or newer" in text
        assert device.contents() == {}
    with EmulatedDevice(tmp_path / "small.img", micropython64, blocks=60) as device:
        assert "KiB more than its" in refused("full-flash", "flash", "--port", device.port)
        assert device.contents() == {}


def test_no_micropython_no_port_busy_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PROMPT_S_MAX", 0.4)
    monkeypatch.setattr(connection, "READ_S_MAX", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = f"socket://127.0.0.1:{server.getsockname()[1]}"

        def chatter() -> None:
            came, _ = server.accept()
            with contextlib.suppress(OSError):
                while came.recv(100):
                    came.sendall(b"login: ")

        thread = threading.Thread(target=chatter)
        thread.start()
        assert "no MicroPython answers there" in refused("no-micropython", "info", "--port", port)
        thread.join(60)
    assert "`tally device list` shows" in refused("no-port", "info", "--port", "/dev/ttyNONE")
    refused("no-port", "info", "--port", "bogus://1")
    master, slave = pty.openpty()
    with serial.Serial(os.ttyname(slave), exclusive=True):
        text = refused("port-busy", "info", "--port", os.ttyname(slave))
        assert "another program has it" in text
    os.close(master)
    os.close(slave)


def port_info(device: str, vid: int, pid: int) -> ListPortInfo:
    found = ListPortInfo(device)
    found.vid, found.pid, found.description = vid, pid, "Board in FS mode"
    return found


def test_ports_are_found_and_named_by_board(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [
        port_info("/dev/ttyACM0", 0x303A, 0x4001),
        port_info("/dev/ttyACM1", 0x2E8A, 0x0005),
        port_info("/dev/ttyS0", 0x1234, 0x0001),
    ]
    monkeypatch.setattr("tallystick.tools.device.ports.list_ports.comports", lambda: there)
    rows = json.loads(tally("list", "--json").stdout)
    assert [row["port"] for row in rows] == ["/dev/ttyACM0", "/dev/ttyACM1"]
    assert rows[0]["boards"] == {"esp32-s3": "micropython"}
    assert "Raspberry Pi Pico W" in tally("list").stdout
    text = refused("several-boards", "info")
    assert text.endswith("--port one of /dev/ttyACM0, /dev/ttyACM1")
    there[:] = []
    assert "plug it in" in refused("no-board", "info")
    assert "no board is connected" in tally("list").stdout


def test_esptool_itself_says_that_no_chip_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It tries seven times else, with five seconds.
    (tmp_path / "esptool.cfg").write_text("[esptool]\nconnect_attempts = 1\n")
    monkeypatch.setenv("ESPTOOL_CFGFILE", str(tmp_path / "esptool.cfg"))
    esp = tmp_path / "esp.bin"
    esp.write_bytes(bytes([0xE9, 0, 2, 0x20]) + bytes(8) + struct.pack("<H", 9) + bytes(5000))
    master, slave = pty.openpty()
    words = ["flash", "--board", "esp32-s3", "--port", os.ttyname(slave), "--image", esp]
    would = tally(*words, "--dry-run").stdout
    assert "-m esptool --chip esp32s3 --port /dev/pts/" in would and " write-flash 0x0 " in would
    text = refused("esptool", *words)
    assert "Failed to connect to ESP32-S3" in text and "hold BOOT" in text
    os.close(master)
    os.close(slave)
    # Another chip's image is not even tried.
    for begin in (b"\x7fELF", bytes([0xE9]) + bytes(11) + struct.pack("<H", 0)):
        esp.write_bytes(begin + bytes(100))
        assert "nothing was written" in refused("wrong-image", *words)


def uf2(family: int, blocks: int = 4) -> bytes:
    return b"".join(
        UF2_BLOCK.pack(
            *UF2_MAGIC[:2],
            0x2000,
            0x10000000 + 256 * at,
            256,
            at,
            blocks,
            family,
            bytes(476),
            UF2_MAGIC[2],
        )
        for at in range(blocks)
    )


def test_a_pico_goes_into_its_loader_and_takes_its_image(
    tmp_path: Path, micropython32: MicroPython, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image, "LOOK_S", 0.05)
    monkeypatch.setattr(session, "LOOK_S", 0.05)
    volume = tmp_path / "RPI-RP2"
    volume.mkdir()
    picture = tmp_path / "RPI_PICO_W.uf2"
    picture.write_bytes(uf2(0xE48BFF56))
    with EmulatedDevice(tmp_path / "flash.img", micropython32, words=PICO_W) as device:
        # Its library is there: this is about the image.
        device.power_off()
        device.load(library_files())
        device.power_on()

        def loader() -> None:
            device.wait("loader")
            (volume / "INFO_UF2.TXT").write_text("UF2 Bootloader v3.0\r\nBoard-ID: RPI-RP2\r\n")
            while not (volume / picture.name).exists():
                time.sleep(0.01)
            time.sleep(0.1)
            device.power_on()

        thread = threading.Thread(target=loader)
        thread.start()
        words = ["flash", "--port", device.port, "--image", picture, "--volume", volume]
        done = tally(*words)
        thread.join(60)
        assert done.exit_code == 0 and f"copied {picture} to {volume}" in done.stdout
        assert (volume / picture.name).read_bytes() == picture.read_bytes()
        assert "every file is there already" in done.stdout
        words += ["--board", "raspberry-pi-pico-w"]
        (volume / "INFO_UF2.TXT").write_text("Board-ID: RP2350\r\n")
        assert "drive of another board (RP2350)" in refused("wrong-board", *words)
        picture.write_bytes(uf2(0xE48BFF59))
        assert "for another chip" in refused("wrong-image", *words)
        picture.write_bytes(uf2(0xE48BFF56)[:-1])
        assert "no whole UF2" in refused("wrong-image", *words)
