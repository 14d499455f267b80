"""Setting an ATECC608 up: shown, confirmed, byte by byte, and gone on with after a power cut."""

from pathlib import Path

import pytest

from support.chips608 import (
    SERIAL,
    UNIQUE,
    Interference,
    our_chip,
    our_eeprom,
    without_waiting,
)
from support.wire608 import EXECUTION, Wire
from tallystick.evidence.errors import KeyDriverError
from tallystick.hw import atecc608_commands as commands
from tallystick.hw import atecc608_profile as profile
from tallystick.hw.atecc608_chip import Chip
from tallystick.hw.atecc608_setup import Setup, provision, show
from tallystick.hw.atecc608_show import describe
from tallystick.hw.virtual_atecc608 import ChipFile, Eeprom, Tap, VirtualAtecc608


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    without_waiting(monkeypatch)


def new_chip() -> VirtualAtecc608:
    return our_chip(Eeprom.factory(UNIQUE))


def setup_of(chip: VirtualAtecc608, slot: int = 0) -> Setup:
    driver = Chip(chip, 0x60)
    return Setup(driver, slot, driver.run(commands.read_config, driver))


def silent(_: str) -> None:
    pass


# The profile.


def test_every_writable_byte_is_said_once() -> None:
    places = []
    for first, content, meaning in profile.PROFILE:
        size = content if isinstance(content, int) else len(content)
        places += list(range(first, first + size))
        assert meaning
    unwritten = range(*profile.UNWRITTEN)
    assert places == [at for at in range(16, 128) if at not in unwritten]


def test_what_is_kept_of_a_chip() -> None:
    config = bytes(range(128))
    want = profile.wanted(config)
    kept = [*range(17), *range(52, 68), *range(84, 88)]
    assert [at for at in range(128) if want[at] == config[at] and at in kept] == kept
    assert profile.differences(want) == []


def test_the_slots_do_what_their_meaning_says() -> None:
    chip = our_chip()
    wire = Wire(chip)
    wire.wake()
    for slot in range(16):
        place = slot << 3
        assert wire.command(0x02, 0x82, place) == EXECUTION, "read"
        assert wire.command(0x12, 0x82, place, bytes(32)) == EXECUTION, "write"
        wire.command(0x16, 0x43, 0, bytes(32))
        signed = wire.command(0x41, 0xA0, slot)
        made = wire.command(0x40, 0x04, slot)
        if slot < profile.SIGNING_SLOTS:
            assert (len(signed) == 64) == (slot == 0)  # the only one with a key so far
            assert len(made) == 64 and len(wire.command(0x40, 0x00, slot)) == 64
        else:
            assert (signed, made) == (EXECUTION, EXECUTION)
        wire.command(0x16, 0x43, 0, bytes(32))
        if slot < profile.SIGNING_SLOTS:
            assert len(wire.command(0x41, 0xA0, slot)) == 64
            assert wire.command(0x17, slot << 2 | 2) == b"\0", "lock"
            assert wire.command(0x40, 0x04, slot) == EXECUTION, "a locked slot makes no key"


# Provisioning.


@pytest.mark.usefixtures("no_waiting")
def test_a_new_chip_is_set_up() -> None:
    chip = new_chip()
    tap = Tap(chip)
    driver = Chip(tap, 0x60)
    setup = Setup(driver, 0, driver.run(commands.read_config, driver))
    before = chip.eeprom.config
    assert [name for name, _, _ in setup.steps()] == ["configuration", "key", "data zone", "slot 0"]
    tap.packets()
    raw = setup.run(SERIAL.lower() + "\n", silent)
    eeprom = chip.eeprom
    assert eeprom.config_locked and eeprom.data_locked and eeprom.slot_locked(0)
    assert not any(eeprom.slot_locked(slot) for slot in range(1, 16))
    want = bytearray(profile.wanted(before))
    want[86:89] = b"\x00\x00\xfe"
    assert eeprom.config == bytes(want)
    key = eeprom.private_key(0)
    assert key is not None
    assert raw[:32] == key.public_key().public_numbers().x.to_bytes(32, "big")
    assert setup_of(chip).steps() == []
    writes = [packet for packet in tap.packets() if packet[1] == 0x12]
    # 16 to 31 and 64 to 95 word by word, without the one with the locks; the rest in two blocks.
    assert [(packet[2], packet[3]) for packet in writes] == [
        *((0, word) for word in range(4, 8)),
        (0x80, 8),
        *((0, word) for word in (16, 17, 18, 19, 20, 22, 23)),
        (0x80, 24),
    ]


@pytest.mark.usefixtures("no_waiting")
def test_a_wrong_serial_number_changes_nothing() -> None:
    chip = new_chip()
    before = bytes(chip.eeprom.memory)
    for typed in ("", "0123", SERIAL[:-1], SERIAL + "0", "yes"):
        with pytest.raises(KeyDriverError, match="nothing was changed") as raised:
            setup_of(chip).run(typed, silent)
        assert raised.value.reason == "wrong-serial"
    assert bytes(chip.eeprom.memory) == before


def test_a_dry_run_shows_everything_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chip"
    VirtualAtecc608.new(str(path), unique=UNIQUE)
    before = path.read_bytes()
    said: list[str] = []

    def never(_: str) -> str:
        message = "nobody is asked in a dry run"
        raise AssertionError(message)

    assert provision(f"atecc608:virtual={path}", never, said.append, dry_run=True) is None
    text = "\n".join(said)
    assert SERIAL in text and "cannot be undone" in text
    for _, _, meaning in profile.PROFILE:
        assert meaning in text
    assert path.read_bytes() == before


@pytest.mark.usefixtures("no_waiting")
def test_what_was_interrupted_is_gone_on_with() -> None:
    """Power is lost before or after each change of the chip's memory, and once more after that."""
    for cut in ("before", "after"):
        for at in range(19):
            chip = new_chip()
            count = 0
            save = chip._memory.save

            def saving(
                eeprom: Eeprom,
                chip: VirtualAtecc608 = chip,
                save: object = save,
                at: int = at,
                cut: str = cut,
            ) -> None:
                nonlocal count
                if count == at:
                    count += 1
                    if cut == "after":
                        save(eeprom)  # type: ignore[operator]
                    message = "power cut"
                    raise KeyboardInterrupt(message)
                count += 1
                save(eeprom)  # type: ignore[operator]

            chip._memory.save = saving  # type: ignore[method-assign]
            try:
                setup_of(chip).run(SERIAL, silent)
            except KeyboardInterrupt:
                chip.power(on=True)
                setup_of(chip).run(SERIAL, silent)
            eeprom = chip.eeprom
            assert eeprom.config_locked and eeprom.data_locked and eeprom.slot_locked(0)
            assert profile.differences(eeprom.config) == []
            assert setup_of(chip).steps() == [] and eeprom.private_key(0) is not None


@pytest.mark.parametrize("cut", ["before", "after"])
def test_a_lock_whose_answer_was_lost(cut: str) -> None:
    """Lock is refused where it is locked already; the driver finds it done."""
    chip = our_chip(our_eeprom())
    chip.faults.cut = cut
    setup_of(chip).run(SERIAL, silent)
    assert chip.eeprom.slot_locked(0)


@pytest.mark.usefixtures("no_waiting")
def test_a_configuration_that_reads_back_otherwise_is_not_locked() -> None:
    chip = new_chip()
    save = chip._memory.save

    def saving(eeprom: Eeprom) -> None:
        if eeprom.memory[20] == 0x81:
            eeprom.memory[20] = 0x83
        save(eeprom)

    chip._memory.save = saving  # type: ignore[method-assign]
    with pytest.raises(KeyDriverError, match="nothing was locked"):
        setup_of(chip).run(SERIAL, silent)
    assert not chip.eeprom.config_locked


@pytest.mark.usefixtures("no_waiting")
def test_the_chip_itself_compares_what_it_locks() -> None:
    chip = new_chip()
    bus = Interference(chip)

    def touch(kind: str, _address: int, data: bytes) -> bytes:
        if kind == "W" and data[2:3] == b"\x17":
            chip.eeprom.memory[20] = 0x83  # after it was read back
        return data

    bus.touch = touch
    driver = Chip(bus, 0x60)
    setup = Setup(driver, 0, driver.run(commands.read_config, driver))
    with pytest.raises(KeyDriverError):
        setup.run(SERIAL, silent)
    assert not chip.eeprom.config_locked


def test_another_locked_configuration_is_refused() -> None:
    eeprom = our_eeprom()
    eeprom.memory[20] = 0x83
    with pytest.raises(KeyDriverError, match="bytes 20") as raised:
        setup_of(our_chip(eeprom))
    assert raised.value.reason == "other-profile"


def test_a_key_that_was_there_before_the_data_zone_was_locked_is_not_kept() -> None:
    eeprom = our_eeprom()
    eeprom.memory[86] = 0x55
    chip = our_chip(eeprom)
    before = eeprom.slot(0)
    setup_of(chip).run(SERIAL, silent)
    assert chip.eeprom.slot(0) != before


def test_a_key_of_a_chip_that_is_set_up_is_kept() -> None:
    chip = our_chip()
    before = chip.eeprom.slot(0)
    setup = setup_of(chip)
    assert [name for name, _, _ in setup.steps()] == ["slot 0"]
    setup.run(SERIAL, silent)
    assert chip.eeprom.slot(0) == before


@pytest.mark.usefixtures("no_waiting")
def test_a_successor_in_another_slot() -> None:
    chip = our_chip()
    assert [name for name, _, _ in setup_of(chip, 2).steps()] == ["key", "slot 2"]
    setup_of(chip, 2).run(SERIAL, silent)
    assert chip.eeprom.slot_locked(2) and not chip.eeprom.slot_locked(0)
    with pytest.raises(KeyDriverError) as raised:
        setup_of(chip, 4)
    assert raised.value.reason == "wrong-slot"


def test_only_an_atecc608_is_set_up_so() -> None:
    with pytest.raises(KeyDriverError) as raised:
        provision("file:key", lambda _: "", silent)
    assert raised.value.reason == "bad-key-uri"


def test_a_chip_describes_itself_at_every_stage(tmp_path: Path) -> None:
    path = tmp_path / "chip"
    VirtualAtecc608.new(str(path), unique=UNIQUE)
    rest = f"virtual={path}"
    rows = dict(describe(rest))
    assert rows["serial number"] == SERIAL and "tally key provision" in rows["configuration"]
    provision("atecc608:" + rest, lambda _: SERIAL, silent)
    rows = dict(describe(rest))
    assert rows["configuration"] == "locked, ours" and rows["data zone"] == "locked"
    assert "nobody can replace" in rows["slot"] and "239 years" in rows["counter 0"]
    assert "tally key create" in dict(describe(rest + ";slot=1"))["slot"]
    assert "does not sign" in dict(describe(rest + ";slot=9"))["slot"]


def test_nothing_is_left_to_do_twice(tmp_path: Path) -> None:
    path = tmp_path / "chip"
    ChipFile(str(path), our_eeprom()).close()
    said: list[str] = []
    provision(f"atecc608:virtual={path}", lambda _: SERIAL, silent)
    provision(f"atecc608:virtual={path}", lambda _: "", said.append)
    assert said[-1] == "it is set up: nothing is to be done"
    chip = VirtualAtecc608.open(str(path))
    setup = setup_of(chip)
    show(setup, setup.steps(), silent)
    chip.close()
