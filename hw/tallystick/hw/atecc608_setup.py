"""Setting a new ATECC608 up for us: configuration, key, locks.  Locks cannot be undone.

On a board, from its prompt:

    from tallystick.hw.atecc608_setup import provision
    provision("atecc608:id=0;scl=5;sda=4")

Whatever is interrupted is gone on with by the next call: each step looks first whether it is done.
"""

from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import atecc608_commands as commands
from tallystick.hw import atecc608_profile as profile
from tallystick.hw.atecc608_chip import Chip, crc16
from tallystick.hw.atecc608_open import close, generate, open_chip, serial_number
from tallystick.hw.atecc608_selftest import hexadecimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SCHEME = "atecc608:"
OPEN = 0x55
LOCK_VALUE_AT = 86
LOCK_CONFIG_AT = 87
SLOT_LOCKED_AT = 88


class Setup:
    """What is still to be done to one chip, and the doing of it."""

    def __init__(self, chip: Chip, slot: int, config: bytes) -> None:
        self.chip = chip
        self.slot = slot
        self.config = config
        self.serial = hexadecimal(serial_number(config))
        if slot >= profile.SIGNING_SLOTS:
            raise KeyDriverError(
                "wrong-slot", "our keys are in slots 0 to %d" % (profile.SIGNING_SLOTS - 1)
            )
        wrong = profile.differences(config)
        if config[LOCK_CONFIG_AT] != OPEN and wrong:
            raise KeyDriverError(
                "other-profile",
                "the chip's configuration is locked and is not ours (bytes %s), which nobody can "
                "change; `tally key show` and `tally key create` work where its slot signs"
                % ", ".join([str(at) for at in wrong]),
            )

    def steps(self) -> "list[tuple[str, str, Callable[[], None]]]":
        """(name, what it does for ever, the doing) of what is to be done, in order."""
        config = self.config
        todo: "list[tuple[str, str, Callable[[], None]]]" = []
        if config[LOCK_CONFIG_AT] == OPEN:
            todo.append(("configuration", "written as shown, and locked", self._configure))
        # Before the data zone is locked somebody else can have written a key that he knows.
        if config[LOCK_VALUE_AT] == OPEN or self.raw() is None:
            todo.append(("key", "made in slot %d" % self.slot, self._make_key))
        if config[LOCK_VALUE_AT] == OPEN:
            todo.append(("data zone", "locked", self._lock_data))
        if self._slot_open():
            todo.append(
                ("slot %d" % self.slot, "locked: its key is never replaced", self._lock_slot)
            )
        return todo

    def raw(self) -> "bytes | None":
        """The slot's public key, if it has one."""
        if self.config[LOCK_CONFIG_AT] == OPEN:
            return None
        return self.chip.run(commands.public_key, self.chip, self.slot)  # type: ignore[no-any-return]  # an operation's

    def run(self, typed: str, say: "Callable[[str], object]") -> bytes:
        """Do all that is to be done, if the serial number was typed; the public key."""
        if typed.strip().upper() != self.serial:
            raise KeyDriverError(
                "wrong-serial",
                "%r is not this chip's serial number; nothing was changed" % typed.strip(),
            )
        for name, what, do in self.steps():
            lost = None
            try:
                do()
            except KeyDriverError as error:
                lost = error
            self.config = self.chip.run(commands.read_config, self.chip)
            # A lock whose answer was lost is refused the second time, and is done.
            if lost is not None and name in [one[0] for one in self.steps()]:
                raise lost
            say("%s: %s" % (name, what))
        raw = self.raw()
        if self.steps() or raw is None:
            raise KeyDriverError("not-locked", "the chip did not keep what was locked: try again")
        return raw

    def _slot_open(self) -> bool:
        at = SLOT_LOCKED_AT + (self.slot >> 3)
        return bool(self.config[at] >> (self.slot & 7) & 1)

    def _configure(self) -> None:
        chip = self.chip
        want = profile.wanted(self.config)
        chip.run(commands.write_config, chip, want)
        if chip.run(commands.read_config, chip) != want:
            raise KeyDriverError(
                "bus-noise", "the configuration reads back otherwise; nothing was locked"
            )
        # The chip compares the checksum: what was shown is what is locked.
        chip.run(commands.lock_config, chip, crc16(want))

    def _make_key(self) -> None:
        generate(self.chip, self.slot, [True])

    def _lock_data(self) -> None:
        self.chip.run(commands.lock_data, self.chip)

    def _lock_slot(self) -> None:
        self.chip.run(commands.lock_slot, self.chip, self.slot)


def provision(
    uri: str,
    ask: "Callable[[str], str]" = input,
    say: "Callable[[str], object]" = print,
    dry_run: bool = False,  # noqa: FBT001, FBT002  # a word of the interface
) -> "bytes | None":
    """Show what will be done, have the serial number typed, do it; the public key X || Y.

    uri: atecc608:... None, and nothing is done, with `dry_run`.
    """
    if not uri.startswith(SCHEME):
        raise KeyDriverError("bad-key-uri", "only the ATECC608 is set up so: atecc608:bus=1")
    chip, slot, config = open_chip(uri[len(SCHEME) :])
    try:
        setup = Setup(chip, slot, config)
        todo = setup.steps()
        show(setup, todo, say)
        if not todo or dry_run:
            return setup.raw()
        return setup.run(ask("Type the serial number to do this: "), say)
    finally:
        close(chip.i2c)


def show(
    setup: Setup,
    todo: "list[tuple[str, str, Callable[[], None]]]",
    say: "Callable[[str], object]",
) -> None:
    """What the chip is, and what is to be done to it."""
    say("ATECC608 at 0x%02X, serial number %s" % (setup.chip.address, setup.serial))
    if todo and todo[0][0] == "configuration":
        say("configuration, bytes of its zone:")
        for place, content, meaning in profile.rows(setup.config):
            say("  %-8s%s\n          %s" % (place, content, meaning))
    if not todo:
        say("it is set up: nothing is to be done")
    if todo:
        say("what will be done:")
    for number, (name, what, _) in enumerate(todo):
        say("%d. %s: %s" % (number + 1, name, what))
    if todo:
        say("Locks cannot be undone, by anybody.")
