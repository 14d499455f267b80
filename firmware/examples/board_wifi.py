"""The program of a board with WiFi: ESP32, ESP32-S3, Pico W, Pico 2 W. It is the board's main.py.

It decides from its first loop on, with a network and without: what it records waits in the journal.
Beside it lie tallystick.json, as the device was provisioned, and wifi.json: {"ssid": "...",
"password": "..."}. With join.json in place of tallystick.json the board asks a gateway to be
enrolled, and begins when it is let in. A distance sensor with an analogue output is on the pin of
SENSOR_PINS.
"""

import json
import os
import sys
import time

import machine
import network

from tallystick.recorder import Recorder

# By sys.platform. While WiFi is on, an ESP32 reads pins of its first converter only: 32 to 39 on
# the ESP32, 1 to 10 on the ESP32-S3.
SENSOR_PINS = {"rp2": 26, "esp32": 34}
SENSOR_PIN_S3 = 4
NEAREST_MM = 200
FARTHEST_MM = 800
LOOP_MS = 20
# A Pico's watchdog takes no more than 8388.
WATCHDOG_MS = 8000
# A watchdog cannot be stopped again, so a fresh program leaves this long to interrupt it.
SPARE_MS = 10000
JOIN_MS_MAX = 20000


class Wifi:
    """Joins, and joins again, without ever waiting for it."""

    def __init__(self, ssid: str, password: str) -> None:
        self._words = (ssid, password)
        self._wlan = network.WLAN(network.STA_IF)
        self._wlan.active(True)
        self._began: "int | None" = None

    def step(self, now_ms: int) -> None:
        """Begin to join where there is no network and no try is on its way."""
        if self._wlan.isconnected():
            self._began = None
            return
        if self._began is not None and time.ticks_diff(now_ms, self._began) < JOIN_MS_MAX:
            return
        try:
            if self._began is not None:
                self._wlan.disconnect()
            self._wlan.connect(*self._words)
        except OSError as error:
            print("WiFi:", error)
        self._began = now_ms


def sensor() -> "machine.ADC":
    """The converter of this board's sensor."""
    pin = SENSOR_PINS[sys.platform]
    if sys.platform == "esp32" and "S3" in sys.implementation._machine:
        pin = SENSOR_PIN_S3
    return machine.ADC(machine.Pin(pin))


def distance_mm(converter: "machine.ADC") -> int:
    """What the sensor says, in integers, which are the same on every board."""
    return FARTHEST_MM - converter.read_u16() * FARTHEST_MM // 65535


def drive(tally: Recorder, distance: int) -> str:
    """Decide, and record what was decided and why."""
    action = "go" if distance >= NEAREST_MM else "stop"
    tally.decision(
        model="keep-away@1",
        inputs={"distance_mm": distance},
        constraints={"distance_mm": (distance, ">=", NEAREST_MM, "mm")},
        output={"action": action},
    )
    return action


def join_first(wifi: Wifi) -> None:
    """Where join.json asks for it: enrolled over the network, then begun anew."""
    if "join.json" in os.listdir():
        from tallystick.recorder.joining import join  # noqa: PLC0415  # takes heap

        join("join.json", feed=lambda: wifi.step(time.ticks_ms()))
        # With the whole heap.
        machine.reset()


def main(turns: "int | None" = None) -> Recorder:
    """Loop for ever, or `turns` times."""
    began = time.ticks_ms()
    with open("wifi.json") as file:
        words = json.load(file)
    wifi = Wifi(words["ssid"], words["password"])
    join_first(wifi)
    tally = Recorder.open()
    converter = sensor()
    watchdog = None
    while turns is None or turns > 0:
        now = time.ticks_ms()
        if watchdog is not None:
            watchdog.feed()
        elif time.ticks_diff(now, began) > SPARE_MS:
            watchdog = machine.WDT(timeout=WATCHDOG_MS)
        wifi.step(now)
        drive(tally, distance_mm(converter))
        # Signing, sending and verifying go on in what is left of the turn.
        tally.poll(LOOP_MS // 2)
        left = LOOP_MS - time.ticks_diff(time.ticks_ms(), now)
        if left > 0:
            time.sleep_ms(left)
        if turns is not None:
            turns -= 1
    return tally


if __name__ == "__main__":
    main()
