"""What an ATECC608 can show of itself: its own tests, and each thing that we need of it."""

from tallystick.evidence.errors import KeyDriverError, Unverified
from tallystick.hw import atecc608_commands as commands
from tallystick.hw.atecc608_open import check_slot, serial_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tallystick.hw.atecc608 import AteccKey

MESSAGE = b"tallystick self-test"


def self_test(key: "AteccKey") -> "list[str]":
    """What was tried and works, a sentence each; KeyDriverError says what does not."""
    chip = key.chip
    config = chip.run(commands.read_config, chip)
    check_slot(config, key.slot)
    said = ["the chip answers, serial number " + hexadecimal(serial_number(config))]
    chip.run(commands.chip_tests, chip)
    said.append("its own tests of random numbers, signing, verifying and SHA-256 pass")
    if chip.run(commands.random, chip) == chip.run(commands.random, chip):
        raise KeyDriverError("chip-broken", "the ATECC608 gives the same random number twice")
    said.append("two random numbers differ")
    public = key.public_key()
    if chip.run(commands.public_key, chip, key.slot) != public.raw:
        raise KeyDriverError("wrong-key", "slot %d holds another key than it did" % key.slot)
    signature = key.sign(MESSAGE)
    try:
        public.verify(signature, MESSAGE)
    except Unverified:
        raise KeyDriverError("chip-broken", "the ATECC608's signature does not verify")
    said.append("slot %d signs, and its public key verifies it" % key.slot)
    said += _verifies(key, signature)
    counter = key.counter()
    said.append("counter 0 is at %d of %d" % (counter.read(), counter.limit))
    return said


def _verifies(key: "AteccKey", signature: bytes) -> "list[str]":
    work = key.verifier(key.public_key(), signature, MESSAGE)
    if work is None:
        return ["the chip is set up too slow to verify signatures; that is done outside"]
    key.chip.finish(work)
    work = key.verifier(key.public_key(), signature, MESSAGE + b".")
    try:
        key.chip.finish(work)  # type: ignore[arg-type]  # as the first
    except Unverified:
        return ["the chip verifies signatures, and refuses what was not signed"]
    raise KeyDriverError("chip-broken", "the ATECC608 accepts a signature over another message")


def hexadecimal(data: bytes) -> str:
    """As it is printed on labels: 0123A1.."""
    return "".join(["%02X" % byte for byte in data])
