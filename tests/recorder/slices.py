"""Sends one message over umqtt's uplink; prints steps, and bytes. slices.py PORT BYTES"""

import sys
import time

from tallystick.recorder.mqtt_umqtt import Mqtt

BLOCK = 512


def main(port: int, size: int) -> None:
    config = {"uplink": f"mqtt://127.0.0.1:{port}", "tls": None, "prefix": "tallystick/1"}
    uplink = Mqtt(config, "A" * 43)
    uplink.connect()
    while not uplink.connected:
        uplink.step()
        time.sleep(0.001)
    assert uplink.publish_pieces(size, (bytes(BLOCK) for _ in range(size // BLOCK)))
    steps = 0
    while uplink.busy:
        steps += uplink.step()
        time.sleep(0.001)
    print(steps, size)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
