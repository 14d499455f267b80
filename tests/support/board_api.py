"""A board's own modules, as far as our programs for boards use them: `machine`, `network`, `sys`.

Run on MicroPython by tests/recorder/test_board_programs.py, under the names that a board has. It is
not the board: nothing here takes the time that hardware takes, and no radio fails as radios do.
"""

import sys as interpreter
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Looks, of which a program takes one a turn, between which there is no network.
AWAY: "list[tuple[int, int]]" = [(0, 40), (60, 100)]
began = 0
# What was asked of it.
pins: "list[int]" = []
# At which look, after how many milliseconds, with which words, and whether it was connected.
joins: "list[tuple[int, int, str, str, bool]]" = []
feeds: "list[int]" = []
left: "list[bool]" = []


def passed_ms() -> int:
    return time.ticks_diff(time.ticks_ms(), began)


class Words:
    """A module with some of its words replaced."""

    def __init__(self, under: "Any", **words: "Any") -> None:
        self._under = under
        for name, value in words.items():
            setattr(self, name, value)

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._under, name)


class Pin:
    def __init__(self, number: int) -> None:
        self.number = number


class ADC:
    """A converter whose n-th reading is (n * 7919) mod 65536."""

    def __init__(self, pin: Pin) -> None:
        assert type(pin) is Pin
        pins.append(pin.number)
        self.count = 0

    def read_u16(self) -> int:
        self.count += 1
        return self.count * 7919 & 0xFFFF


class WDT:
    def __init__(self, timeout: int) -> None:
        # As a Pico's refuses it.
        assert 0 < timeout <= 8388
        self.feed()

    def feed(self) -> None:
        feeds.append(passed_ms())


class UART:
    """A port without a cable."""

    def __init__(self, number: int, baudrate: int, **more: "Any") -> None:
        pins.append(more["tx"].number)
        pins.append(more["rx"].number)

    def any(self) -> int:
        return 0

    def read(self, _size: int) -> None:
        return None

    def write(self, data: bytes) -> int:
        return len(data)

    def deinit(self) -> None:
        pass


class WLAN:
    def __init__(self, interface: int) -> None:
        assert interface == 0
        self._on = self._joined = False
        self._looks = -1

    def active(self, on: bool) -> None:
        self._on = on

    def _there(self) -> bool:
        return not any(begin <= self._looks < end for begin, end in AWAY)

    def connect(self, ssid: str, key: str) -> None:
        assert self._on
        joins.append((self._looks, passed_ms(), ssid, key, self._connected()))
        if len(joins) == 1:
            raise OSError("Wifi Internal State Error")
        self._joined = True

    def disconnect(self) -> None:
        left.append(self._connected())
        self._joined = False

    def _connected(self) -> bool:
        return self._joined and self._there()

    def isconnected(self) -> bool:
        self._looks += 1
        return self._connected()


def install(platform: str, machine: str) -> None:
    """These modules under a board's names; `machine` is what sys.implementation._machine says."""
    global began  # noqa: PLW0603  # when the board began
    began = time.ticks_ms()
    modules: "Any" = interpreter.modules
    own = Words(interpreter.implementation, _machine=machine)
    modules["sys"] = Words(interpreter, platform=platform, implementation=own)
    # As a Raspberry Pi's chips have it (ports/rp2/modmachine.c), after a watchdog's reset.
    causes = {"PWRON_RESET": 1, "WDT_RESET": 3, "reset_cause": lambda: 3}
    modules["machine"] = Words(None, Pin=Pin, ADC=ADC, WDT=WDT, UART=UART, **causes)
    modules["network"] = Words(None, WLAN=WLAN, STA_IF=0)
