"""Any bytes on the virtual ATECC608's bus: it never crashes, and answers with a good CRC."""

from hypothesis import given
from hypothesis import strategies as st

from support.wire608 import Wire, chip_of, packet, ready_eeprom
from tallystick.hw.virtual_atecc608 import Eeprom, times
from tallystick.hw.virtual_atecc608.crc import crc16

MODES = (0, 1, 2, 3, 4, 8, 0x10, 0x22, 0x42, 0x43, 0x80, 0x81, 0x82, 0xA0, 0xFF)
# Opcode, modes, lengths of data: commands of a form that the chip looks into.
FORMS = (
    (times.INFO, (0, 1, 2), (0,)),
    (times.RANDOM, (0, 1), (0,)),
    (times.NONCE, (0, 1), (20,)),
    (times.NONCE, (0x03, 0x43), (32,)),
    (times.NONCE, (0x23, 0x63), (64,)),
    (times.GENKEY, (0x00, 0x04, 0x08, 0x0C), (0,)),
    (times.GENKEY, (0x10,), (3,)),
    (times.SIGN, (0x80, 0xA0, 0x00), (0,)),
    (times.VERIFY, (0x00, 0x20), (64,)),
    (times.VERIFY, (0x02, 0x22), (128,)),
    (times.READ, (0x00, 0x01, 0x02, 0x80, 0x81, 0x82), (0,)),
    (times.WRITE, (0x00, 0x01, 0x02), (4,)),
    (times.WRITE, (0x80, 0x81, 0x82), (32,)),
    (times.LOCK, (0x80, 0x81, 0x02, 0x06, 0x2A), (0,)),
    (times.UPDATE_EXTRA, (0, 1), (0,)),
    (times.COUNTER, (0, 1), (0,)),
    (times.SHA, (0x00,), (0,)),
    (times.SHA, (0x01,), (64,)),
    (times.SHA, (0x02, 0x42, 0xC2), (0, 3, 63)),
    (times.SELFTEST, (0x20,), (0,)),
)


@st.composite
def commands(draw: st.DrawFn) -> bytes:
    opcode, modes, sizes = draw(st.sampled_from(FORMS))
    size = draw(st.sampled_from(sizes))
    data = bytes((draw(st.integers(0, 255)),)) * size
    p2 = draw(st.integers(0, 15) | st.integers(0, 0x03FF))
    if opcode == times.SHA:
        p2 = size
    elif opcode in (times.NONCE, times.RANDOM, times.SELFTEST):
        p2 = 0
    elif opcode == times.VERIFY and size == 128:
        p2 = 4
    return packet(opcode, draw(st.sampled_from(modes)), p2, data)


STEPS = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda data: ("write", data)),
        commands().map(lambda sent: ("write", sent)),
        commands().map(lambda sent: ("write", sent)),
        st.tuples(st.integers(0, 255), st.sampled_from(MODES), st.integers(0, 15)).map(
            lambda parts: ("write", packet(*parts))
        ),
        st.integers(0, 80).map(lambda size: ("read", size)),
        st.just(("wake", 0)),
    ),
    max_size=30,
)


@st.composite
def eeproms(draw: st.DrawFn) -> Eeprom:
    """Any configuration and any contents, under each state of the locks."""
    draws = draw(st.randoms(use_true_random=False))
    eeprom = ready_eeprom() if draw(st.booleans()) else Eeprom.factory(bytes(6))
    if draw(st.booleans()):
        for first, end in ((17, 84), (88, len(eeprom.memory))):
            eeprom.memory[first:end] = draws.randbytes(end - first)
    locks = draw(st.sampled_from((b"\x55\x55", b"\x55\x00", b"\x00\x00")))
    eeprom.memory[86:88] = locks
    return eeprom


@given(steps=STEPS, eeprom=eeproms())
def test_no_bytes_crash_it_or_make_it_answer_with_a_wrong_crc(
    steps: "list[tuple[str, bytes | int]]", eeprom: Eeprom
) -> None:
    before = eeprom.config
    chip = chip_of(eeprom)
    wire = Wire(chip, chip.eeprom.address)
    chip.wake_pulse(80e-6)
    for what, argument in steps:
        try:
            if what == "wake":
                wire.wake()
            elif isinstance(argument, int):
                chip.readfrom(wire.address, argument)
            else:
                chip.writeto(wire.address, argument)
        except OSError:
            continue
        if chip._answer:
            assert chip._answer[0] == len(chip._answer)
            assert crc16(chip._answer[:-2]) == chip._answer[-2:]
    after = chip.eeprom.config
    assert after[:16] == before[:16]
    for at in (86, 87, 88, 89):
        assert not after[at] & ~before[at] or not chip.eeprom.config_locked
    for counter in (0, 1):
        assert chip.eeprom.counter(counter) >= 0
    if before[87] == 0:
        # What the lock leaves: SlotLocked falls, counters rise, UserExtra is written once.
        for first, end in ((16, 52), (68, 84), (90, 128)):
            assert after[first:end] == before[first:end]
