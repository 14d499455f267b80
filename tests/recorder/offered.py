"""What TLS did not take is offered again as it was, whatever the limit allows by then. PORT BYTES

Mbed TLS counts what it is shown the second time as sent: more would be lost without a word.
"""

import sys
import time

from tallystick.recorder.mqtt_umqtt import Mqtt
from tallystick.recorder.pacing import Bucket


class Reluctant:
    """A socket that takes what it is offered at the third time."""

    def __init__(self, sock) -> None:  # type: ignore[no-untyped-def]  # MicroPython's
        self.sock = sock
        self.offered = 0
        self.times = 0
        self.read = sock.read
        self.readinto = sock.readinto
        self.close = sock.close

    def write(self, data: memoryview) -> "int | None":
        if self.offered and self.offered != len(data):
            print("offered", self.offered, "and then", len(data))
            sys.exit(1)
        self.offered = len(data)
        self.times += 1
        if self.times % 3:
            return None
        self.offered = 0
        return self.sock.write(data)  # type: ignore[no-any-return]  # as above


def main(port: str, size: int) -> None:
    uplink = Mqtt({"uplink": "mqtt://127.0.0.1:" + port, "prefix": "t", "tls": None}, "robot")
    uplink.connect()
    end = time.time() + 60
    while not uplink.connected and time.time() < end:
        uplink.step()
    sock = Reluctant(uplink._sock)
    uplink._sock = sock
    uplink.bucket = Bucket(10000)
    uplink.publish_pieces(size, iter([bytes(1000)] * (size // 1000)))
    now = 0
    while uplink.busy and time.time() < end:
        now += 7
        uplink.bucket.passed(now)
        uplink.step()
    print(sock.times, uplink.busy)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
