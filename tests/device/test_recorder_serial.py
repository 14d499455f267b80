"""Both ends of a serial line, and its URI (docs/protocol.md, section 3.5)."""

from _made import refused
from tallystick.evidence import serialframe
from tallystick.recorder.serial_uplink import DeviceLine
from tallystick.recorder.serial_uri import parse_serial

OPEN, ACK, DOWN = 1, 4, 0x80
IDLE_MS = 2000
SESSION = b"\x00ab\x00"


def ends() -> "tuple[DeviceLine, DeviceLine]":
    """Of an open session; what an end opens with is all that a gateway's does otherwise."""
    made = DeviceLine(0, 1, 4000), DeviceLine(DOWN, 1, 4000)
    for end, theirs in zip(made, (DOWN, 0)):  # noqa: B905  # MicroPython's has no strict
        end.begin(SESSION, 0)
        while end.output(0):
            pass
        end.feed(serialframe.encode(theirs | OPEN, SESSION, 0, b"\x01\x01"), 0)
        assert end.up
    return made


def test_a_message_crosses() -> None:
    device, gateway = ends()
    message = bytes(range(250)) * 4
    assert device.send(len(message), (message[:3], b"", message[3:]))
    assert not device.send(1, (b"x",))
    for now in range(10):
        for sender, receiver in ((device, gateway), (gateway, device)):
            while True:
                frame = sender.output(now)
                if not frame:
                    break
                receiver.feed(frame[:5], now)
                receiver.feed(frame[5:], now)
    assert gateway.messages == [message]
    assert not device.busy and device.pending == 0
    assert device.bad == gateway.bad == gateway.repeated == device.resent == 0


def test_a_frame_that_is_written_slowly_is_not_sent_again() -> None:
    device, _ = ends()
    device.send(4, (b"slow",))
    assert device.output(0)
    device.written(5000)
    while device.output(5900):
        pass
    assert device.resent == 0
    while device.output(6000):
        pass
    assert device.resent == 1


def test_an_idle_end_speaks() -> None:
    device, _ = ends()
    assert device.output(IDLE_MS - 1) == b""
    assert serialframe.parse(device.output(IDLE_MS)[:-1])[0] == ACK
    device.say(OPEN, SESSION, b"\x01\x01")
    assert serialframe.parse(device.output(IDLE_MS)[:-1])[0] == OPEN


def test_uris() -> None:
    assert parse_serial("serial:/dev/ttyACM0") == {"path": "/dev/ttyACM0", "baud": 115200}
    named = parse_serial("serial:uart=1;tx=4;rx=5;baud=9600")
    assert named == {"uart": 1, "tx": 4, "rx": 5, "baud": 9600}
    assert parse_serial("serial:stdio") == {"stdio": True, "baud": 115200}
    for wrong in (
        "serial:",
        "serial:ttyACM0",
        "serial:/",
        "serial:/dev/ttyACM0;uart=1",
        "serial:uart=1;tx=4",
        "serial:/dev/ttyACM0;tx=4;rx=5",
        "serial:stdio;baud=",
        "serial:stdio;baud=-1",
        "serial:stdio;baud=12000001",
        "serial:stdio;speed=1",
        "serial:stdio;baud=1;baud=2",
        "serial:uart=256",
    ):
        assert refused(parse_serial, wrong) == "bad-config", wrong
