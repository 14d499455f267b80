"""A virtual chip over TCP: from CPython and MicroPython, several at once, and what goes wrong."""

import contextlib
import hashlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.wire608 import AFTER_WAKE, SIGNING_SLOT, Wire, chip_of, ready_eeprom
from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import ES256, PublicKey, low_s
from tallystick.hw.atecc608_tcp import TRANSFER_BYTES_MAX, TcpI2C
from tallystick.hw.virtual_atecc608 import ChipFile, VirtualAtecc608, server
from tallystick.hw.virtual_atecc608.server import serving
from tallystick.tools.micropython import MicroPython

NONCE, SIGN, GENKEY, COUNTER, INFO = 0x16, 0x41, 0x40, 0x24, 0x30
DIGEST = hashlib.sha256(b"decision").digest()
TALLY = "from tallystick.tools.main import main; main()"

# Runs on MicroPython: a signature by bare transfers, and the lock between two connections.
ON_DEVICE = """
import sys, time, binascii
from tallystick.hw.atecc608_tcp import TcpI2C
from tallystick.hw.atecc608_chip import crc16

def command(bus, opcode, p1, p2, data):
    body = bytes((7 + len(data), opcode, p1, p2 & 255, p2 >> 8)) + data
    bus.writeto(0x60, b"\\x03" + body + crc16(body))
    size = bytearray(1)
    while True:
        try:
            bus.readfrom_into(0x60, size)
            break
        except OSError:
            time.sleep(0.005)
    answer = bytes(size) + bus.readfrom(0x60, size[0] - 1)
    assert crc16(answer[:-2]) == answer[-2:]
    return answer[1:-2]

port = int(sys.argv[1])
bus = TcpI2C("127.0.0.1", port)
try:
    bus.writeto(0, b"\\0")
except OSError:
    pass
while not bus.scan():
    time.sleep(0.001)
assert bus.readfrom(0x60, 4) == b"\\x04\\x11\\x33\\x43"
digest = binascii.unhexlify(sys.argv[2])
assert command(bus, 0x16, 0x43, 0, digest) == b"\\0"
print("SIGNATURE", binascii.hexlify(command(bus, 0x41, 0xA0, 0, b"")).decode())
other = TcpI2C("127.0.0.1", port)
assert bus.lock() and not other.lock()
bus.unlock()
assert other.lock()
other.close()
while not bus.lock():
    time.sleep(0.001)
bus.close()
try:
    TcpI2C("127.0.0.1", 1)
except Exception as error:
    print("REFUSED", error.reason)
"""


@pytest.fixture
def chip() -> VirtualAtecc608:
    return chip_of(ready_eeprom())


@pytest.fixture
def port(chip: VirtualAtecc608) -> Iterator[int]:
    with serving(chip) as given:
        yield given


def public_key(chip: VirtualAtecc608) -> PublicKey:
    key = chip.eeprom.private_key(SIGNING_SLOT)
    assert key
    point = key.public_key().public_numbers()
    return PublicKey(ES256, point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big"))


def test_transfers_over_tcp(chip: VirtualAtecc608, port: int) -> None:
    bus = TcpI2C("127.0.0.1", port)
    wire = Wire(bus)
    assert wire.wake() == AFTER_WAKE
    assert bus.scan() == [0x60]
    wire.command(NONCE, 0x43, 0, DIGEST)
    signature = wire.command(SIGN, 0xA0)
    public_key(chip).verify(low_s(signature), b"decision")
    buffer = bytearray(4)
    bus.writeto(0x60, b"\0")
    bus.readfrom_into(0x60, buffer)
    assert buffer == b"\x43" + signature[:3]
    with pytest.raises(OSError, match=r"^5$"):
        bus.readfrom(0x61, 1)
    with pytest.raises(ValueError, match="at most 256 bytes"):
        bus.readfrom(0x60, TRANSFER_BYTES_MAX + 1)
    bus.close()


def on_micropython(interpreter: MicroPython, library: Path, tmp_path: Path) -> None:
    chip = chip_of(ready_eeprom(), time_scale=0.1)
    script = tmp_path / "device.py"
    script.write_text(ON_DEVICE)
    with serving(chip) as port:
        done = interpreter.run(
            str(script), str(port), DIGEST.hex(), heap="64k", path=[library], timeout_s=60
        )
    assert done.returncode == 0, done.stdout + done.stderr
    (signature,) = re.findall(r"^SIGNATURE ([0-9a-f]{128})$", done.stdout, re.MULTILINE)
    public_key(chip).verify(low_s(bytes.fromhex(signature)), b"decision")
    assert "REFUSED no-bus" in done.stdout


def test_from_micropython64(
    micropython64: MicroPython, device_library: Path, tmp_path: Path
) -> None:
    on_micropython(micropython64, device_library, tmp_path)


def test_from_micropython32_in_64_kib(
    micropython32: MicroPython, device_library: Path, tmp_path: Path
) -> None:
    on_micropython(micropython32, device_library, tmp_path)


def test_many_connections_lose_no_count(chip: VirtualAtecc608, port: int) -> None:
    each, peers = 20, 4
    Wire(TcpI2C("127.0.0.1", port)).wake()

    def count() -> None:
        bus = TcpI2C("127.0.0.1", port)
        for _ in range(each):
            while not bus.lock():
                time.sleep(0.001)
            Wire(bus).command(COUNTER, 1)
            bus.unlock()
        bus.close()

    threads = [threading.Thread(target=count) for _ in range(peers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert chip.eeprom.counter(0) == each * peers


def test_a_lock_keeps_others_out_until_it_is_let_go(port: int) -> None:
    one, other = TcpI2C("127.0.0.1", port), TcpI2C("127.0.0.1", port)
    Wire(one).wake()
    assert one.lock()
    assert not other.lock()
    with pytest.raises(OSError, match=r"^16$"):
        other.scan()
    assert one.scan() == [0x60]
    one.close()  # gone without a word
    end = time.monotonic() + 60
    while not other.lock():
        assert time.monotonic() < end
    assert other.scan() == [0x60]
    other.close()


def test_a_lock_ends_by_itself(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCK_S_MAX", 0.05)
    one, other = TcpI2C("127.0.0.1", port), TcpI2C("127.0.0.1", port)
    assert one.lock()
    time.sleep(0.06)
    assert other.lock()
    one.close()
    other.close()


def test_a_lost_connection_is_made_anew(chip: VirtualAtecc608) -> None:
    with serving(chip) as port:
        bus = TcpI2C("127.0.0.1", port)
        Wire(bus).wake()
        assert bus._socket
        bus._socket.shutdown(socket.SHUT_RDWR)
        with pytest.raises(OSError):  # noqa: PT011 - reset or broken pipe
            bus.scan()
        assert bus.scan() == [0x60]
        bus.close()
        bus.unlock()  # nothing to say
    with pytest.raises(OSError):  # noqa: PT011 - refused
        bus.scan()


def test_nobody_serves() -> None:
    with pytest.raises(KeyDriverError, match="tally chip serve"):
        TcpI2C("127.0.0.1", 1)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\x60\x00\x01",  # no operation
        b"\x09\x60\x00\x01",
        b"\x02\x60\x01\x01",  # too long a read
        b"\x01\x60\xff\xff" + bytes(100),  # too long a write
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_request_ends_the_connection(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
        link.sendall(sent)
        # Its own bytes may wait unread when it closes, which resets.
        with contextlib.suppress(ConnectionResetError):
            assert link.recv(100) == b""
    bus = TcpI2C("127.0.0.1", port)
    assert Wire(bus).wake() == AFTER_WAKE
    bus.close()


def test_connections_are_counted(port: int) -> None:
    links = [TcpI2C("127.0.0.1", port) for _ in range(server.CONNECTIONS_MAX)]
    for link in links:
        link.scan()
    extra = TcpI2C("127.0.0.1", port)
    with pytest.raises(OSError):  # noqa: PT011 - closed or reset
        extra.scan()
    links.pop().close()
    end = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            extra.scan()
            break
        assert time.monotonic() < end
    for link in (*links, extra):
        link.close()


def test_silent_connections_keep_nobody_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = TcpI2C("127.0.0.1", port)
    silent = [
        socket.create_connection(("127.0.0.1", port), timeout=60)
        for _ in range(server.CONNECTIONS_MAX - 1)
    ]
    # While all of them have spoken of late, there is no place.
    extra = TcpI2C("127.0.0.1", port)
    with pytest.raises(OSError):  # noqa: PT011 - closed or reset
        extra.scan()
    monkeypatch.setattr(server, "IDLE_S_MAX", 0.3)
    time.sleep(0.35)
    busy.scan()
    assert extra.scan() is not None  # connects anew, in the place of the one silent longest
    assert silent[0].recv(1) == b""
    assert busy.scan() is not None  # who speaks is not cut
    busy.close()
    extra.close()
    for link in silent:
        link.close()


@contextlib.contextmanager
def command_line(*args: "str | Path") -> Iterator["tuple[subprocess.Popen[str], int]"]:
    """`tally chip serve` in a process, and its port."""
    process = subprocess.Popen(
        [sys.executable, "-c", TALLY, "chip", "serve", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        for line in process.stdout:
            found = re.search(r":(\d+)$", line)
            if line.startswith("serving") and found:
                yield process, int(found[1])
                break
    finally:
        process.kill()
        process.communicate()


def test_the_command_serves_until_it_is_ended(tmp_path: Path) -> None:
    state = tmp_path / "robot.chip"
    ChipFile(str(state), ready_eeprom()).close()
    listen = ("--state", state, "--listen", "127.0.0.1:0", "--time-scale", "0")
    with command_line(*listen) as (process, port):
        wire = Wire(TcpI2C("127.0.0.1", port))
        wire.wake()
        assert wire.command(COUNTER, 1) == b"\x01\0\0\0"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0
        assert "protects nothing" in said
    with command_line(*listen, "--fault", "cut=before") as (_, port):
        bus = TcpI2C("127.0.0.1", port)
        wire = Wire(bus)
        wire.wake()
        assert wire.command(COUNTER, 0) == b"\x01\0\0\0"
        wire.send(COUNTER, 1)
        with pytest.raises(OSError, match=r"^5$"):
            wire.answer()
    chip = VirtualAtecc608.open(str(state))
    assert chip.eeprom.counter(0) == 1
    chip.close()
