"""Opening a key in an ATECC608: what the URI names, and whether that slot can sign."""

import time

from tallystick.evidence.errors import KeyDriverError
from tallystick.evidence.keys import ES256, from_raw
from tallystick.hw import atecc608_commands as commands
from tallystick.hw.atecc608 import AteccKey
from tallystick.hw.atecc608_chip import WAKE_MS, Chip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ADDRESS = 0x60
# Nine bits low must be longer than 60 us, so that address 0 wakes the chip.
FREQ_HZ = 100_000
FREQ_HZ_MAX = 133_000
SLOTS = 16
MODEL = 0x60  # third byte of the revision
PORT_MAX = 65535
NUMBERS = ("bus", "id", "scl", "sda", "freq", "address", "slot")
TEXTS = ("board", "tcp", "virtual")
# Where the chip is: one of these.
PLACES = ("bus", "scl", "board", "tcp", "virtual")
USAGE = (
    "atecc608:bus=1;address=0x60;slot=0 (or scl=..;sda=.., board=.., tcp=HOST:PORT, virtual=FILE)"
)


def _wrong(what: str) -> KeyDriverError:
    return KeyDriverError("bad-key-uri", "atecc608: " + what + "; a URI is " + USAGE)


def parse(rest: str) -> "dict[str, Any]":
    """What a URI without its scheme names, strictly."""
    named: "dict[str, Any]" = {}
    for part in rest.split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value or name in named or name not in NUMBERS + TEXTS:
            raise _wrong("%r is not understood" % part)
        named[name] = _number(part, value) if name in NUMBERS else value
    places = [name for name in PLACES if name in named]
    if len(places) != 1 or (("scl" in named) != ("sda" in named)):
        raise _wrong("it names one place: bus, scl with sda, board, tcp or virtual")
    if named.get("slot", 0) >= SLOTS or not 8 <= named.get("address", ADDRESS) < 0x78:
        raise _wrong("slots are 0 to 15, addresses 0x08 to 0x77")
    if not 0 < named.get("freq", FREQ_HZ) <= FREQ_HZ_MAX:
        raise _wrong("freq is at most %d Hz, or the chip does not wake" % FREQ_HZ_MAX)
    return named


def _number(part: str, text: str) -> int:
    base = 16 if text[:2] == "0x" else 10
    digits = text[2:] if base == 16 else text
    if not 0 < len(digits) < 8:
        raise _wrong("%r is no number" % part)
    for char in digits:
        if char not in "0123456789abcdefABCDEF"[: 10 if base == 10 else 22]:
            raise _wrong("%r is no number" % part)
    return int(digits, base)


def open_bus(named: "dict[str, Any]") -> "Any":
    """An object with machine.I2C's methods."""
    if "scl" in named:
        try:
            from machine import I2C, Pin  # noqa: PLC0415  # a board's
        except ImportError:
            raise KeyDriverError("no-bus", "scl and sda are for boards; on Linux say bus=N")
        return I2C(
            named.get("id", 0),
            scl=Pin(named["scl"]),
            sda=Pin(named["sda"]),
            freq=named.get("freq", FREQ_HZ),
        )
    if "bus" in named:
        from tallystick.hw.atecc608_linux import LinuxI2C  # noqa: PLC0415  # where it is used

        return LinuxI2C(named["bus"])
    if "tcp" in named:
        from tallystick.hw.atecc608_tcp import TcpI2C  # noqa: PLC0415  # where it is used

        host, colon, port = named["tcp"].rpartition(":")
        if not host or not colon or _number(named["tcp"], port) > PORT_MAX:
            raise _wrong("tcp=HOST:PORT")
        return TcpI2C(host, int(port))
    from tallystick.hw.virtual_atecc608 import VirtualAtecc608  # noqa: PLC0415  # where it is used

    return VirtualAtecc608.open(named["virtual"])


def open_chip(rest: str) -> "tuple[Chip, int, bytes]":
    """(chip, slot, configuration zone); KeyDriverError says what answers there instead."""
    named = parse(rest)
    if "board" in named:
        from tallystick.hw.boards import place_on  # noqa: PLC0415  # CPython's

        named = place_on(named)
    i2c = open_bus(named)
    chip = Chip(i2c, named.get("address", ADDRESS))
    try:
        return chip, named.get("slot", 0), _greet(chip)
    except Exception:
        close(i2c)
        raise


def _greet(chip: Chip) -> bytes:
    try:
        revision = chip.run(commands.info, chip)
    except KeyDriverError as error:
        if error.reason != "no-chip":
            raise
        raise _absent(chip.i2c, chip.address)
    if revision[2] != MODEL:
        raise KeyDriverError(
            "wrong-chip",
            "the chip at 0x%02X is no ATECC608 (its revision is %r)" % (chip.address, revision),
        )
    return chip.run(commands.read_config, chip)  # type: ignore[no-any-return]  # an operation's


def close(i2c: "Any") -> None:
    """Give the bus back, where it is a thing to give."""
    if hasattr(i2c, "close"):
        i2c.close()


def _absent(i2c: "Any", address: int) -> KeyDriverError:
    try:
        i2c.writeto(0, b"\0")  # a sleeping chip does not show
    except OSError:
        pass
    time.sleep(WAKE_MS / 1000)
    try:
        found = ", ".join(["0x%02X" % one for one in i2c.scan()]) or "nothing"
    except OSError:
        return KeyDriverError("bus-stuck", "the I2C bus does not work: check wires and pull-ups")
    return KeyDriverError(
        "no-chip",
        "no ATECC608 at address 0x%02X; on this bus answers: %s; check wires, supply and address="
        % (address, found),
    )


def open_key(rest: str) -> AteccKey:
    """The key of a slot that can sign."""
    return _with_key(rest, _existing)


def create_key(rest: str, alg: "int | None") -> AteccKey:
    """Make the key of a slot that has none."""
    if alg not in (None, ES256):
        raise KeyDriverError("no-such-key", "an ATECC608 has P-256 keys only: --alg p256")
    return _with_key(rest, _made)


def _with_key(rest: str, find: "Callable[[Chip, int], bytes]") -> AteccKey:
    chip, slot, config = open_chip(rest)
    try:
        check_slot(config, slot)
        return AteccKey(chip, slot, from_raw(ES256, find(chip, slot)).raw)
    except Exception:
        close(chip.i2c)
        raise


def _existing(chip: Chip, slot: int) -> bytes:
    raw = chip.run(commands.public_key, chip, slot)
    if raw is None:
        raise KeyDriverError(
            "no-key",
            "slot %d of the ATECC608 holds no key yet; `tally key create` makes one" % slot,
        )
    return raw  # type: ignore[no-any-return]  # an operation's


def _made(chip: Chip, slot: int) -> bytes:
    return generate(chip, slot, [])


def generate(chip: Chip, slot: int, over: "list[bool]") -> bytes:
    """The public key of a new key; `over` as in commands.generate_key."""
    try:
        raw = chip.run(commands.generate_key, chip, slot, over)
    except KeyDriverError as error:
        if error.reason != "chip-refused":
            raise
        raise KeyDriverError(
            "locked-slot", "slot %d makes no key: it is locked, or set up otherwise" % slot
        )
    if raw is None:
        raise KeyDriverError(
            "key-exists",
            "slot %d holds a key already, and a key is never overwritten: use another slot, or "
            "open it" % slot,
        )
    return raw  # type: ignore[no-any-return]  # an operation's


def signs(config: bytes, slot: int) -> bool:
    """Whether the slot is set up for a private P-256 key that signs what it is given."""
    # KeyConfig: bit 0 private, bits 2 to 4 the type.  SlotConfig: bit 0 external signatures.
    kind, use = config[96 + 2 * slot], config[20 + 2 * slot]
    return bool(kind & 1 and kind >> 2 & 7 == 4 and use & 1)


def check_slot(config: bytes, slot: int) -> None:
    """KeyDriverError unless the chip is set up and this slot signs."""
    if config[87] or config[86]:
        raise KeyDriverError(
            "not-locked",
            "the ATECC608's %s zone is not locked yet, so its keys hold nothing: "
            "`tally key provision` sets it up" % ("configuration" if config[87] else "data"),
        )
    if not signs(config, slot):
        good = ", ".join([str(one) for one in range(SLOTS) if signs(config, one)]) or "none"
        raise KeyDriverError(
            "wrong-slot", "slot %d of the ATECC608 does not sign; slots that do: %s" % (slot, good)
        )


def serial_number(config: bytes) -> bytes:
    """9 bytes; the first two and the last are the maker's."""
    return config[:4] + config[8:13]


def evidence(key: AteccKey, context: bytes) -> "list[list[Any]]":  # noqa: ARG001  # nothing attests
    """Serial number, revision and configuration, as the chip says them (docs/protocol.md, 5.3)."""
    from tallystick.evidence.custody_atecc608 import Atecc608Config  # noqa: PLC0415  # once

    chip = key.chip
    revision = chip.run(commands.info, chip)
    config = chip.run(commands.read_config, chip)
    made = Atecc608Config(serial_number(config), revision, config, key.slot)
    return [["atecc608-config", made.encode()]]
