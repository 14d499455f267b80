# serial:/dev/ttyACM0;baud=115200       a port by its path
# serial:uart=1;tx=4;rx=5;baud=115200   a UART of a microcontroller
# serial:stdio                          its USB port, where MicroPython has the terminal

from tallystick.evidence.errors import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BAUD = 115200
# Name -> most.
NUMBERS = {"uart": 255, "tx": 255, "rx": 255, "baud": 12000000}
URI_CHARS_MAX = 256


def parse_serial(uri: str) -> "dict[str, Any]":
    """`path`, `uart` (with `tx` and `rx`, or neither) or `stdio`; `baud` always."""
    if not uri.startswith("serial:") or len(uri) > URI_CHARS_MAX:
        raise _wrong(uri)
    place, *rest = uri[7:].split(";")
    named: "dict[str, Any]" = {}
    if place == "stdio":
        named["stdio"] = True
    elif place.startswith("/") and len(place) > 1:
        named["path"] = place
    else:
        rest.insert(0, place)
    for part in rest:
        name, sign, value = part.partition("=")
        if not sign or name not in NUMBERS or name in named:
            raise _wrong(uri)
        named[name] = _number(uri, value, NUMBERS[name])
    places = ("uart" in named) + ("path" in named) + ("stdio" in named)
    if places != 1 or ("tx" in named) != ("rx" in named) or ("tx" in named and "uart" not in named):
        raise _wrong(uri)
    named["baud"] = named.get("baud") or BAUD
    return named


def _number(uri: str, text: str, most: int) -> int:
    for char in text:
        if not "0" <= char <= "9":
            raise _wrong(uri)
    if not 1 <= len(text) <= 8 or int(text) > most:
        raise _wrong(uri)
    return int(text)


def _wrong(uri: str) -> Malformed:
    return Malformed(
        "bad-config",
        "uplink: serial:/dev/NAME, serial:uart=N;tx=N;rx=N or serial:stdio, then ;baud=N, "
        "and not %r" % uri[:URI_CHARS_MAX],
    )
