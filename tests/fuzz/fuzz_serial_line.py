"""Both ends of a serial line take any bytes, hold a bounded number of them, and never raise."""

from contextlib import nullcontext, suppress

from support.scenarios.lines import GOOD, SESSION
from tallystick.evidence.errors import TransportError
from tallystick.evidence.serialframe import DOWN, ENCODED_BYTES_MAX
from tallystick.evidence.serialline import CONTROL_FRAMES_MAX, MESSAGES_MAX
from tallystick.gateway.serialport import GatewayLine
from tallystick.recorder.serial_uplink import DeviceLine

SEEDS = (
    b"".join(GOOD.values()),
    GOOD["open"] + GOOD["empty-last"] + GOOD["last"],
    b"".join(GOOD[name] for name in ("open-of-a-gateway", "again", "closed")),
)


def target(data: bytes) -> None:
    device, gateway = DeviceLine(0, 1, 1000), GatewayLine()
    device.begin(SESSION, 0)
    for line in (device, gateway):
        # A gateway of another version is told as such.
        with suppress(TransportError) if line is device else nullcontext():
            for at in range(0, len(data), 7):
                line.feed(data[at : at + 7], at)
        assert len(line.messages) <= MESSAGES_MAX + line._window
        assert len(line._held) <= ENCODED_BYTES_MAX
        assert len(line._control) <= CONTROL_FRAMES_MAX
        assert line.frames + line.bad <= data.count(b"\0")
        frames = [line.output(len(data)) for _ in range(20)]
        assert all(frame[-1:] in (b"", b"\0") for frame in frames)
        assert not any(frame[1:2] and frame[1] & DOWN for frame in frames if line is device)
