"""Custody evidence of an ATECC608: its serial number and locked configuration zone."""

# docs/protocol.md, 5.3: [serial, revision, config, slot].  Offsets and bits are those of the
# datasheet's "EEPROM configuration zone", SlotConfig and KeyConfig.  A driver on MicroPython makes
# it too; nothing else on a device loads it.

from tallystick.evidence import _shape as shape
from tallystick.evidence._wire import Wire
from tallystick.evidence.cbor import decode
from tallystick.evidence.errors import Unverified
from tallystick.evidence.keys import ES256
from tallystick.evidence.limits import CUSTODY_EVIDENCE_BYTES_MAX

# Type checkers take this name as true; MicroPython has no typing to import it from.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tallystick.evidence.keys import PublicKey

TYPE = "atecc608-config"
CONFIG_SIZE = 128
_WHAT = TYPE
_LOCKED = 0x00
_P256 = 4


class Atecc608Config(Wire):
    """serial: 9 bytes; revision: 4 bytes; config: 128 bytes; slot: 0 to 15."""

    def __init__(self, serial: bytes, revision: bytes, config: bytes, slot: int) -> None:
        self.serial = shape.octets(serial, 9, _WHAT)
        self.revision = shape.octets(revision, 4, _WHAT)
        self.config = shape.octets(config, CONFIG_SIZE, _WHAT)
        self.slot = shape.uint(slot, _WHAT, 15)

    def values(self) -> "list[Any]":
        """The array of the CDDL; it has no kind."""
        return [self.serial, self.revision, self.config, self.slot]

    def check(self, key: "PublicKey", context: bytes) -> "tuple[list[str], list[str]]":  # noqa: ARG002  # nothing here is attested
        """(what it shows, what it does not prove), sentences; Unverified("bad-custody")."""
        if key.alg != ES256:
            raise _wrong("an ATECC608 has no other keys than P-256")
        self._check_chip()
        slot_config = self._word(20)
        key_config = self._word(96)
        _must(slot_config & 0x0080, "the slot is not secret (SlotConfig.IsSecret)")
        _must(
            slot_config & 0x000F == 1,
            "the slot's key can be used for more or less than signatures of external messages "
            "(SlotConfig.ReadKey must be 1)",
        )
        _must(not slot_config & 0x4000, "a private key can be written into the slot (PrivWrite)")
        _must(key_config & 1, "the slot holds no private key (KeyConfig.Private)")
        _must(key_config & 2, "the slot does not give its public key (KeyConfig.PubInfo)")
        _must(key_config >> 2 & 7 == _P256, "the slot's key is not on P-256 (KeyConfig.KeyType)")
        shown = [
            "the ATECC608 with serial number %s has its configuration and data zones locked"
            % _hex(self.serial),
            "slot %d holds a P-256 private key that cannot be read or written and signs only "
            "external messages" % self.slot,
        ]
        if not self._slots_open() >> self.slot & 1:
            shown.append("slot %d is locked by itself: its key is never replaced" % self.slot)
        elif slot_config & 0x2000:
            shown.append(
                "slot %d can make a new key in place of this one, inside the chip (GenKey)"
                % self.slot
            )
        return shown, [
            "that a genuine Microchip chip made these bytes: no certificate of it is checked",
            "that the enrolled key is the one in slot %d: whoever enrolled it says so" % self.slot,
            "that the key was made inside: one could be written until the data zone was locked",
        ]

    def _check_chip(self) -> None:
        config = self.config
        _must(
            config[0:4] + config[8:13] == self.serial,
            "the serial number is not that of the configuration",
        )
        _must(config[4:8] == self.revision, "the revision is not that of the configuration")
        _must(
            self.serial[:2] == b"\x01\x23" and self.serial[8] == 0xEE,
            "the serial number is none of an ATECC608",
        )
        _must(self.revision[2] == 0x60, "the revision is none of an ATECC608")
        _must(config[87] == _LOCKED, "the configuration zone is not locked")
        _must(config[86] == _LOCKED, "the data zone is not locked")

    def _slots_open(self) -> int:
        # SlotLocked: a bit a slot, 0 where it is locked by itself.
        return self.config[88] | self.config[89] << 8

    def _word(self, table: int) -> int:
        # Two bytes a slot, the low one first.
        at = table + 2 * self.slot
        return self.config[at] | self.config[at + 1] << 8


def _hex(data: bytes) -> str:
    return "".join(["%02x" % byte for byte in data])


def _wrong(what: str) -> Unverified:
    return Unverified("bad-custody", what)


def _must(holds: "Any", otherwise: str) -> None:
    if not holds:
        raise _wrong(otherwise)


def parse(data: bytes) -> Atecc608Config:
    """As received; Malformed with a reason of section 1.7."""
    values = decode(shape.blob(data, CUSTODY_EVIDENCE_BYTES_MAX, _WHAT))
    evidence = Atecc608Config(*shape.row(values, 4, _WHAT))
    evidence._data = data
    return evidence
