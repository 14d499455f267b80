"""The program of a board without a network of its own, such as a Pico: its uplink is a cable.

It is the board's main.py. tallystick.json beside it names the port: "uplink":
"serial:uart=0;tx=0;rx=1", the pins of `tally key boards`. A distance sensor with an analogue output
is on SENSOR_PIN.
"""

import time

import machine

from tallystick.recorder import Recorder

SENSOR_PIN = 26
NEAREST_MM = 200
FARTHEST_MM = 800
LOOP_MS = 20
# A Pico's watchdog takes no more than 8388.
WATCHDOG_MS = 8000
# A watchdog cannot be stopped again, so a fresh program leaves this long to interrupt it.
SPARE_MS = 10000


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


def main(turns: "int | None" = None) -> Recorder:
    """Loop for ever, or `turns` times."""
    began = time.ticks_ms()
    tally = Recorder.open()
    converter = machine.ADC(machine.Pin(SENSOR_PIN))
    watchdog = None
    while turns is None or turns > 0:
        now = time.ticks_ms()
        if watchdog is not None:
            watchdog.feed()
        elif time.ticks_diff(now, began) > SPARE_MS:
            watchdog = machine.WDT(timeout=WATCHDOG_MS)
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
