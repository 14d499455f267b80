# CPython only
"""The status codes that the chip answers with."""

OK = 0x00
MISCOMPARE = 0x01  # Verify: the signature is not one of this key over this digest
PARSE = 0x03  # a length, opcode or parameter that no command has
ECC_FAULT = 0x05  # a point that is not on the curve
EXECUTION = 0x0F  # a good command that the chip's state or configuration forbids
AFTER_WAKE = 0x11
WATCHDOG = 0xEE  # too little time left before the watchdog
CRC = 0xFF  # the packet did not arrive whole


class Refused(Exception):
    """A command ends with a status that is not OK."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status 0x{status:02x}")
        self.status = status


def need(held: bool, status: int = EXECUTION) -> None:  # noqa: FBT001 - reads as the condition
    """Refuse with `status` unless `held`."""
    if not held:
        raise Refused(status)
